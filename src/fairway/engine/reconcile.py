"""What must be sent so that the world becomes what was decided.

Commands derive from the state, never from the event that changed it: whatever is unmet is asked for, again and again
with a growing pause, until a fact says that it is so. Executors do nothing twice, so a command too many costs a message
and a command too few costs a pause.
"""

from fairway.engine.commands import Command, ForgetAttempt, StartAttempt, StopAttempt, WakeAt
from fairway.model.ids import AttemptId
from fairway.model.phases import JobPhase
from fairway.model.time import NEVER, SECOND, Duration, Instant
from fairway.state import lifecycle
from fairway.state.cluster import ClusterState

RESEND_FIRST = Duration(5 * SECOND)
"""An executor that lives answers within milliseconds; a start that pulls an image may take minutes."""
RESEND_MOST = Duration(60 * SECOND)
"""The pause doubles from ``RESEND_FIRST`` up to this: an executor that is down is not shouted at, and is found again
within a minute of its return."""
STRAY_GRACE = Duration(30 * SECOND)
"""What an attempt that nobody wants is given to end, where its job, and so the grace it asked for, is not known."""

_Sent = tuple[bool, int, int]
"""(is it a stop, when to send it again, the pause until then)."""


class Reconciler:
    """Turns what is unmet into commands. Its only memory, when it last sent what, may be lost: it then sends once more.

    ``state.news`` only tells where to look between two looks at everything; what is sent follows from the state.
    """

    def __init__(self) -> None:
        self._sent: dict[AttemptId, _Sent] = {}
        self._due: int = 0
        """When to look at everything again: the earliest instant at which something in ``_sent`` is to be repeated."""
        self._wake: int = NEVER
        self._wake_to_repeat: int = NEVER
        """The wake-ups that the world still owes: for a timer, and to repeat something."""

    def commands(self, state: ClusterState, now: Instant) -> list[Command]:
        """Everything to send at ``now``, which is never before ``state.now``.

        Costs O(what changed + strays), and O(unmet) when something is to be repeated.
        """
        news, unmet = state.news, state.unmet
        commands: list[Command] = [ForgetAttempt(executor, attempt) for attempt, executor in news.settled.items()]
        if unmet or state.strays:
            everything = now >= self._due
            for job in unmet if everything else [job for job in news.jobs if job in unmet]:
                self._job(state, state.jobs.row_of[job], now, commands)
            for attempt, executor in state.strays.items():
                if self._is_due(attempt, True, now):
                    commands.append(StopAttempt(executor, attempt, _stray_grace(state, attempt)))
            if everything:
                self._forget_met(state)
        elif self._due != NEVER:
            self._sent.clear()
            self._due = NEVER
        self._wake_up(state, now, commands)
        return commands

    def _forget_met(self, state: ClusterState) -> None:
        wanted = {state.jobs.attempt_id(state.jobs.row_of[job]) for job in state.unmet} | state.strays.keys()
        self._sent = {attempt: sent for attempt, sent in self._sent.items() if attempt in wanted}
        self._due = min((again for _, again, _ in self._sent.values()), default=NEVER)

    def _job(self, state: ClusterState, row: int, now: Instant, commands: list[Command]) -> None:
        jobs, attempt = state.jobs, state.jobs.attempt_id(row)
        stop = jobs.phase_of(row) is JobPhase.STOPPING
        if not self._is_due(attempt, stop, now):
            return
        job, executor = jobs.job(row), lifecycle.executor_of(state, row)
        if stop:
            commands.append(StopAttempt(executor, attempt, job.grace))
        else:
            batch = state.measured.batch_of(attempt.job)
            commands.append(StartAttempt(executor, attempt, job, jobs.placement[row], batch))

    def _is_due(self, attempt: AttemptId, stop: bool, now: Instant) -> bool:
        """Whether to send now; if so, notes when to send again. A stop after a start is a new wish, sent at once."""
        last = self._sent.get(attempt)
        if last is None or last[0] != stop:
            pause = RESEND_FIRST
        elif now < last[1]:
            return False
        else:
            pause = min(2 * last[2], RESEND_MOST)
        again = now + pause
        self._sent[attempt] = (stop, again, pause)
        self._due = min(self._due, again)
        return True

    def _wake_up(self, state: ClusterState, now: Instant, commands: list[Command]) -> None:
        due = state.timers[0][0] if state.timers else NEVER
        if now >= self._wake:
            self._wake = NEVER
        if due < self._wake:
            self._wake = due
            commands.append(WakeAt(Instant(due)))
        if now >= self._wake_to_repeat:
            self._wake_to_repeat = NEVER
        if self._due < self._wake_to_repeat:
            self._wake_to_repeat = self._due
            commands.append(WakeAt(Instant(self._due), repeat=True))


def _stray_grace(state: ClusterState, attempt: AttemptId) -> Duration:
    row = state.jobs.row_of.get(attempt.job)
    if row is not None:
        return state.jobs.job(row).grace
    ended = state.ended.get(attempt.job)
    return ended.job.grace if ended else STRAY_GRACE
