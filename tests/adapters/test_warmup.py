"""The kernel is made ready beside the loop, and only where a cluster is large."""

import pytest

from fairway.adapters.warmup import WarmUp
from fairway.decide import walk_fast
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted


def test_a_large_cluster_warms_up_in_the_background_and_a_small_one_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk_fast, "ready", False)
    it, view = Rehearsal(), WarmUp(nodes=3)
    it.nodes(a_node("n1", 8), a_node("n2", 8))
    view.fold(1, 0, it.state)
    assert view.thread is None
    it.nodes(a_node("n3", 8))
    view.fold(2, 0, it.state)
    assert view.thread is not None
    view.thread.join(120)
    assert walk_fast.ready
    assert walk_fast.pays(walk_fast.WORTH_IT)
    assert not walk_fast.pays(walk_fast.WORTH_IT - 1)


def test_a_decision_is_the_same_before_and_after_the_kernel_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = []
    for ready in (False, True):
        monkeypatch.setattr(walk_fast, "ready", ready)
        it = Rehearsal()
        it.nodes(*(a_node(f"n{i}", 8) for i in range(4)))
        it.tell(
            *(submitted(a_job(f"j{i}", a_request(gpus))) for i, gpus in enumerate((1, 2, 0.5, 8, 4, 3, 8, 8, 8, 0.25)))
        )
        plans.append(it.decide())
    assert plans[0] == plans[1]
    assert plans[0].actions
