"""Ends of attempts: heard twice, heard late, heard of attempts that never were."""

from fairway.model.facts import (
    AttemptEnded,
    AttemptStarted,
    Inventory,
    NodeGone,
    Observed,
    Outcome,
    Progressed,
    ServiceSet,
)
from fairway.model.ids import AttemptId, JobId, NodeId, QueueId, ServiceId
from fairway.model.job import PriorityClass, Retry
from fairway.model.phases import Cause, JobPhase
from fairway.model.policy import Policy, Preemption
from fairway.model.resources import Request
from fairway.model.service import Service
from fairway.model.time import Duration
from fairway.testing.builders import EXECUTOR, Rehearsal, a_job, a_node, a_request, submitted

NOBODY_IS_PROTECTED = Policy(preemption=Preemption(protect=Duration(0)))
SUCCESS = Outcome(Cause.SUCCEEDED, 0)


def yielded_halfway() -> tuple[Rehearsal, AttemptEnded]:
    """A victim that stopped with exit 0 at step 5 of 10, as it was asked to; and the message that said so."""
    it = Rehearsal(policy=NOBODY_IS_PROTECTED)
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("low", a_request(8), cls=PriorityClass.LOW)))
    it.decide()
    it.start("low")
    it.tell(Progressed(AttemptId(JobId("low"), 1), step=5, total=10), after=1000)
    it.tell(submitted(a_job("high", a_request(8), cls=PriorityClass.HIGH)))
    it.decide()
    end = AttemptEnded(AttemptId(JobId("low"), 1), EXECUTOR, 9, it.state.now, SUCCESS)
    it.tell(end)
    assert it.phase("low") is JobPhase.QUEUED
    return it, end


def test_a_yield_with_exit_0_that_is_heard_twice_is_no_success() -> None:
    it, end = yielded_halfway()
    it.tell(end)
    assert it.phase("low") is JobPhase.QUEUED


def test_a_yield_with_exit_0_that_an_inventory_repeats_is_no_success() -> None:
    it, end = yielded_halfway()
    seen = Observed(end.attempt, it.state.now, it.state.now, SUCCESS)
    it.tell(Inventory(EXECUTOR, 20, (a_node("n1", 8),), (seen,)))
    assert it.phase("low") is JobPhase.QUEUED


def test_a_yield_that_is_heard_again_while_the_next_attempt_runs_stops_nothing() -> None:
    it, end = yielded_halfway()
    it.decide()
    it.end("high")
    it.decide()
    it.start("low")
    it.tell(end)
    assert it.phase("low") is JobPhase.RUNNING


def test_a_yield_that_is_heard_again_after_the_job_failed_changes_nothing() -> None:
    it, end = yielded_halfway()
    it.decide()
    it.end("high")
    it.decide()
    it.start("low")
    it.end("low", Cause.FAILED, exit_code=1)
    it.tell(end)
    assert it.phase("low") is JobPhase.FAILED


def test_a_success_of_an_attempt_that_never_was_is_no_success() -> None:
    it = Rehearsal()
    it.tell(submitted(a_job("j", a_request(8))))
    it.tell(AttemptEnded(AttemptId(JobId("j"), 0), EXECUTOR, 1, it.state.now, SUCCESS))
    it.tell(AttemptEnded(AttemptId(JobId("j"), 7), EXECUTOR, 2, it.state.now, SUCCESS))
    assert it.phase("j") is JobPhase.QUEUED


def a_replica() -> tuple[Rehearsal, JobId]:
    """The only replica of a service, running."""
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(ServiceSet(Service(ServiceId("web"), QueueId(""), 1, request=Request(gpus=1))))
    it.decide()
    (job,) = it.state.replicas[ServiceId("web")]
    it.start(job)
    return it, job


def test_a_replica_whose_exit_is_heard_twice_is_still_wanted() -> None:
    it, job = a_replica()
    end = AttemptEnded(it.attempt(job), EXECUTOR, 5, it.state.now, SUCCESS)
    it.tell(end)
    it.tell(end)
    assert it.phase(job) is JobPhase.WAITING
    it.tell(after=60_000)
    it.decide()
    it.start(job)
    it.tell(end)
    assert it.phase(job) is JobPhase.RUNNING


def lost(**more: object) -> tuple[Rehearsal, AttemptId]:
    """A job whose only attempt was written off with its node."""
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(8), **more)))
    it.decide()
    it.start("j")
    attempt = it.attempt("j")
    it.tell(NodeGone(NodeId("n1")), after=1000)
    assert it.phase("j") is JobPhase.QUEUED
    return it, attempt


def test_a_success_counts_however_late_it_comes() -> None:
    it, attempt = lost()
    it.tell(AttemptEnded(attempt, EXECUTOR, 9, it.state.now, SUCCESS), after=1_000_000)
    assert it.phase("j") is JobPhase.SUCCEEDED


def test_a_late_success_stops_the_attempt_that_came_after_it() -> None:
    it, attempt = lost()
    it.nodes(a_node("n2", 8))
    it.decide()
    it.start("j")
    it.tell(AttemptEnded(attempt, EXECUTOR, 9, it.state.now, SUCCESS))
    assert it.phase("j") is JobPhase.STOPPING
    it.end("j", Cause.FAILED, signal=15)
    assert it.phase("j") is JobPhase.SUCCEEDED


def test_a_late_success_counts_even_after_a_later_attempt_failed() -> None:
    it, attempt = lost()
    it.nodes(a_node("n2", 8))
    it.decide()
    it.start("j")
    it.end("j", Cause.FAILED, exit_code=1)
    assert it.phase("j") is JobPhase.FAILED
    it.tell(AttemptEnded(attempt, EXECUTOR, 9, it.state.now, SUCCESS))
    assert it.phase("j") is JobPhase.SUCCEEDED


def test_a_late_end_is_believed_once() -> None:
    it, attempt = lost()
    it.tell(AttemptEnded(attempt, EXECUTOR, 9, it.state.now, Outcome(Cause.FAILED, 1)))
    it.tell(AttemptEnded(attempt, EXECUTOR, 10, it.state.now, SUCCESS))
    assert it.phase("j") is JobPhase.QUEUED


def test_an_attempt_its_executor_forgot_may_still_succeed() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(8))))
    it.decide()
    it.start("j")
    attempt = it.attempt("j")
    it.tell(Inventory(EXECUTOR, 50, (a_node("n1", 8),), ()))
    assert it.phase("j") is JobPhase.QUEUED
    it.tell(AttemptEnded(attempt, EXECUTOR, 51, it.state.now, SUCCESS))
    assert it.phase("j") is JobPhase.SUCCEEDED


def test_what_was_written_off_survives_a_checkpoint() -> None:
    from fairway.model.facts import Facts
    from fairway.state.apply import apply
    from fairway.state.codec import dump, load

    it, attempt = lost()
    restored = load(dump(it.state))
    apply(restored, Facts(it.state.now, (AttemptEnded(attempt, EXECUTOR, 9, it.state.now, SUCCESS),)))
    assert restored.ended[JobId("j")].phase is JobPhase.SUCCEEDED


def test_a_start_that_is_heard_after_the_end_is_to_be_stopped_until_its_executor_has_none() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(8), retry=Retry(limit=1, backoff=Duration(1000)))))
    it.decide()
    it.end("j", Cause.FAILED, exit_code=1)
    it.tell(AttemptStarted(AttemptId(JobId("j"), 1), EXECUTOR, 1, it.state.now))
    assert list(it.state.strays) == [AttemptId(JobId("j"), 1)]
    it.tell(Inventory(EXECUTOR, 50, (a_node("n1", 8),), ()))
    assert not it.state.strays


def test_a_yield_whose_word_was_lost_with_its_node_is_no_success_either() -> None:
    it = Rehearsal(policy=NOBODY_IS_PROTECTED)
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("low", a_request(8), cls=PriorityClass.LOW)))
    it.decide()
    it.start("low")
    attempt = it.attempt("low")
    it.tell(Progressed(attempt, step=5, total=10), submitted(a_job("high", a_request(8), cls=PriorityClass.HIGH)))
    it.decide()
    assert it.phase("low") is JobPhase.STOPPING
    it.tell(NodeGone(NodeId("n1")))
    it.tell(AttemptEnded(attempt, EXECUTOR, 9, it.state.now, SUCCESS))
    assert it.phase("low") is JobPhase.QUEUED


def test_a_late_success_of_a_replica_is_no_reason_to_want_it_less() -> None:
    it, job = a_replica()
    attempt = it.attempt(job)
    it.tell(NodeGone(NodeId("n1")))
    it.tell(AttemptEnded(attempt, EXECUTOR, 9, it.state.now, SUCCESS))
    assert it.phase(job) is JobPhase.QUEUED


def test_a_job_that_was_cancelled_at_its_executor_is_cancelled() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(8))))
    it.decide()
    it.start("j")
    it.end("j", Cause.CANCELLED)
    assert it.phase("j") is JobPhase.CANCELLED


def test_a_start_that_comes_to_nothing_is_not_tried_again_at_once() -> None:
    """The executor does not know the node any more, and nobody has said so."""
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(8), retry=Retry(backoff=Duration(7000)))))
    it.decide()
    it.end("j", Cause.NODE_LOST)
    assert it.phase("j") is JobPhase.WAITING
    assert "came to nothing" in str(it.why("j"))
    it.tell(after=6999)
    assert not it.decide().actions
    it.tell(after=1)
    it.decide()
    assert it.phase("j") is JobPhase.STARTING
    it.prove()


def test_a_start_on_a_node_that_is_gone_is_tried_elsewhere_at_once() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(8))))
    it.decide()
    it.nodes(a_node("n2", 8))
    it.tell(NodeGone(NodeId("n1")))
    it.decide()
    assert it.where("j") == ("n2",)


def test_a_replica_whose_start_comes_to_nothing_is_not_tried_again_at_once() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(ServiceSet(Service(ServiceId("s"), QueueId(""), replicas=1, request=Request(gpus=1))))
    (name,) = it.state.replicas[ServiceId("s")]
    it.decide()
    it.end(name, Cause.NODE_LOST)
    assert it.phase(name) is JobPhase.WAITING
