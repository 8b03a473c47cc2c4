"""Growing and shrinking running jobs: sizes stay within bounds, nobody is stopped in vain, and everybody ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.facts import Progressed
from fairway.model.ids import ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import Job, Priority, PriorityClass, Role
from fairway.model.node import Node
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Hold, Start, Stop
from fairway.model.policy import Elastic, Policy
from fairway.model.queue import Queue
from fairway.model.reasons import Grown, Shrunk
from fairway.model.resources import Request
from fairway.model.time import HOUR, MINUTE, Duration, Instant
from fairway.sim.simulate import simulate
from fairway.sim.traces.trace import Trace
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, effects, minutes, submitted

CLASSES = st.sampled_from([PriorityClass.CRITICAL, PriorityClass.MEDIUM, PriorityClass.LOW])


def elastic(name: str, least: int, most: int, gpus: int = 1, **more: Any) -> Job:
    role = Role(count=most, min_count=least, request=a_request(gpus, cpu=1))
    return a_job(name, role, checkpoints=True, **more)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[Job, int]]:
    """Jobs and how many minutes pass after each."""
    found: list[tuple[Job, int]] = []
    for index in range(draw(st.integers(1, 7))):
        least = draw(st.integers(1, 3))
        most = least + draw(st.sampled_from([0, 0, 2, 6]))
        deadline = draw(st.sampled_from([None, 2, 20]))
        job = elastic(
            f"j{index}", least, most, draw(st.integers(0, 2)),
            priority=Priority(draw(CLASSES)), estimate=draw(st.sampled_from([None, minutes(30), minutes(900)])),
            deadline=None if deadline is None else Instant((index + deadline) * HOUR * 10),
        )  # fmt: skip
        found.append((job, draw(st.integers(0, 40))))
    return found


@given(steps())
def test_sizes_stay_within_bounds_and_what_is_there_whatever_comes(jobs: list[tuple[Job, int]]) -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8), a_node("n2", 4))
    known = {job.id: job for job, _ in jobs}
    for job, wait in jobs:
        it.tell(submitted(job))
        for action in it.carry_out():
            if isinstance(action, Start | Hold):
                role = known[action.attempt.job if isinstance(action, Start) else action.job].roles[0]
                assert role.least <= len(action.placement) <= role.count
                assert [task.rank for task in action.placement] == list(range(len(action.placement)))
            if isinstance(action, Stop):
                assert isinstance(action.reason, Grown | Shrunk) == (action.cause is Cause.RESIZED)
        it.tell(after=wait * MINUTE)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), CLASSES)
def test_nobody_is_preempted_where_shrinking_makes_room(a: int, b: int, gpus: int, cls: PriorityClass) -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(elastic("a", a, 4)), submitted(elastic("b", b, 4, priority=Priority(PriorityClass.LOW))))
    it.carry_out()
    it.tell(submitted(a_job("c", a_request(gpus, cpu=1), priority=Priority(cls))), after=HOUR)
    stops = [action for action in effects(it.decide()) if isinstance(action, Stop)]
    spare = (4 - b if cls <= PriorityClass.LOW else 0) + (4 - a if cls <= PriorityClass.MEDIUM else 0)
    if spare >= gpus:
        assert stops
        assert all(stop.cause is Cause.RESIZED for stop in stops)
        given_up = sum(stop.reason.before - stop.reason.after for stop in stops if isinstance(stop.reason, Shrunk))
        assert given_up == gpus
    else:
        assert not any(stop.cause is Cause.RESIZED for stop in stops)


@given(st.integers(1, 7), st.integers(1, 8))
def test_idle_room_is_used_when_nobody_waits(taken: int, most: int) -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("first", a_request(taken, cpu=1))))
    it.carry_out()
    it.tell(submitted(elastic("a", 1, most, estimate=minutes(6000))))
    it.carry_out()
    assert len(it.state.jobs.placement[it.state.jobs.row_of[JobId("a")]]) == min(most, 8 - taken)
    it.tell(after=HOUR)
    it.end("first", Cause.SUCCEEDED)
    it.carry_out()
    assert len(it.state.jobs.placement[it.state.jobs.row_of[JobId("a")]]) == most


@pytest.mark.parametrize("off", [Elastic(grow=False), Elastic(shrink=False)])
def test_each_half_can_be_switched_off(off: Elastic) -> None:
    it = Rehearsal(Policy(elastic=off))
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("first", a_request(4, cpu=1))), submitted(elastic("a", 1, 8, estimate=minutes(6000))))
    it.carry_out()
    it.tell(after=HOUR)
    it.end("first", Cause.SUCCEEDED)
    assert any(isinstance(action, Stop) for action in it.carry_out()) == off.grow
    it.tell(submitted(a_job("c", a_request(6, cpu=1))), after=HOUR)
    assert any(isinstance(action, Stop) for action in it.carry_out()) == off.shrink


def test_another_shrinks_where_a_deadline_needs_its_workers() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(elastic("free", 1, 6, estimate=minutes(6000))))
    it.carry_out()
    it.tell(submitted(elastic("bound", 1, 4, estimate=minutes(120), deadline=Instant(it.state.now + 3 * HOUR))))
    it.carry_out()
    sizes = {name: len(it.state.jobs.placement[it.state.jobs.row_of[JobId(name)]]) for name in ("free", "bound")}
    assert sizes == {"free": 5, "bound": 3}
    assert it.state.jobs.preemptions[it.state.jobs.row_of[JobId("free")]] == 0


def test_a_failure_while_it_is_resized_costs_the_job_its_hold() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(elastic("a", 2, 8)))
    it.carry_out()
    it.tell(submitted(a_job("c", a_request(2, cpu=1))), after=HOUR)
    it.decide()
    it.end("a", Cause.FAILED, exit_code=1)
    assert it.phase("a") is JobPhase.FAILED
    it.carry_out()
    assert it.phase("c") is JobPhase.RUNNING


@given(st.integers(1, 4), st.integers(1, 4), st.floats(0.3, 0.99))
def test_steps_tell_how_speed_grows_with_workers(few: int, more: int, power: float) -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", few))
    it.tell(submitted(elastic("a", few, few + more, estimate=minutes(60_000))))
    it.carry_out()
    report_steps(it, "a", 1e6 * few**power)
    row = it.state.measured.row_of[JobId("a")]
    assert it.state.measured.scaling[row] == 0
    it.nodes(a_node("n1", few + more))
    assert [action.reason.after for action in it.carry_out() if isinstance(action, Stop)] == [few + more]  # type: ignore[union-attr]
    report_steps(it, "a", 1e6 * (few + more) ** power)
    it.end("a", Cause.NODE_LOST)
    assert it.state.measured.scaling[row] == pytest.approx(power, abs=1e-3)
    it.prove()


def test_a_job_that_more_workers_do_not_help_stays_small() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 2))
    it.tell(submitted(elastic("a", 2, 8, estimate=minutes(6_000))))
    it.carry_out()
    report_steps(it, "a", 1e6, 5e6)
    it.nodes(a_node("n1", 4))
    it.carry_out()
    report_steps(it, "a", 1.001e6, 5e6)
    it.end("a", Cause.NODE_LOST)
    it.carry_out()
    report_steps(it, "a", 1.001e6, 5e6)
    it.nodes(a_node("n1", 8))
    assert it.carry_out() == []


def report_steps(it: Rehearsal, job: str, per_hour: float, total: float = 1e12) -> None:
    """The program tells of its steps for two hours."""
    for hour in range(3):
        it.tell(Progressed(it.attempt(job), step=1 + round(hour * per_hour), total=int(total)), after=HOUR)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """A few jobs on two nodes, elastic and not."""
    jobs: list[Job] = []
    for index in range(draw(st.integers(2, 9))):
        least = draw(st.integers(1, 3))
        work, known = Duration(draw(st.integers(1, 20 * 60)) * MINUTE), draw(st.booleans())
        jobs.append(
            Job(
                JobId(f"j{index}"), "j", QueueId("q"),
                (Role(count=least + draw(st.sampled_from([0, 1, 5])), min_count=least, request=Request(gpus=1)),),
                Priority(draw(CLASSES)), submitted=Instant(index * draw(st.integers(0, 90)) * MINUTE),
                estimate=work if known else None, work=work, checkpoints=True,
            )
        )  # fmt: skip
    nodes = tuple(Node(NodeId(f"n{i}"), ExecutorId("sim"), gpus=4) for i in range(2))
    return Trace("t", "made", nodes, (Queue(QueueId("q")),), tuple(sorted(jobs, key=lambda job: job.submitted)))


@given(traces())
def test_everybody_ends_and_no_work_is_lost(trace: Trace) -> None:
    report = simulate(trace)
    assert report.completed == len(trace.jobs)
    work = sum((job.work or 0) * job.roles[0].count for job in trace.jobs)
    assert report.gpu_hours * HOUR == pytest.approx(work, rel=1e-6, abs=1e-3 * HOUR)
