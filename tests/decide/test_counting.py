"""What a decision counts over the whole fleet: once for a job, once for a shape, or once until a node changes."""

from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import explain, fit, gang, quota
from fairway.decide.gang import Fitted, place
from fairway.model.ids import QueueId
from fairway.model.job import Role
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Amount
from fairway.state.groups import Shape
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

NODES = 12


def fleet() -> Rehearsal:
    it = Rehearsal()
    it.nodes(*(a_node(f"n{index:02}", 4) for index in range(NODES)))
    return it


def test_a_gang_is_counted_once_for_each_role_however_many_nodes_it_fills() -> None:
    snap = snapshot(fleet().state)
    shape = Shape(((a_request(1), 24, 8), (a_request(2, cpu=1), 6, 6), (a_request(0, cpu=1), 3, 3)))
    with (
        mock.patch.object(fit, "room", wraps=fit.room) as counted,
        mock.patch.object(fit, "fits", wraps=fit.fits) as looked,
    ):
        outcome = place(snap, Trial(snap), Policy(), shape)
    assert isinstance(outcome, Fitted)
    assert len({task.node for task in outcome.placement}) >= 9
    assert counted.call_count == 3
    assert not looked.called


def test_a_gang_one_role_of_which_has_no_room_is_not_tried() -> None:
    snap = snapshot(fleet().state)
    shape = Shape(((a_request(1), 4, 4), (a_request(4), NODES + 1, NODES + 1)))
    with mock.patch.object(gang, "_place_tasks", wraps=gang._place_tasks) as tried:
        assert not isinstance(place(snap, Trial(snap), Policy(), shape), Fitted)
        assert not isinstance(place(snap, Trial(snap), Policy(), Shape(shape.roles[1:])), Fitted)
    assert not tried.called


def test_whether_a_shape_ever_fits_is_worked_out_once_until_a_node_changes() -> None:
    it, shape = fleet(), Shape(((a_request(8), 1, 1),))
    with mock.patch.object(explain, "_never_fits", wraps=explain._never_fits) as worked_out:
        assert explain.never_fits(snapshot(it.state), shape)
        it.tell(submitted(a_job("other", a_request(1))))
        it.decide()
        before = worked_out.call_count
        assert explain.never_fits(snapshot(it.state), shape)
        assert worked_out.call_count == before
        it.nodes(a_node("n00", 8))
        assert explain.never_fits(snapshot(it.state), shape) is None


@given(
    st.lists(st.tuples(st.sampled_from((None, 0, 1, 3)), st.integers(0, 4)), min_size=1, max_size=6),
    st.tuples(st.integers(0, 1000), st.integers(0, 1), st.sampled_from((0, WHOLE, 2 * WHOLE))),
)
def test_quotas_cover_many_queues_as_they_cover_each(queues: list[tuple[int | None, int]], sums: tuple) -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 64))
    for index, (own, used) in enumerate(queues):
        amount = Amount() if own is None else Amount(gpu_milli=own * WHOLE)
        it.queues(Queue(QueueId(f"q{index}" if index % 2 else f"q{index - 1}/sub" if index else "top"), quota=amount))
        if used:
            queue = it.state.queues.id_of(it.state.queues.height - 1)
            it.tell(submitted(a_job(f"j{index}", Role(count=used, request=a_request(1)), queue=queue)))
    it.settle()
    snap = snapshot(it.state)
    trial = Trial(snap)
    rows = list(range(snap.queues.height))
    quotas = (snap.queues.guard, trial.used, snap.queues.quota)
    each = [quota.covered(row, sums, quotas) for row in rows]
    assert quota.covers(snap, trial, sums, snap.queues.guard[:0]).tolist() == []
    assert quota.covers(snap, trial, sums, np.array(rows)).tolist() == each
