"""What a queue has spent in a rolling window, against the plain sum over what it used."""

from hypothesis import given
from hypothesis import strategies as st

from fairway.model.ids import QueueId
from fairway.model.queue import Queue, RollingQuota
from fairway.model.reasons import OverRolling
from fairway.model.time import HOUR, Duration
from fairway.state.rolling import PARTS, Spending
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, minutes, submitted

STEPS = st.lists(st.tuples(st.integers(1, 3 * HOUR), st.integers(0, 8)), min_size=1, max_size=20)
PERIODS = st.integers(1, 12 * HOUR).map(Duration)


def plainly(steps: list[tuple[int, int]], period: int, now: int) -> int:
    """The same from all that was ever used."""
    at = total = 0
    for length, milli in steps:
        total += milli * max(min(at + length, now) - max(at, now - period), 0)
        at += length
    return total


@given(STEPS, PERIODS, st.integers(0, 8 * HOUR))
def test_it_is_what_was_used_in_the_window_and_at_most_a_part_more(
    steps: list[tuple[int, int]], period: Duration, later: int
) -> None:
    spending, now = Spending(RollingQuota(0, period)), 0
    for length, milli in steps:
        spending.add(milli, now, now + length)
        now += length
    exact = plainly(steps, period, now + later)
    spent = spending.spent(0, now, now + later)
    assert exact <= spent <= exact + 8 * (period // PARTS + 1)
    assert len(spending.parts) <= 2 * PARTS + 2


@given(STEPS, PERIODS, st.integers(1, 10 * HOUR))
def test_it_frees_when_it_says_and_not_before(steps: list[tuple[int, int]], period: Duration, most: int) -> None:
    spending, now = Spending(RollingQuota(most, period, 0.0)), 0
    for length, milli in steps:
        spending.add(milli, now, now + length)
        now += length
    frees = spending.frees_at(0, now, now)
    assert spending.spent(0, now, frees) < most
    if frees > now:
        assert spending.spent(0, now, frees - 1) >= most


@given(st.lists(st.tuples(st.sampled_from(("a/x", "a", "b")), st.integers(1, 4), st.integers(1, 90)), max_size=12))
def test_nobody_starts_who_has_spent_its_quota_and_everybody_starts_in_time(
    jobs: list[tuple[str, int, int]],
) -> None:
    it = Rehearsal()
    it.nodes(*(a_node(f"n{i}", 8) for i in range(8)))
    for name, hours in (("a", 4), ("b", 2)):
        it.queues(Queue(QueueId(name), rolling=RollingQuota(hours * 1000 * HOUR, Duration(6 * HOUR))))
    for index, (queue, gpus, wait) in enumerate(jobs):
        it.tell(submitted(a_job(f"j{index}", a_request(gpus), queue=queue)))
        spent = {row for row in it.state.queues.rolling if it.state.queues.exhausted(row, it.state.now) == row}
        before = it.state.queues.used[: it.state.queues.height, 2].copy()
        it.decide()
        after = it.state.queues.used[: it.state.queues.height, 2]
        assert all(after[row] <= before[row] for row in spent)
        it.prove()
        it.start()
        it.tell(after=minutes(wait))
        if index % 2:
            for job in [job for job in it.state.jobs.row_of if it.where(job)]:
                it.end(job)
        it.prove()
    for job in [job for job in it.state.jobs.row_of if it.where(job)]:
        it.end(job)
    for _ in range(4 * PARTS):
        it.decide()
        timer = it.state.next_timer()
        if timer is None or not any(isinstance(it.why(job), OverRolling) for job in it.state.jobs.row_of):
            break
        it.tell(after=timer - it.state.now)
    assert all(it.where(job) for job in it.state.jobs.row_of), "whoever waits for its quota starts when it frees"
    assert snapshot(it.state).queues.rolling
