"""Answers that need the state: asked from any thread, given by the loop's between two turns.

What would help a job, when it will start, and whether something could be booked is computed only when somebody asks.
The state belongs to the loop's thread, so a question waits there for the end of a turn, at most as long as the loop
sleeps; ``ring`` wakes it. What is said of starts is corrected by what came of such ranges before (``Calibration``).
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from fairway.decide.advice import Advice, advise
from fairway.decide.book import find
from fairway.engine.calibration import Calibration
from fairway.model.booking import Booking, BookingShort
from fairway.model.ids import JobId
from fairway.state.bookings import Booked
from fairway.state.cluster import ClusterState
from fairway.state.snapshot import snapshot

Answer = Future[Advice | None]
Verdict = Future[BookingShort | None]

log = logging.getLogger(__name__)


class Adviser:
    """``ask`` from any thread; ``answer`` from the one that owns the state."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._calibration = Calibration()
        self._asked: deque[tuple[Callable[[ClusterState], Any], Future[Any]]] = deque()

    def ask(self, job: JobId) -> Answer:
        """What would help a job; None when it does not stand in line."""
        return self._put(lambda state: _advice(state, job, self._calibration))

    def try_booking(self, booking: Booking) -> Verdict:
        """Why a booking could not be, if it were asked for now; None when it could."""
        return self._put(lambda state: _short(state, booking))

    def _put(self, question: Callable[[ClusterState], Any]) -> Future[Any]:
        answer: Future[Any] = Future()
        self._asked.append((question, answer))
        self._ring()
        return answer

    def answer(self, state: ClusterState) -> None:
        """Answer what was asked since the last time, and watch what comes of the answers. A question whose asker has
        gone is dropped."""
        try:
            self._calibration.watch(state)
        except Exception as error:  # noqa: BLE001  the loop goes on without advice that can be trusted
            log.error("expected starts could not be watched: %s: %s", type(error).__name__, error)
        while self._asked:
            question, answer = self._asked.popleft()
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(question(state))
            except Exception as error:  # noqa: BLE001  the asker is told; the loop goes on
                answer.set_exception(error)


def _advice(state: ClusterState, job: JobId, calibration: Calibration) -> Advice | None:
    row = state.jobs.row_of.get(job)
    if row is None or not state.jobs.in_line[row]:
        return None
    rng = np.random.default_rng(int(state.jobs.ordinal[row]))
    advice = advise(snapshot(state), state.policy, row, rng)
    if advice.expected is None:
        return advice
    return replace(advice, expected=calibration.correct(state, advice.expected))


def _short(state: ClusterState, booking: Booking) -> BookingShort | None:
    others = {name: each.devices for name, each in state.bookings.table.items() if each.stands}
    return find(snapshot(state), state.policy, Booked(booking), others)[1]
