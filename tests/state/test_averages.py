"""The decayed average of a queue's use: exact whatever happens in between, and written only where use changes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.ids import QueueId
from fairway.model.queue import Queue
from fairway.model.time import HOUR, Duration
from fairway.state.check import check
from fairway.state.tables import QueueTable
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

STEPS = st.lists(st.tuples(st.integers(0, 5 * HOUR), st.integers(0, 2), st.integers(-3, 8)), max_size=20)


def table() -> QueueTable:
    """A queue, one below it, and one below that."""
    queues = QueueTable()
    for row, name in enumerate(("a", "a/b", "a/b/c")):
        assert queues.put(Queue(QueueId(name)), row - 1) == row
    return queues


@given(STEPS, st.integers(1, 30 * HOUR))
def test_it_is_the_integral_of_use_weighted_by_age(steps: list[tuple[int, int, int]], half_life: int) -> None:
    queues, now, past = table(), 0, list[tuple[int, int, np.ndarray]]()
    queues.set_half_life(Duration(half_life), 0)
    for wait, row, gpus in steps:
        past.append((now, now + wait, queues.used[:3].astype(float)))
        now += wait
        queues.use(row, (0, 0, gpus), now)
    # The integral of used x 2^(-age / half_life), in half-lives, over that of 2^(-age / half_life).
    exact = sum(
        (used * (2.0 ** ((end - now) / half_life) - 2.0 ** ((begin - now) / half_life)) for begin, end, used in past),
        np.zeros((3, 3)),
    )
    np.testing.assert_allclose(queues.average_at(now), exact, rtol=1e-9, atol=1e-9)


@given(STEPS, st.integers(0, 3 * HOUR))
def test_reading_it_later_is_as_good_as_writing_it_now(steps: list[tuple[int, int, int]], later: int) -> None:
    often, seldom, now = table(), table(), 0
    for wait, row, gpus in steps:
        for part in (wait // 2, wait - wait // 2):
            now += part
            for other in range(3):
                often.use(other, (0, 0, 0), now)
        for queues in (often, seldom):
            queues.use(row, (0, 0, gpus), now)
    np.testing.assert_allclose(often.average_at(now + later), seldom.average_at(now + later), rtol=1e-9, atol=1e-9)


def test_half_of_it_is_forgotten_in_a_half_life() -> None:
    queues = table()
    queues.use(0, (0, 0, 1000), 0)
    assert queues.average_at(queues.half_life)[0, 2] == 500
    queues.use(0, (0, 0, -1000), queues.half_life)
    assert queues.average_at(2 * queues.half_life)[0, 2] == 250
    now, shorter = 2 * queues.half_life, Duration(queues.half_life // 4)
    queues.set_half_life(shorter, now)
    assert queues.average_at(now + shorter)[0, 2] == 125


def after_hours() -> Rehearsal:
    """A queue below another has used GPUs for some hours."""
    it = Rehearsal()
    it.nodes(a_node("n", 8))
    it.tell(submitted(a_job("j", a_request(4), queue="a/b")))
    it.decide()
    it.tell(after=7 * HOUR)
    return it


def test_a_checkpoint_keeps_it() -> None:
    it = after_hours()
    before = it.state.queues.average_at(it.state.now)
    it.restart()
    np.testing.assert_array_equal(it.state.queues.average_at(it.state.now), before)
    assert before[it.state.queues.row_of[QueueId("a")], 2] > 0
    it.prove()


def test_a_queue_that_used_less_than_those_below_it_is_noticed() -> None:
    it = after_hours()
    it.state.queues.average[it.state.queues.row_of[QueueId("a/b")], 2] += 1
    assert any("those below it" in sentence for sentence in check(it.state))
