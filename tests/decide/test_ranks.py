"""Ranks find the node that a search of all nodes finds, whatever was placed, ended, cordoned or tried meanwhile."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import near, ranks, scores, search
from fairway.decide.ranks import ranks_for
from fairway.decide.search import Found
from fairway.model.facts import NodeCordoned
from fairway.model.ids import NodeId
from fairway.model.policy import Placing, Policy
from fairway.model.resources import Accelerator, Request
from fairway.model.where import Where
from fairway.state.groups import Shape, shape_of
from fairway.state.snapshot import Snapshot, Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node

NODES = 23
REQUESTS = (
    Request(gpus=1),
    Request(gpus=1, cpu_milli=3000, memory_mib=2),
    Request(gpus=3, memory_mib=1),
    Request(cpu_milli=5000),
    Request(gpus=2, accelerators=(Accelerator("Y", 2.0),)),
    Request(gpus=1, gpu_milli=300),
    Request(gpus=1, accelerators=(Accelerator("Y", 2.0), Accelerator("X"))),
)
RANKED = 5
"""The first so many of them can be ranked; the others are searched for."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("place", "place", "place", "place", "undo", "take", "give", "cordon", "close", "lose")),
        st.integers(0, NODES - 1),
        st.sampled_from((0, 0, 1, 1, *range(len(REQUESTS)))),
    ),
    min_size=20,
    max_size=80,
)


def a_fleet() -> Rehearsal:
    it = Rehearsal()
    for row in range(NODES):
        it.nodes(a_node(f"n{row}", 4, kind="XY"[row % 3 == 0], cpu=8, memory=row % 5 + 4))
    return it


def a_shape(request: Request) -> Shape:
    return shape_of(a_job("some", request))


def searched(snap: Snapshot, trial: Trial, policy: Policy, shape: Shape) -> Found | None:
    request, able = shape.roles[0][0], near.allowed(snap, shape, trial)
    for typed in scores.tiers(snap, trial, policy, request):
        found = scores.best(snap, trial, policy, request, 1, typed, able)
        if found is not None:
            return found
    return None


@given(
    STEPS, st.binary(min_size=NODES, max_size=NODES), st.sampled_from(("best_fit", "pack")), st.sampled_from((3, 99))
)
def test_ranks_find_what_a_search_finds(steps: list[tuple[str, int, int]], used: bytes, name: Any, most: int) -> None:
    it, policy = a_fleet(), Policy(placement=Placing(name))
    taken: list[tuple[int, Request]] = []
    for row, amount in enumerate(used):
        it.state.nodes.take(row, (amount % 3 * 1000, 0, 0, 0), tuple(range(amount % 5)), 1000)
    snap = snapshot(it.state)
    trial = Trial(snap)
    with pytest.MonkeyPatch.context() as patch:
        for module in (ranks, search):
            patch.setattr(module, "BLOCK", 3)
            patch.setattr(module, "LOOK_AT", 3)
        patch.setattr(ranks, "FEW", most)
        for what, row, which in steps:
            request, expected = REQUESTS[which], None
            if what == "place":
                for other in (0, 1, which):
                    shape = a_shape(REQUESTS[other])
                    found, expected = ranks_for(snap, trial, policy, shape), searched(snap, trial, policy, shape)
                    if found is not None:
                        assert other < RANKED
                        assert found.best() == expected
                if expected is not None:
                    trial.take(expected.row, request.flat, tuple(range(request.gpus)), 1000)
            elif what == "undo":
                trial.rollback((0, 0))
            else:
                if what != "lose":
                    trial.close()
                change(it, what, row, request, taken)
                snap = snapshot(it.state)
                trial = Trial(snap)


def change(it: Rehearsal, what: str, row: int, request: Request, taken: list[tuple[int, Request]]) -> None:
    nodes = it.state.nodes
    if what == "take" and min(nodes.device_free[row].tolist()[: request.gpus], default=0) == 1000:
        nodes.take(row, request.flat, tuple(range(request.gpus)), 1000)
        taken.append((row, request))
    elif what == "give" and taken:
        at, given_back = taken.pop(row % len(taken))
        nodes.take(at, given_back.flat, tuple(range(given_back.gpus)), 1000, sign=-1)
    elif what == "cordon":
        it.tell(NodeCordoned(NodeId(f"n{row}"), not nodes.cordoned[row]))


def test_only_what_can_be_ranked_is() -> None:
    it, policy = a_fleet(), Policy()
    snap = snapshot(it.state)
    trial = Trial(snap)
    for which, request in enumerate(REQUESTS):
        assert ranks_for(snap, trial, policy, a_shape(request)) is None, "once is not worth it"
        assert (ranks_for(snap, trial, policy, a_shape(request)) is not None) == (which < RANKED)
    elsewhere = Shape(a_shape(REQUESTS[0]).roles, Where(spot=True))
    assert ranks_for(snap, trial, policy, elsewhere) is None
    assert ranks_for(snap, trial, Policy(placement=Placing("spread")), a_shape(REQUESTS[0])) is None
    trial.write_untold()
    assert ranks_for(snap, trial, policy, a_shape(REQUESTS[0])) is None


def test_few_shapes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "MOST", 2)
    snap = snapshot(a_fleet().state)
    trial = Trial(snap)
    for request in REQUESTS[:3]:
        ranks_for(snap, trial, Policy(), a_shape(request))
    assert trial.known is not None
    assert list(trial.known) == [a_shape(request) for request in REQUESTS[1:3]]
