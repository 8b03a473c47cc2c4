"""Who comes first in a queue: a total order; class before number, deadline, discipline and submission."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import order
from fairway.model.errors import InvalidField
from fairway.model.facts import JobSubmitted, Progressed, QueueSet
from fairway.model.ids import QueueId
from fairway.model.job import Job, PriorityClass
from fairway.model.policy import Ordering, Policy
from fairway.model.queue import DISCIPLINES, Queue
from fairway.model.time import HOUR, MINUTE, Duration
from fairway.state.snapshot import Snapshot, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, minutes, submitted

QUEUES = ("a", "b", "c")


@st.composite
def jobs(draw: st.DrawFn, index: int) -> Job:
    more: dict[str, Any] = {
        "user": draw(st.sampled_from(("ada", "bob"))),
        "estimate": draw(st.sampled_from((None, minutes(10), minutes(60), minutes(600)))),
        "deadline": draw(st.sampled_from((None, None, minutes(100), minutes(700)))),
    }
    return a_job(
        f"j{index}",
        a_request(draw(st.integers(0, 4)), cpu=1),
        queue=draw(st.sampled_from(QUEUES)),
        cls=draw(st.sampled_from(PriorityClass)),
        number=draw(st.integers(-1, 1)),
        **more,
    )


LINES = st.integers(1, 12).flatmap(lambda count: st.tuples(*(jobs(index) for index in range(count))))
NAMES = st.sampled_from(DISCIPLINES)


def in_line(
    line: tuple[Job, ...], disciplines: tuple[Any, ...], ordering: Ordering, waited: tuple[int, ...]
) -> tuple[Snapshot, Policy, list[int]]:
    """A snapshot in which these jobs wait, each submitted so many minutes after the one before."""
    policy = Policy(order=ordering)
    it = Rehearsal(policy)
    it.tell(*(QueueSet(Queue(QueueId(q), discipline=d)) for q, d in zip(QUEUES, disciplines, strict=True)), after=1)
    for job, wait in zip(line, waited, strict=False):
        it.tell(JobSubmitted(job), after=wait * MINUTE)
    snap = snapshot(it.state)
    rows = np.flatnonzero(snap.jobs.in_line[: snap.jobs.height])
    return snap, policy, order.in_order(snap, policy, rows).tolist()


ORDERINGS = st.builds(Ordering, NAMES, st.sampled_from((None, Duration(HOUR), Duration(5 * HOUR))))
WAITS = st.tuples(*[st.integers(0, 300)] * 12)


@given(LINES, st.tuples(NAMES, st.none() | NAMES, st.none()), ORDERINGS, WAITS)
def test_the_order_is_total_and_class_comes_first(
    line: tuple[Job, ...], disciplines: tuple[Any, ...], ordering: Ordering, waited: tuple[int, ...]
) -> None:
    snap, policy, rows = in_line(line, disciplines, ordering, waited)
    again = order.in_order(snap, policy, np.array(rows[::-1], np.int64)).tolist()
    assert sorted(rows) == list(range(len(line)))
    assert again == rows
    cls = order.aged(snap, ordering, np.array(rows)).tolist()
    assert cls == sorted(cls)
    for level in set(cls):
        numbers = [line[row].priority.number for row, c in zip(rows, cls, strict=True) if c == level]
        assert numbers == sorted(numbers, reverse=True)


@given(LINES, ORDERINGS, st.tuples(*[st.integers(0, 100_000)] * 12))
def test_ageing_never_reaches_critical(line: tuple[Job, ...], ordering: Ordering, waited: tuple[int, ...]) -> None:
    snap, _, rows = in_line(line, (None, None, None), ordering, waited)
    for row, cls in zip(rows, order.aged(snap, ordering, np.array(rows)).tolist(), strict=True):
        own = line[row].priority.cls
        assert cls <= own
        assert (cls == PriorityClass.CRITICAL) == (own == PriorityClass.CRITICAL)


@given(LINES, st.tuples(NAMES, NAMES, st.none()), WAITS)
def test_a_discipline_moves_nobody_of_another_queue(
    line: tuple[Job, ...], disciplines: tuple[Any, ...], waited: tuple[int, ...]
) -> None:
    snap, _, rows = in_line(line, disciplines, Ordering(), waited)
    _, _, plain = in_line(line, (None, None, None), Ordering(), waited)
    assert [line[row].queue for row in rows] == [line[row].queue for row in plain]
    assert snap.now > 0


@given(LINES, NAMES, WAITS)
def test_inside_a_queue_the_key_decides(line: tuple[Job, ...], name: Any, waited: tuple[int, ...]) -> None:
    """The plain twin: sort by what the documents say, job by job."""
    snap, policy, rows = in_line(line, (name, name, name), Ordering(), waited)
    seen = order.standing(snap, policy, np.arange(len(line)))
    keys = order.TABLE[name].key(seen)
    latest = order.latest_start(snap, seen)

    def place(row: int) -> tuple[Any, ...]:
        priority = line[row].priority
        return priority.cls, -priority.number, latest[row], keys[row], row

    for queue in QUEUES:
        own = [row for row in rows if line[row].queue == queue]
        assert own == sorted(own, key=place)


def _plain_key(name: str, job: Job, before: list[Job]) -> float:
    """The key of a job that has never run."""
    request = job.roles[0].request
    width = max(request.gpus * 1000 + request.cpu_milli / 16, 1)
    told = job.estimate or HOUR
    earlier = sum(max(j.roles[0].request.gpus * 1000 + j.roles[0].request.cpu_milli / 16, 1) for j in before)
    return {"fifo": 0, "sjf": told, "srsf": told * width, "las": 600_000 * 1000, "fair": earlier + width}[name]


@given(LINES, NAMES)
def test_keys_are_what_they_are_said_to_be(line: tuple[Job, ...], name: Any) -> None:
    snap, policy, _ = in_line(line, (name, name, name), Ordering(), (0,) * 12)
    keys = order.keys(snap, policy, order.standing(snap, policy, np.arange(len(line))))
    for row, job in enumerate(line):
        before = [other for other in line[:row] if (other.queue, other.user) == (job.queue, job.user)]
        assert keys[row] == pytest.approx(_plain_key(name, job, before))


def served(gpus: int, ran: Duration, **more: Any) -> tuple[Rehearsal, order.Standing]:
    """A job that has run for so long."""
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(gpus), **more)), after=1)
    it.decide()
    it.start()
    it.tell(after=ran)
    return it, order.standing(snapshot(it.state), Policy(), np.array([0]))


def test_attained_service_is_gpus_times_time() -> None:
    _, seen = served(4, minutes(30))
    assert seen.attained.tolist() == [4 * 1000 * 30 * MINUTE]


@pytest.mark.parametrize(("ran", "left"), [(20, 40), (60, 60), (61, 59), (130, 110), (300, 180)])
def test_who_has_outlived_its_estimate_is_expected_to_double_it(ran: int, left: int) -> None:
    _, seen = served(1, minutes(ran), estimate=minutes(60))
    assert seen.remaining.tolist() == [pytest.approx(left * MINUTE)]


def test_reported_steps_tell_more_than_the_estimate() -> None:
    it, _ = served(1, minutes(30), estimate=minutes(60))
    it.tell(Progressed(it.attempt("j"), step=100, total=1000))
    seen = order.standing(snapshot(it.state), Policy(), np.array([0]))
    assert seen.remaining.tolist() == [pytest.approx(270 * MINUTE)]


@given(st.floats(1.01, 10), st.floats(0, 1e6), st.floats(1, 1e15))
def test_when_a_job_falls_back_it_is_in_a_later_level(margin: float, ran: float, key: float) -> None:
    ordering = Ordering("las", margin=margin)
    _, seen = served(2, minutes(5))

    def at(attained: float) -> order.Standing:
        return replace(seen, attained=np.array([attained]), policy=Policy(order=ordering))

    now = at(ran * 2000)
    after, then = order.las_falls(now, key)
    later = at(ran * 2000 + after[0] * seen.width[0])
    assert after[0] > -1
    assert order.las(later)[0] == pytest.approx(then[0])
    assert then[0] * (1 + 1e-6) >= key
    assert then[0] > order.las(now)[0]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"discipline": "lifo"}, "discipline"),
        ({"margin": 1.0}, "margin"),
        ({"ageing": 0}, "ageing"),
        ({"unknown": 0}, "unknown"),
    ],
)
def test_a_wrong_ordering_is_refused_with_its_path(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField, match=f"policy.order.{field}"):
        Ordering(**wrong)
