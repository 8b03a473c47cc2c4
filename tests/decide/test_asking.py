"""Whom a decision looks at when there is no room: once for all that want the same, and not for everybody at once."""

from unittest import mock

import pytest

from fairway.decide import pipeline, preempt, victims
from fairway.decide.line import Line
from fairway.model.ids import QueueId
from fairway.model.job import PriorityClass, Role
from fairway.model.node import Topology
from fairway.model.plan import Hold, Plan, Stop
from fairway.model.policy import Policy, Preemption
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Amount
from fairway.model.time import Duration
from fairway.model.where import Level, Selector, Together, Where
from fairway.state.snapshot import Snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted
from tests.properties.case import Case

JOBS = 2 * pipeline.MOST_HELPED + 5


def asks_everybody(snap: Snapshot, policy: Policy) -> Plan:
    """The decision that gives up nobody because others like it found nothing; the usual one must say the same."""
    with mock.patch.object(Line, "_give_up_like", return_value=None):
        plainly = pipeline.decide(snap, policy)
    assert pipeline.decide(snap, policy) == plainly
    return plainly


@pytest.mark.parametrize("seed", range(40, 46))
def test_whoever_is_not_asked_about_would_have_been_in_vain(seed: int) -> None:
    with mock.patch("fairway.testing.builders.decide", asks_everybody):
        Case(seed).run()


def crowd(*, quota: bool) -> Rehearsal:
    """A node for each of many jobs, all taken by jobs of low class, or of a queue that borrows; and as many wait."""
    it = Rehearsal(Policy(preemption=Preemption(protect=Duration(0))))
    it.nodes(*(a_node(f"n{index}", 1) for index in range(JOBS)))
    guaranteed = Amount(gpu_milli=JOBS * WHOLE) if quota else Amount()
    it.queues(Queue(QueueId("lab"), quota=guaranteed), Queue(QueueId("rest")))
    for index in range(JOBS):
        it.tell(submitted(a_job(f"low{index}", a_request(1), queue="rest", cls=PriorityClass.LOW)))
    it.settle()
    it.start()
    it.tell(after=60_000)
    cls = PriorityClass.LOW if quota else PriorityClass.HIGH
    for index in range(JOBS):
        it.tell(submitted(a_job(f"top{index}", a_request(1), queue="lab", cls=cls)))
    return it


@pytest.mark.parametrize("quota", [True, False])
def test_many_are_helped_in_several_decisions_though_nothing_else_happens(quota: bool) -> None:
    it = crowd(quota=quota)
    helped = list[int]()
    while not helped or helped[-1]:
        plan = it.decide()
        helped.append(sum(isinstance(action, Hold) for action in plan.each()))
        assert sum(isinstance(action, Stop) for action in plan.each()) == helped[-1]
    assert max(helped) == pipeline.MOST_HELPED
    assert sum(helped) == JOBS
    assert not it.state.groups.ready


RACKS = 12


def racks(last: PriorityClass) -> Rehearsal:
    """Racks of two nodes, full of critical jobs but for a GPU in each; the last one is quite full, of another class."""
    it = Rehearsal(Policy(preemption=Preemption(protect=Duration(0))))
    for index in range(2 * RACKS):
        it.nodes(a_node(f"n{index:02}", 8, topology=Topology(rack=f"r{index // 2}")))
        here, at_the_end = Where(labels=(Selector("node", (f"n{index:02}",)),)), index >= 2 * RACKS - 2
        gpus = 8 if at_the_end or index % 2 else 7
        cls = last if at_the_end else PriorityClass.CRITICAL
        it.tell(submitted(a_job(f"v{index}", a_request(gpus), cls=cls, where=here)))
    it.settle()
    it.start()
    it.tell(after=60_000)
    for cores in range(4):
        gang = Role(count=2, request=a_request(8, cpu=cores))
        where = Where(together=Together(Level.RACK))
        it.tell(submitted(a_job(f"gang{cores}", gang, cls=PriorityClass.HIGH, where=where)))
        it.tell(submitted(a_job(f"two{cores}", gang, cls=PriorityClass.HIGH)))
        it.tell(submitted(a_job(f"one{cores}", a_request(8, cpu=cores), cls=PriorityClass.HIGH)))
    return it


def test_the_rack_that_can_be_emptied_is_found_though_others_have_more_free() -> None:
    it = racks(PriorityClass.LOW)
    [hold] = [action for action in it.decide().each() if isinstance(action, Hold)]
    assert (hold.job, {task.node for task in hold.placement}) == ("gang0", {"n22", "n23"})
    it.prove()


def test_who_may_be_stopped_is_found_once_for_all_that_ask_and_tried_only_where_that_might_do() -> None:
    it = racks(PriorityClass.CRITICAL)
    with (
        mock.patch.object(victims, "victims", wraps=victims.victims) as found,
        mock.patch.object(preempt.Search, "placement_without", autospec=True) as tried,
        mock.patch.object(preempt.Search, "cheapest", autospec=True) as searched,
        mock.patch.object(preempt, "find", wraps=preempt.find) as asked,
    ):
        it.decide()
    assert asked.call_count == 12
    assert found.call_count == 1
    assert not tried.called
    assert not searched.called


def test_nodes_without_enough_to_give_are_left_out_before_their_cost_is_bounded() -> None:
    it = racks(PriorityClass.LOW)
    it.cancel(*(f"{name}{cores}" for name in ("gang", "two") for cores in range(4)))
    with mock.patch.object(victims, "_bounds", wraps=victims._bounds) as bounded:
        it.decide()
    assert bounded.call_count > 0
    for call in bounded.call_args_list:
        assert set(call.args[2].tolist()) <= {2 * RACKS - 2, 2 * RACKS - 1}
