"""What must wake a refused group. Each of these once was, or could be, a group asleep for ever."""

from fairway.model.facts import CancelAsked, NodeCordoned, NodeGone, QueueSet
from fairway.model.ids import JobId, NodeId
from fairway.model.job import PriorityClass, Role
from fairway.model.phases import JobPhase
from fairway.model.policy import Policy, Preemption
from fairway.model.time import Duration
from fairway.testing.builders import Rehearsal, a_job, a_node, a_queue, a_request, submitted


def full(gpus: int = 8, cls: PriorityClass = PriorityClass.LOW, queue: str = "") -> Rehearsal:
    """One node of 8 devices with one running job on it."""
    it = Rehearsal(policy=Policy(preemption=Preemption(protect=Duration(0))))
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("low", a_request(gpus), cls=cls, queue=queue)))
    it.decide()
    it.start("low")
    return it


def test_a_cancelled_preemptor_gives_back_what_its_hold_took_of_its_queue() -> None:
    it = full()
    it.nodes(a_node("n2", 8))
    it.tell(submitted(a_job("other", a_request(8), cls=PriorityClass.LOW)))
    it.decide()
    it.queues(a_queue("a", gpus=8))
    it.tell(submitted(a_job("top", a_request(8), queue="a", cls=PriorityClass.CRITICAL)))
    it.decide()
    assert it.phase("low") is JobPhase.STOPPING or it.phase("other") is JobPhase.STOPPING
    it.nodes(a_node("n3", 8))
    it.tell(submitted(a_job("next", a_request(1), queue="a")))
    it.decide()
    assert "over quota" in str(it.why("next"))
    it.tell(CancelAsked(JobId("top")))
    it.decide()
    assert it.phase("next") is JobPhase.STARTING


def test_an_elastic_job_waits_for_the_limit_that_its_least_start_breaks() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8), a_node("n2", 8))
    it.queues(a_queue("org", gpus=8), a_queue("org/team", gpus=4))
    it.tell(submitted(a_job("cousin", a_request(8), queue="org/other")))
    it.decide()
    it.tell(submitted(a_job("elastic", Role("w", 6, a_request(1), min_count=1), queue="org/team")))
    it.decide()
    assert "queue org uses" in str(it.why("elastic"))
    it.end("cousin")
    it.decide()
    assert len(it.where("elastic")) == 1


def test_a_critical_job_may_take_room_that_was_held_as_soon_as_somebody_runs_there() -> None:
    it = full()
    it.tell(submitted(a_job("high", a_request(8), cls=PriorityClass.HIGH)))
    it.decide()
    it.tell(submitted(a_job("critical", a_request(8), cls=PriorityClass.CRITICAL)))
    it.decide()
    assert it.phase("critical") is JobPhase.QUEUED
    it.end("low")
    it.decide()
    it.decide()
    assert it.phase("high") is JobPhase.STOPPING
    it.prove()


def test_a_raised_limit_wakes_and_a_raised_limit_elsewhere_does_not() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.queues(a_queue("a", gpus=0), a_queue("b", gpus=0))
    it.tell(submitted(a_job("j", a_request(1), queue="a")))
    it.decide()
    it.tell(QueueSet(a_queue("b", gpus=1)))
    assert not it.state.groups.ready
    it.tell(QueueSet(a_queue("a", gpus=1)))
    it.decide()
    assert it.where("j") == ("n1",)


def test_a_node_that_is_no_longer_cordoned_wakes() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(NodeCordoned(NodeId("n1")), submitted(a_job("j", a_request(1))))
    it.decide()
    assert it.where("j") == ()
    it.tell(NodeCordoned(NodeId("n1"), on=False))
    it.decide()
    assert it.where("j") == ("n1",)


def test_a_node_that_returns_or_grows_wakes() -> None:
    it = full()
    it.tell(submitted(a_job("big", a_request(8))), NodeGone(NodeId("n1")))
    it.decide()
    it.nodes(a_node("n1", 4))
    it.decide()
    assert it.where("big") == ()
    it.nodes(a_node("n1", 16))
    it.decide()
    assert it.where("big") == ("n1",)


def test_room_that_is_too_small_wakes_nobody() -> None:
    it = full(gpus=7)
    it.tell(submitted(a_job("one", a_request(1))), submitted(a_job("big", a_request(8))))
    it.decide()
    it.end("one")
    assert not it.state.groups.ready


def test_a_node_short_of_cpu_wakes_who_needs_none() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8, cpu=64))
    it.tell(submitted(a_job("heavy", a_request(1, cpu=64))), submitted(a_job("rest", a_request(7))))
    it.decide()
    it.tell(submitted(a_job("light", a_request(7))))
    it.decide()
    it.nodes(a_node("n1", 8, cpu=32))
    it.end("rest")
    it.decide()
    assert it.where("light") == ("n1",)
