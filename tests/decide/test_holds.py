"""Room that a preemptor holds: nobody else gets in, and it starts there as soon as its own victims are gone."""

from fairway.model.facts import NodeCordoned, NodeGone
from fairway.model.ids import NodeId
from fairway.model.job import PriorityClass, Role
from fairway.model.phases import JobPhase
from fairway.model.plan import Hold, Release, Start, Stop
from fairway.testing.builders import Rehearsal, a_job, a_node, a_queue, a_request, effects, submitted

LOW, CRITICAL = PriorityClass.LOW, PriorityClass.CRITICAL


def two_preemptors() -> Rehearsal:
    """``c1`` and ``c2`` each hold half of n1: ``c1`` waits for ``a``, ``c2`` for ``b``."""
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("a", a_request(4), cls=LOW)), submitted(a_job("b", a_request(4), cls=LOW)))
    it.decide()
    it.start("a")
    it.tell(after=1000)
    it.start("b")
    for name, victim in (("c1", "b"), ("c2", "a")):
        it.tell(submitted(a_job(name, a_request(4), cls=CRITICAL)), after=1000)
        stop, hold = it.decide().actions
        assert isinstance(stop, Stop)
        assert isinstance(hold, Hold)
        assert stop.attempt.job == victim
    return it


def test_a_hold_is_not_given_up_because_another_one_on_its_node_still_waits() -> None:
    it = two_preemptors()
    it.tell(submitted(a_job("sneak", a_request(4))))
    it.decide()
    it.end("a")
    plan = it.decide()
    assert [type(action) for action in effects(plan)] == [Start]
    assert it.phase("c2") is JobPhase.STARTING
    assert it.phase("sneak") is JobPhase.QUEUED
    it.end("b")
    it.decide()
    assert it.phase("c1") is JobPhase.STARTING
    assert it.phase("sneak") is JobPhase.QUEUED


def test_both_holds_start_in_one_decision_when_both_victims_are_gone() -> None:
    it = two_preemptors()
    it.end("a")
    it.end("b")
    assert [type(action) for action in it.decide().actions] == [Start, Start]


def test_a_hold_on_a_node_that_takes_no_work_any_more_is_released() -> None:
    it = two_preemptors()
    it.tell(NodeCordoned(NodeId("n1")))
    it.end("a")
    assert Release(it.state.jobs.id_of(it.state.jobs.row_of["c2"])) in it.decide().actions
    assert list(it.state.held) == ["c1"]
    it.prove()


def test_room_that_is_released_goes_to_the_first_in_line_not_to_the_first_awake() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 4, "H100"), a_node("n2", 4, "A100", cpu=1))
    it.queues(a_queue("q", gpus=8))
    for name, kind in (("a", "H100"), ("b", "A100")):
        it.tell(submitted(a_job(name, a_request(4, types=[kind]), cls=LOW)))
    it.decide()
    it.start()
    it.tell(submitted(a_job("gang", Role("w", 2, a_request(4)), queue="q", cls=CRITICAL)))
    it.tell(submitted(a_job("first", a_request(4, cpu=2, types=["H100"]))))
    it.decide()
    it.end("a")
    it.decide()
    assert "no room" in str(it.why("first"))
    it.queues(a_queue("q", gpus=0))
    it.end("b")
    it.tell(submitted(a_job("last", a_request(1, types=["H100"]))))
    assert Release(it.state.jobs.id_of(it.state.jobs.row_of["gang"])) in it.decide().actions
    assert it.where("last") == ()
    it.decide()
    assert it.where("first") == ("n1",)
    it.prove()


def test_a_hold_on_a_node_that_shrank_below_it_is_released() -> None:
    it = two_preemptors()
    it.nodes(a_node("n1", 2))
    it.end("a")
    it.end("b")
    assert {type(action) for action in it.decide().actions} == {Release}
    it.prove()


def test_a_hold_of_a_queue_that_may_use_less_by_now_is_released() -> None:
    it = two_preemptors()
    it.queues(a_queue("", gpus=7))
    it.end("a")
    it.end("b")
    assert [type(action) for action in effects(it.decide())] == [Start, Release]
    assert it.phase("c1") is JobPhase.STARTING
    it.decide()
    assert "over quota" in str(it.why("c2"))
    it.prove()


def test_a_hold_goes_with_its_node() -> None:
    it = two_preemptors()
    it.tell(NodeGone(NodeId("n1")))
    assert not it.state.held
    assert it.phase("a") is it.phase("c1") is JobPhase.QUEUED
    it.prove()
