"""A trial begins with the columns as they are, whoever had their copy before and whatever has changed since."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.facts import NodeCordoned
from fairway.model.ids import NodeId
from fairway.state import copies
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_node

NODES = 6
KINDS = ("trial", "write", "close", "take", "untold", "cordon", "node")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("trial", "write", "close", "take", "untold", "cordon", "node")), st.integers(0, NODES - 1)
    )
)


def assert_fresh(it: Rehearsal, trial: Trial) -> None:
    nodes = it.state.nodes
    for name in ("free", "device_free", "idle", "share_max", "gpu_free"):
        assert np.array_equal(getattr(trial, name), getattr(nodes, name)[: nodes.height]), name


@given(STEPS, st.sampled_from((0, 100)))
def test_a_trial_begins_with_what_is_there(steps: list[tuple[str, int]], few: int) -> None:
    it, trials = Rehearsal(), list[Trial]()
    for row in range(NODES):
        it.nodes(a_node(f"n{row}", 2))
    nodes = it.state.nodes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "FEW", few)
        for what, row in steps:
            if what == "trial":
                trials.append(Trial(snapshot(it.state)))
                assert_fresh(it, trials[-1])
            elif what == "write" and trials:
                trials[row % len(trials)].take(row, (1, 0, 0, 0), (0,), 100)
            elif what == "close" and trials:
                trials.pop(row % len(trials)).close()
            elif what == "untold" and trials:
                trials[-1].write_untold()
                trials[-1].free[row] = 7
            elif what == "take":
                nodes.take(row, (1, 2, 0, 0), (1,), 1)
            elif what == "cordon":
                it.tell(NodeCordoned(NodeId(f"n{row}"), not nodes.cordoned[row]))
            elif what == "node":
                it.nodes(a_node(f"m{nodes.height}", 1 + row))


def test_one_who_closes_gives_its_columns_to_the_next() -> None:
    it = Rehearsal()
    it.nodes(a_node("n0", 2))
    first = Trial(snapshot(it.state))
    first.take(0, (1, 0, 0, 0), (0,), 1000)
    first.close()
    second = Trial(snapshot(it.state))
    assert second.free is first.free
    assert_fresh(it, second)
    third = Trial(snapshot(it.state))
    assert third.free is not second.free, "the second still has them"
