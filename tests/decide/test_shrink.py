"""Making room by fewer workers of others: what is told by counting is what placing finds, and is all that is done."""

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import curves, elastic, fit, pipeline, resize, shrink
from fairway.model.ids import ExecutorId, JobId
from fairway.model.job import Job, PriorityClass, Role
from fairway.model.plan import Hold, Stop
from fairway.model.policy import Policy
from fairway.model.time import HOUR, Instant
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_queue, a_request, effects, submitted

CLASSES = st.sampled_from([PriorityClass.HIGH, PriorityClass.MEDIUM, PriorityClass.LOW])


def elastic_job(name: str, least: int, most: int, gpus: float = 1, **more: object) -> Job:
    return a_job(name, Role(count=most, min_count=least, request=a_request(gpus, cpu=1)), checkpoints=True, **more)


@st.composite
def scenes(draw: st.DrawFn) -> Rehearsal:
    """Nodes of one executor or two, with elastic jobs on them, and jobs that wait for what these have too much."""
    it = Rehearsal()
    executors = draw(st.sampled_from((("e1",), ("e1", "e2"))))
    for index in range(draw(st.integers(1, 4))):
        executor = ExecutorId(executors[index % len(executors)])
        it.nodes(a_node(f"n{index}", draw(st.integers(1, 5)), executor=executor))
    if draw(st.booleans()):
        it.queues(a_queue("small", gpus=draw(st.integers(1, 4))))
    queue = st.sampled_from(("small", "lab"))
    for index in range(draw(st.integers(1, 5))):
        least = draw(st.integers(1, 2))
        job = elastic_job(f"e{index}", least, least + draw(st.integers(0, 4)), draw(st.sampled_from((0.5, 1, 2))),
                          cls=draw(CLASSES), queue=draw(queue))  # fmt: skip
        it.tell(submitted(job))
    it.carry_out()
    it.tell(after=HOUR)
    for index in range(draw(st.integers(1, 3))):
        role = Role(count=draw(st.integers(1, 3)), request=a_request(draw(st.sampled_from((0.5, 1, 2, 3))), cpu=1))
        it.tell(submitted(a_job(f"w{index}", role, cls=draw(CLASSES), queue=draw(queue))))
    return it


@given(scenes())
def test_to_count_says_what_to_place_finds(it: Rehearsal) -> None:
    snap = snapshot(it.state)
    counted = pipeline.decide(snap, it.policy)
    with mock.patch.object(shrink._Count, "of", return_value=None):
        placed = pipeline.decide(snap, it.policy)
    assert counted == placed


def crowd(jobs: int, most: int = 4, *, deadline: Instant | None = None) -> Rehearsal:
    """A node of four for each of many elastic jobs, of which the first have their full set."""
    it = Rehearsal()
    it.nodes(*(a_node(f"n{index:03}", 4) for index in range(jobs)))
    it.tell(*(submitted(elastic_job(f"e{index:03}", 1, most, deadline=deadline)) for index in range(jobs)))
    it.settle()
    it.start()
    it.tell(after=HOUR)
    return it


def test_few_placings_find_how_few_workers_will_do() -> None:
    it = crowd(40)
    it.tell(submitted(a_job("wide", Role(count=30, request=a_request(1, cpu=1)))))
    with (
        mock.patch.object(shrink, "place", wraps=shrink.place) as placed,
        mock.patch.object(fit, "room", wraps=fit.room) as looked,
    ):
        actions = effects(it.decide())
    assert sum(isinstance(action, Stop) for action in actions) == 10, "three workers of each"
    assert [action.job for action in actions if isinstance(action, Hold)][-1] == "wide"
    assert placed.call_count == 2
    assert looked.call_count < 60, "placing 30 tasks looks a few times; each way that is tried, never at all nodes"


@pytest.mark.parametrize("deadline", [None, Instant(1000 * HOUR)])
def test_who_could_grow_is_not_worked_out_while_others_wait_unless_a_deadline_might_need_it(
    deadline: Instant | None,
) -> None:
    it = crowd(2, 6, deadline=deadline)
    it.tell(submitted(a_job("never", a_request(400))), submitted(a_job("full", a_request(4, cpu=9999))))
    it.end("e000")
    with mock.patch.object(elastic, "allocate", wraps=elastic.allocate) as sized:
        it.decide()
    assert sized.called == (deadline is not None)


def test_who_may_be_resized_is_who_says_so_of_itself() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 64))
    role = Role(count=4, min_count=2, request=a_request(1, cpu=1))
    it.tell(submitted(elastic_job("may", 1, 4)), submitted(elastic_job("full", 4, 4)), submitted(a_job("no", role)))
    it.tell(submitted(a_job("two", role, role, checkpoints=True)), submitted(elastic_job("leaves", 1, 2)))
    it.settle()
    it.start()
    snap = snapshot(it.state)
    rows = resize.resizable(snap, {it.state.jobs.row_of[JobId("leaves")]})
    assert [it.state.jobs.id_of(row) for row in rows] == ["may"]
    assert [row for row in snap.jobs.rows() if snap.jobs.job(row).resizable and row in snap.flexible] == [
        *rows, it.state.jobs.row_of[JobId("leaves")],
    ]  # fmt: skip


def test_the_curve_of_equal_jobs_is_worked_out_once() -> None:
    it = crowd(30)
    snap = snapshot(it.state)
    rows = resize.resizable(snap, set())
    assert len(rows) == 30
    curves._told.cache_clear()
    resize.workers(snap, it.policy, rows)
    assert curves._told.cache_info().misses == 1
    more = Policy(elastic=it.policy.elastic.__class__(scaling=it.policy.elastic.scaling / 2))
    slower, faster = (resize.workers(snap, policy, rows)[0].speed for policy in (it.policy, more))
    assert (slower[:, 0] < faster[:, 0]).all(), "another policy, another curve"
