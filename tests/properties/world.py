"""What happens in a case: who comes, how executors answer, how long work really takes, and what comes from outside.

Executors are honest: they start what they are told to, or say that they could not, stop what they are told to, and
tell every end once. Each attempt works off what its job has left; what came after the last checkpoint is lost when it
is stopped.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

from fairway.model import facts as f
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId
from fairway.model.phases import Cause, JobPhase, Reach
from fairway.model.time import HOUR, MINUTE, SECOND, Instant
from fairway.testing.builders import EXECUTOR, Rehearsal, submitted
from tests.properties.make import Made, Work
from tests.properties.policies import a_booking, a_policy, a_queue

SLOWEST_START = 10 * SECOND
SLOWEST_STOP = 30 * SECOND
TAKEN = (Cause.PREEMPTED, Cause.MOVED, Cause.RESIZED)
"""Stops that a decision wanted: everything else that ends an attempt comes from outside."""


@dataclass(slots=True)
class Event:
    """Facts that come together. ``outside``: they are not the consequence of a decision; a job has come or ended, too.
    ``upsets``: there is more or less room for reasons that are neither jobs nor decisions, or other rules."""

    name: str
    facts: tuple[f.Fact, ...]
    outside: bool = False
    upsets: bool = False


@dataclass(slots=True)
class World:
    """Everything that is to come, in order of time."""

    made: Made
    it: Rehearsal
    rng: Random
    agenda: list[tuple[int, int, str, object]] = field(default_factory=list[tuple[int, int, str, object]])
    left: dict[JobId, int] = field(default_factory=dict[JobId, int])
    """Milliseconds that a job still takes on a full start."""
    saved: dict[JobId, int] = field(default_factory=dict[JobId, int])
    """The same as of its last checkpoint."""
    known: set[tuple[AttemptId, JobPhase]] = field(default_factory=set[tuple[AttemptId, JobPhase]])
    longest: int = 0
    """How long anybody has held room at most, or is to."""
    count: int = 0
    seq: int = 0
    quick: bool = False
    """Executors confirm starts before the next decision."""

    def begin(self) -> None:
        """Nodes and queues are there; jobs and what comes from outside are to come."""
        self.quick = self.rng.random() < 0.6
        self.it.nodes(*self.made.nodes)
        self.it.queues(*self.made.queues)
        for work in self.made.work:
            self._plan(work.at, "comes", work)
        for at, name in self.made.outside:
            self._plan(at, "outside", name)

    def next(self) -> Instant | None:
        """When something happens next."""
        return Instant(self.agenda[0][0]) if self.agenda else None

    def due(self, now: Instant) -> Iterator[Event]:
        """What happens now."""
        while self.agenda and self.agenda[0][0] <= now:
            _, _, kind, what = heapq.heappop(self.agenda)
            found = _HANDLERS[kind](self, what)
            if found is not None:
                yield found

    def follow(self) -> None:
        """Executors take up what they have been told."""
        self.it.state.strays.clear()  # machines that were lost are dead, and nobody on them has to be stopped
        for job in list(self.it.state.unmet):
            attempt, phase = self.it.attempt(job), self.it.phase(job)
            if (attempt, phase) in self.known:
                continue
            self.known.add((attempt, phase))
            slow = self.rng.random() < 0.6
            if phase is JobPhase.STARTING:
                self.longest = max(self.longest, self._takes(job) + SLOWEST_START + SLOWEST_STOP)
                if self.quick:
                    started = self._begins(attempt)
                    self.it.tell(*(started.facts if started else ()))
                else:
                    self._plan(self.now + (self.rng.randint(1, SLOWEST_START) if slow else 0), "begins", attempt)
            else:
                self._plan(self.now + (self.rng.randint(1, SLOWEST_STOP) if slow else 0), "yields", attempt)

    @property
    def now(self) -> Instant:
        return self.it.state.now

    def _plan(self, at: int, kind: str, what: object) -> None:
        self.count += 1
        heapq.heappush(self.agenda, (at, self.count, kind, what))

    # -- work -----------------------------------------------------------------------------------------------------

    def _comes(self, work: Work) -> Event:
        self.left[work.job.id] = self.saved[work.job.id] = work.takes
        return Event("comes", (submitted(work.job),), outside=True)

    def _lives(self, attempt: AttemptId) -> bool:
        row = self.it.state.jobs.row_of.get(attempt.job)
        return row is not None and self.it.attempt(attempt.job) == attempt and self.it.phase(attempt.job).live

    def _begins(self, attempt: AttemptId) -> Event | None:
        if not self._lives(attempt) or self.it.phase(attempt.job) is not JobPhase.STARTING:
            return None
        if self.made.kind == "any" and not self.quick and self.rng.random() < 0.05:
            return self._ended("fails to start", attempt, f.Outcome(Cause.START_FAILED, message="no such program"))
        job, takes = attempt.job, self._takes(attempt.job)
        self._plan(self.now + takes, "ends", attempt)
        row = self.it.state.jobs.row_of[job]
        if self.it.state.jobs.checkpoints[row] and self.rng.random() < 0.5:
            self._plan(self.now + self.rng.randint(0, takes), "saves", attempt)
        self.seq += 1
        return Event("begins", (f.AttemptStarted(attempt, self._executor(job), self.seq, self.now),))

    def _takes(self, name: JobId) -> int:
        """On the workers that it has; as fast on every type."""
        row = self.it.state.jobs.row_of[name]
        return max(self.left[name] * self.it.state.jobs.job(row).tasks // len(self.it.state.jobs.placement[row]), 1)

    def _saves(self, attempt: AttemptId) -> Event | None:
        if not self._lives(attempt) or self.it.phase(attempt.job) is not JobPhase.RUNNING:
            return None
        self.saved[attempt.job] = self._still_to_do(attempt.job)
        return Event("saves", (f.Progressed(attempt, checkpoint=self.now), *self._measures(attempt)))

    def _measures(self, attempt: AttemptId) -> list[f.Fact]:
        """What a program that has a batch size tells of its steps."""
        jobs = self.it.state.jobs
        row = jobs.row_of[attempt.job]
        batch, workers = jobs.job(row).elastic.batch, len(jobs.placement[row])
        if batch is None:
            return []
        total = min(max(batch.first, batch.local_least * workers), batch.most)
        return [
            f.Measured(attempt, total, workers, 1, total / (0.1 + 0.05 * workers), 0.1, self.rng.uniform(10, 5_000))
        ]

    def _still_to_do(self, name: JobId) -> int:
        jobs = self.it.state.jobs
        row = jobs.row_of[name]
        ran = max(self.now - int(jobs.started_at[row]), 0)
        return max(self.left[name] - ran * len(jobs.placement[row]) // jobs.job(row).tasks, 1)

    def _ends(self, attempt: AttemptId) -> Event | None:
        if not self._lives(attempt):
            return None
        if self.made.kind == "any" and self.rng.random() < 0.05:
            self.left[attempt.job] = self.saved[attempt.job] = self._work_of(attempt.job)
            return self._ended("fails", attempt, f.Outcome(Cause.FAILED, 1))
        return self._ended("succeeds", attempt, f.Outcome(Cause.SUCCEEDED, 0))

    def _yields(self, attempt: AttemptId) -> Event | None:
        if not self._lives(attempt):
            return None
        self.left[attempt.job] = self.saved[attempt.job]
        exit_code, signal = (75, None) if self.rng.random() < 0.3 else (None, 15)
        stop = self.it.state.jobs.stop[self.it.state.jobs.row_of[attempt.job]]
        event = self._ended("yields", attempt, f.Outcome(Cause.FAILED, exit_code, signal))
        event.outside = stop is not None and stop[0] not in TAKEN
        return event

    def _work_of(self, name: JobId) -> int:
        return next((work.takes for work in self.made.work if work.job.id == name), MINUTE)

    def _ended(self, name: str, attempt: AttemptId, outcome: f.Outcome) -> Event:
        self.seq += 1
        executor = self._executor(attempt.job)
        return Event(name, (f.AttemptEnded(attempt, executor, self.seq, self.now, outcome),), outside=True)

    def _executor(self, name: JobId) -> ExecutorId:
        state = self.it.state
        placement = state.jobs.placement[state.jobs.row_of[name]]
        return state.nodes.node(state.nodes.row_of[placement[0].node]).executor if placement else EXECUTOR

    # -- from outside ---------------------------------------------------------------------------------------------

    def _outside(self, name: str) -> Event | None:
        facts = _OUTSIDE[name](self)
        return Event(name, tuple(facts), outside=True, upsets=True) if facts else None

    def _later(self, name: str, what: f.Fact) -> None:
        self._plan(self.now + self.rng.randint(1, 2 * HOUR), "again", (name, what))

    def _again(self, what: tuple[str, f.Fact]) -> Event:
        return Event(what[0], (what[1],), outside=True, upsets=True)

    def _lose(self) -> list[f.Fact]:
        state, there = self.it.state, list[NodeId]()
        for row in state.nodes.rows():
            if state.nodes.reach[row] is Reach.UP:
                there.append(state.nodes.id_of(row))
        if len(there) < 2:
            return []
        name = self.rng.choice(there)
        self._later("returns", f.NodeSeen(state.nodes.node(state.nodes.row_of[name])))
        return [f.NodeGone(name)]

    def _cordon(self) -> list[f.Fact]:
        name = self.rng.choice(self.made.nodes).id
        self._later("uncordons", f.NodeCordoned(name, False))
        return [f.NodeCordoned(name)]

    def _grow_node(self) -> list[f.Fact]:
        node = self.rng.choice(self.made.nodes)
        return [f.NodeSeen(replace(node, id=NodeId(f"{node.id}x")))]

    def _any_job(self) -> JobId | None:
        jobs = self.it.state.jobs
        names = [jobs.id_of(row) for row in jobs.rows()]
        return self.rng.choice(names) if names else None

    def _cancel(self) -> list[f.Fact]:
        name = self._any_job()
        return [f.CancelAsked(name, "ann")] if name else []

    def _hold(self) -> list[f.Fact]:
        name = self._any_job()
        if name is None:
            return []
        self._later("releases", f.JobReleased(name, "ann"))
        return [f.JobHeld(name, "ann")]

    def _policy(self) -> list[f.Fact]:
        return [f.PolicySet(a_policy(self.rng))]

    def _queue(self) -> list[f.Fact]:
        queues = self.it.state.queues
        names = [queues.id_of(row) for row in queues.rows() if queues.id_of(row)]
        return [f.QueueSet(a_queue(self.rng, self.rng.choice(names)))] if names else []

    def _book(self) -> list[f.Fact]:
        queues = self.it.state.queues
        names = [queues.id_of(row) for row in queues.rows() if queues.id_of(row)]
        if not names:
            return []
        booking = a_booking(self.rng, f"b{self.count}", self.rng.choice(names), self.now)
        if self.rng.random() < 0.2:
            self._later("unbook", f.BookingRemoved(booking.id))
        return [f.BookingSet(booking)]

    def _restart(self) -> list[f.Fact]:
        self.it.restart()
        return [f.EpochBegan(1)]


_HANDLERS: dict[str, Callable[..., Event | None]] = {
    "comes": World._comes,
    "begins": World._begins,
    "ends": World._ends,
    "saves": World._saves,
    "yields": World._yields,
    "outside": World._outside,
    "again": World._again,
}
_OUTSIDE: dict[str, Callable[[World], list[f.Fact]]] = {
    "lose": World._lose,
    "cordon": World._cordon,
    "grow_node": World._grow_node,
    "book": World._book,
    "cancel": World._cancel,
    "hold": World._hold,
    "policy": World._policy,
    "queue": World._queue,
    "restart": World._restart,
}
