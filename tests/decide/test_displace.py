"""Taking turns in a queue: who ranks ahead takes the place of who ranks behind, and nobody is thrashed."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairway.model.facts import CancelAsked
from fairway.model.ids import ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import Job, Priority, Role
from fairway.model.node import Node
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Hold, Review, Start, Stop
from fairway.model.policy import Ordering, Policy
from fairway.model.queue import Queue
from fairway.model.reasons import Outranked
from fairway.model.resources import Request
from fairway.model.time import HOUR, MINUTE, SECOND, Duration, Instant
from fairway.sim.simulate import simulate
from fairway.sim.traces.trace import Trace
from fairway.testing.builders import Rehearsal, a_job, a_node, a_queue, a_request, effects, minutes, submitted

PREEMPTIVE = st.sampled_from(("las", "srsf"))
ESTIMATES = st.sampled_from((None, 1, 30, 300))


def taking_turns(name: Any, margin: float = 2.0) -> Rehearsal:
    return Rehearsal(Policy(order=Ordering(name, margin=margin, least_run=minutes(10))))


def one(it: Rehearsal, name: str, gpus: int, **more: Any) -> None:
    it.tell(submitted(a_job(name, a_request(gpus), checkpoints=True, **more)), after=1)


def stops_of(it: Rehearsal) -> list[Stop]:
    """Carry everything out; who was stopped."""
    return [action for action in it.carry_out() if isinstance(action, Stop)]


@given(
    PREEMPTIVE,
    st.floats(1.01, 4),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 4), ESTIMATES, st.booleans()), min_size=2, max_size=8),
)
@example("las", 1.5, [(0, 2, None, True), (1, 2, None, True), (0, 3, None, False), (10, 3, None, False)])
def test_a_victim_stops_nobody_when_it_is_back_in_line(name: Any, margin: float, steps: list[Any]) -> None:
    it = taking_turns(name, margin)
    it.nodes(a_node("n1", 4), a_node("n2", 2))
    for index, (wait, gpus, estimate, checkpoints) in enumerate(steps):
        told = None if estimate is None else minutes(estimate)
        it.tell(submitted(a_job(f"j{index}", a_request(gpus, cpu=1), estimate=told, checkpoints=checkpoints)))
        it.tell(after=wait * MINUTE)
        stops = [action for action in effects(it.decide()) if isinstance(action, Stop)]
        assert all(isinstance(stop.reason, Outranked) for stop in stops)
        it.prove()
        it.stop()
        it.start()
        victims = {stop.attempt.job for stop in stops}
        assert not [stop for stop in stops_of(it) if stop.reason.by in victims]  # type: ignore[union-attr]


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """A few jobs on two nodes, with estimates that may be far off."""
    local, jobs = ExecutorId("sim"), list[Job]()
    for index in range(draw(st.integers(2, 10))):
        estimate = draw(st.sampled_from((None, 1, 60, 600)))
        jobs.append(
            Job(
                JobId(f"j{index}"), "j", QueueId("q"),
                (Role(count=draw(st.sampled_from((1, 1, 1, 2))), request=Request(gpus=draw(st.integers(1, 4)))),),
                Priority(), submitted=Instant(index * draw(st.integers(0, 30)) * MINUTE),
                estimate=None if estimate is None else Duration(estimate * MINUTE),
                work=Duration(draw(st.integers(1, 40 * 60)) * MINUTE), checkpoints=True,
            )
        )  # fmt: skip
    nodes = tuple(Node(NodeId(f"n{i}"), local, gpus=4) for i in range(2))
    return Trace("t", "made", nodes, (Queue(QueueId("q")),), tuple(sorted(jobs, key=lambda job: job.submitted)))


@given(traces(), PREEMPTIVE, st.sampled_from((1.5, 2.0, 4.0)))
def test_everybody_ends_and_turns_are_few(trace: Trace, name: Any, margin: float) -> None:
    """A job can be passed by every other job once in each level, and never more: turns are bounded by the logarithm."""
    policy = Policy(order=Ordering(name, margin=margin, least_run=minutes(10)))
    report = simulate(trace, policy=policy)
    assert report.completed == len(trace.jobs)
    levels = 14 if margin > 1.6 else 26
    assert report.preemptions <= len(trace.jobs) ** 2 * levels
    work = sum((job.work or 0) * sum(role.count * role.request.gpus for role in job.roles) for job in trace.jobs)
    assert report.gpu_hours * HOUR == pytest.approx(work, abs=1e-3 * HOUR)


def test_the_one_that_ranks_last_yields_first() -> None:
    it = taking_turns("las")
    it.nodes(a_node("n1", 4))
    one(it, "old", 2)
    it.carry_out()
    it.tell(after=5 * HOUR)
    one(it, "middle", 2)
    it.carry_out()
    it.tell(after=HOUR)
    one(it, "new", 2)
    assert [stop.attempt.job for stop in stops_of(it)] == ["old"]


def test_a_victim_passes_those_who_rank_behind_it_once_it_has_rested() -> None:
    """Only n1 is large enough for the wide job; who ranks last runs on n2, and does not yield to its victim at once."""
    it = taking_turns("las", 1.5)
    it.nodes(a_node("n1", 4), a_node("n2", 2))
    one(it, "last", 2)
    it.carry_out()
    it.tell(after=HOUR)
    one(it, "victim", 2)
    it.carry_out()
    it.tell(after=20 * MINUTE)
    for name in ("wide", "other"):
        one(it, name, 3)
    assert [stop.attempt.job for stop in stops_of(it)] == ["victim"]
    ended = it.state.now
    it.tell(after=9 * MINUTE)
    assert effects(it.decide()) == []
    assert it.state.queues.review_at[0] <= ended + 10 * MINUTE
    it.tell(after=int(ended) + 10 * MINUTE - it.state.now)
    reasons = {stop.attempt.job: stop.reason for stop in stops_of(it)}
    assert reasons["last"].by == "victim"  # type: ignore[union-attr]


def test_nobody_who_ranks_behind_a_victim_that_rests_is_sooner_than_it() -> None:
    """What would be the victim's turn is left to nobody: the one who ranks last goes on until the victim has rested."""
    it = taking_turns("srsf", 1.5)
    it.nodes(a_node("n1", 4), a_node("n2", 2))
    one(it, "last", 2, estimate=minutes(1000))
    it.carry_out()
    it.tell(after=HOUR)
    one(it, "victim", 2, estimate=minutes(100))
    it.carry_out()
    it.tell(after=20 * MINUTE)
    for name in ("wide", "other"):
        one(it, name, 3, estimate=minutes(30))
    assert [stop.attempt.job for stop in stops_of(it)] == ["victim"]
    ended = it.state.now
    one(it, "behind", 2, estimate=minutes(200))
    assert effects(it.decide()) == []
    it.tell(after=int(ended) + 10 * MINUTE - it.state.now)
    reasons = {stop.attempt.job: stop.reason for stop in stops_of(it)}
    assert {name: reason.by for name, reason in reasons.items()} == {"last": "victim"}  # type: ignore[union-attr]


def test_nobody_yields_in_the_second_it_was_placed_even_without_a_least_run() -> None:
    it = Rehearsal(Policy(order=Ordering("srsf", margin=2.0, least_run=Duration(0))))
    it.nodes(a_node("n1", 2))
    one(it, "long", 2, estimate=minutes(600))
    it.decide()
    one(it, "short", 2, estimate=minutes(1))
    plan = it.decide()
    assert effects(plan) == []
    reviews = [action.at for action in plan.actions if isinstance(action, Review)]
    assert reviews == [it.state.jobs.placed_at[it.state.jobs.row_of[JobId("long")]] + SECOND]
    it.start()
    it.tell(after=SECOND)
    assert [stop.attempt.job for stop in stops_of(it)] == ["long"]


def test_a_gang_takes_its_turn_as_a_whole() -> None:
    it = taking_turns("las")
    it.nodes(a_node("n1", 2), a_node("n2", 2))
    for name in ("a", "b"):
        one(it, name, 2)
    it.carry_out()
    it.tell(after=HOUR)
    it.tell(submitted(a_job("gang", Role(count=2, request=a_request(2)), checkpoints=True)))
    assert {stop.attempt.job for stop in stops_of(it)} == {"a", "b"}
    assert it.phase("gang") is JobPhase.RUNNING


def test_a_shape_that_finds_no_place_does_not_hold_up_the_others() -> None:
    """By the sum of what is free the gang would come first; no node has room for one of its tasks."""
    it = taking_turns("las")
    it.nodes(a_node("n1", 2), a_node("n2", 2))
    one(it, "a", 2)
    one(it, "b", 2)
    it.carry_out()
    it.tell(after=HOUR)
    one(it, "wide", 3)
    one(it, "small", 1)
    stops = stops_of(it)
    assert len(stops) == 1
    assert it.phase("small") is JobPhase.RUNNING


def test_a_limit_of_the_queue_holds_and_its_own_jobs_make_room_below_it() -> None:
    it = taking_turns("las")
    it.nodes(a_node("n1", 8))
    it.queues(a_queue("q", gpus=2))
    one(it, "old", 2, queue="q")
    it.carry_out()
    it.tell(after=HOUR)
    one(it, "new", 2, queue="q")
    assert [stop.attempt.job for stop in stops_of(it)] == ["old"]
    it.prove()


def test_a_queue_is_not_looked_at_before_somebody_can_be_passed() -> None:
    it = taking_turns("las")
    it.nodes(a_node("n1", 2))
    one(it, "first", 2)
    it.carry_out()
    began = it.state.now
    one(it, "second", 2)
    reviews = [action for action in it.decide().actions if isinstance(action, Review)]
    assert [review.at - began for review in reviews] == [10 * MINUTE]
    assert it.state.queues.review_at[0] == reviews[0].at
    it.tell(after=10 * MINUTE)
    assert [type(action) for action in effects(it.decide())] == [Stop, Hold]


def test_a_cancelled_job_that_would_have_taken_its_turn_stops_nobody() -> None:
    it = taking_turns("las")
    it.nodes(a_node("n1", 2))
    one(it, "first", 2)
    it.carry_out()
    one(it, "second", 2)
    it.decide()
    it.tell(CancelAsked(JobId("second")))
    it.tell(after=HOUR)
    assert effects(it.decide()) == []


def test_a_job_whose_deadline_presses_goes_first() -> None:
    it = taking_turns("las")
    it.nodes(a_node("n1", 2))
    one(it, "first", 2)
    it.carry_out()
    it.tell(after=20 * MINUTE)
    one(it, "calm", 2)
    it.tell(submitted(a_job("pressed", a_request(2), checkpoints=True, deadline=Instant(it.state.now + 5 * HOUR))))
    it.decide()
    it.end("first", Cause.FAILED, exit_code=75)
    assert [action.attempt.job for action in effects(it.decide()) if isinstance(action, Start)] == ["pressed"]
