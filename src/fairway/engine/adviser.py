"""Answers that need the state: asked from any thread, given by the loop's between two turns.

What would help a job, when it will start, and whether something could be booked is computed only when somebody asks.
The state belongs to the loop's thread, so a question waits there for the end of a turn, at most as long as the loop
sleeps; ``ring`` wakes it.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from fairway.decide.advice import Advice, advise
from fairway.decide.book import find
from fairway.model.booking import Booking, BookingShort
from fairway.model.ids import JobId
from fairway.state.bookings import Booked
from fairway.state.cluster import ClusterState
from fairway.state.snapshot import snapshot

Answer = Future[Advice | None]
Verdict = Future[BookingShort | None]


class Adviser:
    """``ask`` from any thread; ``answer`` from the one that owns the state."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._asked: deque[tuple[Callable[[ClusterState], Any], Future[Any]]] = deque()

    def ask(self, job: JobId) -> Answer:
        """What would help a job; None when it does not stand in line."""
        return self._put(lambda state: _advice(state, job))

    def try_booking(self, booking: Booking) -> Verdict:
        """Why a booking could not be, if it were asked for now; None when it could."""
        return self._put(lambda state: _short(state, booking))

    def _put(self, question: Callable[[ClusterState], Any]) -> Future[Any]:
        answer: Future[Any] = Future()
        self._asked.append((question, answer))
        self._ring()
        return answer

    def answer(self, state: ClusterState) -> None:
        """Answer what was asked since the last time. A question whose asker has gone is dropped."""
        while self._asked:
            question, answer = self._asked.popleft()
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(question(state))
            except Exception as error:  # noqa: BLE001  the asker is told; the loop goes on
                answer.set_exception(error)


def _advice(state: ClusterState, job: JobId) -> Advice | None:
    row = state.jobs.row_of.get(job)
    if row is None or not state.jobs.in_line[row]:
        return None
    rng = np.random.default_rng(int(state.jobs.ordinal[row]))
    return advise(snapshot(state), state.policy, row, rng)


def _short(state: ClusterState, booking: Booking) -> BookingShort | None:
    others = {name: each.devices for name, each in state.bookings.table.items() if each.stands}
    return find(snapshot(state), state.policy, Booked(booking), others)[1]
