"""A checkpoint is the state: what is restored goes on exactly as the original would have."""

from fairway.model.facts import AttemptEnded, NodeGone, Outcome, Progressed
from fairway.model.ids import NodeId
from fairway.model.job import PriorityClass
from fairway.model.phases import Cause, JobPhase
from fairway.state.check import check
from fairway.state.codec import dump, load
from fairway.testing.builders import EXECUTOR, Rehearsal, a_job, a_node, a_request, same, submitted


def test_a_node_that_lost_devices_under_its_work_can_be_restored() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 12))
    it.tell(submitted(a_job("wide", a_request(12), cls=PriorityClass.LOW)))
    it.decide()
    it.start("wide")
    it.tell(submitted(a_job("top", a_request(12), cls=PriorityClass.CRITICAL)))
    it.decide()
    it.nodes(a_node("n1", 2))
    it.prove()
    it.restart()
    it.end("wide")
    it.decide()
    it.prove()
    assert it.phase("top") is JobPhase.QUEUED
    assert same(it.state, it.replayed())


def test_jobs_that_end_together_free_their_rows_in_one_order_restored_or_not() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    low = [a_job(f"j{i}", a_request(1), cls=PriorityClass.LOW) for i in range(3)]
    it.tell(*map(submitted, low))
    it.decide()
    it.start()
    for job in ("j0", "j1"):
        it.end(job)
    it.tell(*(submitted(a_job(f"k{i}", a_request(1), cls=PriorityClass.LOW)) for i in range(2)))
    it.decide()
    it.start()
    for job in ("k0", "j2", "k1"):
        it.cancel(job)
    it.restart()
    it.tell(NodeGone(NodeId("n1")))
    assert same(it.state, it.replayed())


def test_a_limit_counts_from_the_same_instant_after_a_restart() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(1), max_runtime=1000)))
    it.decide()
    it.start("j")
    before = it.state.next_timer()
    it.restart()
    assert it.state.next_timer() == before


def test_timers_of_what_is_over_do_not_tick() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(1), max_runtime=1000)))
    it.decide()
    it.start("j")
    it.end("j")
    assert it.state.next_timer() is None


def test_equal_states_have_equal_bytes_and_other_states_have_others() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(1))))
    it.decide()
    assert dump(it.state) == dump(load(dump(it.state))) == dump(it.replayed())
    assert check(load(dump(it.state))) == []
    before = dump(it.state)
    it.tell(Progressed(it.attempt("j"), step=1))
    assert dump(it.state) != before


def test_what_a_checkpoint_said_of_an_ended_job_is_said_anew_when_it_has_changed() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(8))))
    it.decide()
    it.start("j")
    attempt = it.attempt("j")
    it.tell(NodeGone(NodeId("n1")))
    it.nodes(a_node("n2", 8))
    it.decide()
    it.start("j")
    it.end("j", Cause.FAILED, exit_code=1)
    before = dump(it.state)
    assert dump(it.state) == before == dump(it.replayed())
    it.tell(AttemptEnded(attempt, EXECUTOR, 99, it.state.now, Outcome(Cause.SUCCEEDED, 0)))
    assert it.phase("j") is JobPhase.SUCCEEDED
    assert dump(it.state) == dump(it.replayed()) != before
    assert load(dump(it.state)).ended == it.state.ended


def test_what_is_said_of_devices_does_not_depend_on_how_many_there_once_were() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 4))
    it.tell(submitted(a_job("low", a_request(4), cls=PriorityClass.LOW)))
    it.decide()
    it.nodes(a_node("n1", 2), a_node("n2", 12), a_node("n2", 0))
    it.tell(submitted(a_job("share", a_request(0.5))))
    it.prove()
    it.decide()
    assert "-" not in str(it.why("share"))


def test_a_limit_that_was_reached_is_not_reached_again_after_a_restart() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(1), max_runtime=1000)))
    it.decide()
    it.start("j")
    it.tell(after=5000)
    assert list(it.state.overdue) == ["j"]
    it.restart()
    assert it.state.next_timer() is None
    it.decide()
    assert it.phase("j") is JobPhase.STOPPING
