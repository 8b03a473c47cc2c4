"""What Fairway believes: the tables, and what is unsettled between them and the executors.

``apply`` (in ``state.apply``) is the only writer. It is deterministic: the same facts in the same order give the same
state, in every process and on every replay.
"""

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from fairway.model.facts import Outcome
from fairway.model.frozen import frozen
from fairway.model.ids import (
    ROOT,
    AttemptId,
    BookingId,
    ExecutorId,
    JobId,
    LoanId,
    NodeId,
    PoolId,
    QueueId,
    ServiceId,
    ancestry,
)
from fairway.model.job import Job
from fairway.model.offer import Pool
from fairway.model.phases import JobPhase
from fairway.model.plan import Hold, Reserve, Start, Stop
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.reasons import Refusal, WaitingUntil
from fairway.model.service import Service
from fairway.model.time import Instant
from fairway.state.bookings import Bookings
from fairway.state.groups import GroupTable
from fairway.state.history import RunTimes
from fairway.state.jobs import JobTable
from fairway.state.loans import Loans, count_guaranteed
from fairway.state.measured import Measurements
from fairway.state.swarm import ShortEnds
from fairway.state.tables import NodeTable, QueueTable
from fairway.state.window import Window

Timer = tuple[int, str, str, int]
"""(instant, kind, whose, attempt): ``release`` and ``limit`` of a job's attempt; ``review`` and ``opens`` of a queue;
``booking`` and ``loan`` by their names; ``exposed``, ``tidy`` and ``look`` of nobody, for all whom it concerns."""

KEEP_ENDED = 20_000
"""Ended jobs that the state remembers, so that a late success can still count; older ones live in the views only."""


@frozen
class EndedAttempt:
    """One finished run, for the ledger and the views. Times are instants; sums are in ``SUMS`` order."""

    attempt: AttemptId
    queue: QueueId
    user: str
    executor: ExecutorId
    nodes: tuple[NodeId, ...]
    placed: Instant
    started: Instant | None
    ended: Instant
    outcome: Outcome
    sums: tuple[int, int, int]
    lost_gpu_ms: int


@frozen
class EndedJob:
    """What is remembered of a job that has ended."""

    job: Job
    phase: JobPhase
    attempt: int
    queued: Instant
    first_started: Instant | None
    ended: Instant
    outcome: Outcome
    failures: int
    preemptions: int
    spent: tuple[float, float, float]
    lost_gpu_ms: int
    step: int = 0
    total: int = 0
    written_off: tuple[int, ...] = ()
    """Attempts whose end was never heard; only their success can still come."""


@frozen
class Decision:
    """One line of a job's story: what was decided about it, when, and why."""

    job: JobId
    at: Instant
    what: Start | Stop | Hold | Reserve | Refusal


class Standing(NamedTuple):
    """How far a job, or an array, has come; ``why`` says of one that did not succeed how it ended."""

    how: Literal["alive", "succeeded", "failed", "unknown"]
    why: str = ""


@dataclass(slots=True)
class ArrayCount:
    """What is known of an array that has not ended."""

    size: int
    limit: int | None
    ended: int = 0
    failed: int = 0
    """Of those that have ended: failed or cancelled."""
    active: int = 0
    """Derived: elements in line, holding room, or live."""
    waiting: list[tuple[int, JobId]] = field(default_factory=list[tuple[int, JobId]])
    """Derived: a heap of (ordinal, job) of elements that wait for a place; some may have left meanwhile."""


@dataclass(slots=True)
class News:
    """What has changed since the views last looked. Not part of the state: a replay makes it anew."""

    jobs: dict[JobId, None] = field(default_factory=dict[JobId, None])
    nodes: dict[NodeId, None] = field(default_factory=dict[NodeId, None])
    queues: dict[QueueId, None] = field(default_factory=dict[QueueId, None])
    decisions: list[Decision] = field(default_factory=list[Decision])
    attempts: list[EndedAttempt] = field(default_factory=list[EndedAttempt])
    settled: dict[AttemptId, ExecutorId] = field(default_factory=dict[AttemptId, ExecutorId])
    """Ends that are believed: once durable, their executors may forget them."""

    def clear(self) -> None:
        """The views have seen it all."""
        for part in (self.jobs, self.nodes, self.queues, self.decisions, self.attempts, self.settled):
            part.clear()


class ClusterState:
    """The mutable numbers (``nodes``, ``queues``, ``jobs``, ``groups``) and the unsettled rest."""

    def __init__(self) -> None:
        self.now, self.epoch = Instant(0), 0
        self.ordinal = 0
        """Submissions so far: the place in line of the next job."""
        self.policy = Policy()
        self.nodes, self.queues = NodeTable(), QueueTable()
        self.jobs, self.groups = JobTable(), GroupTable()
        self.loans, self.short = Loans(self.queues), ShortEnds()
        self.history = RunTimes()
        self.measured = Measurements()
        self.services: dict[ServiceId, Service] = {}
        self.replicas: dict[ServiceId, dict[JobId, None]] = {}
        self.pools: dict[PoolId, Pool] = {}
        self.ended: OrderedDict[JobId, EndedJob] = OrderedDict()  # of which the oldest is forgotten at little cost
        self.written: dict[JobId, tuple[EndedJob, bytes]] = {}
        """Derived: what the newest checkpoint says of these, and of which record it said so."""
        self.arrays: dict[JobId, ArrayCount] = {}
        """Arrays that have not ended."""
        self.ended_arrays: dict[JobId, int] = {}
        """Arrays that have, and how many of their elements did not succeed; as many as there are of ``ended``."""
        self.yielding: dict[JobId, dict[JobId, None]] = {}
        """Derived: who waits because it had to stop for each job."""
        self.dependents: dict[JobId, dict[JobId, None]] = {}
        """Derived: who waits for the end of each job or array."""
        self.settled: dict[JobId, Standing] = {}
        """Ends that those who wait for them have not been told. Empty between two batches of facts."""
        self.unmet: dict[JobId, None] = {}
        """Jobs whose attempt is not yet what was decided: to be started, or to be stopped."""
        self.strays: dict[AttemptId, ExecutorId] = {}
        """Attempts that run, or may run, though nobody wants them: to be stopped."""
        self.held: dict[JobId, None] = {}
        """Queued jobs with a hold on room that is being emptied."""
        self.reserved: dict[JobId, Reserve] = {}
        """Jobs in line that room is kept for from a time on, in the order in which that was decided."""
        self.bookings = Bookings()
        """What queues have booked for a time."""
        self.preempted, self.moved = Window(), Window()
        """Jobs told to stop for others, and those told to go on elsewhere."""
        self.tidy_at = Instant(0)
        """When to look whether work could move so that others fit; 0 for not before somebody needs it."""
        self.flexible: dict[JobId, None] = {}
        """Derived: jobs with a live attempt that could go on with another number of workers, or on another type."""
        self.look_at = Instant(0)
        """When to look whether they should, though nothing happens; 0 for not before something does."""
        self.tidy_due = self.look_due = False
        """It is time to look."""
        self.exposed_at = Instant(0)
        """When those who wait for victims are tried again, though nothing happens; 0 for never."""
        self.overdue: dict[JobId, None] = {}
        """Running jobs past their ``max_runtime``, not yet told to stop."""
        self.inventory_seq: dict[ExecutorId, int] = {}
        self.timers: list[Timer] = []  # a heap, derived from the job columns
        self.news = News()
        self.roomier: dict[int, None] = {}
        """Node rows that gained room since groups were last woken."""
        self.lent = False
        """Whether a queue borrows more than before, or a quota has changed, since groups were last woken."""
        self.lighter: set[int] = set()
        """Queue rows whose use fell since groups were last woken."""
        self.put_queue(Queue(ROOT))

    def may_change(self, job: Job) -> bool:
        """Whether a job may go on otherwise while it runs: one with a live attempt is in ``flexible``."""
        return job.checkpoints and (job.resizable or (self.policy.placement.moves and job.retypable))

    def reconsider(self) -> None:
        """Find anew who may change while it runs: the policy is another."""
        live = (row for row in self.jobs.rows() if self.jobs.placement[row])
        self.flexible = {self.jobs.id_of(row): None for row in live if self.may_change(self.jobs.job(row))}

    def put_queue(self, queue: Queue) -> int:
        """Declare a queue, and with it every queue above it that is not there yet; returns its row."""
        row = -1
        for name in reversed(ancestry(queue.id)):
            above, row = row, self.queues.row_of.get(name, -1)
            if row < 0 or name == queue.id:
                self.news.queues[name] = None
                if row >= 0:
                    count_guaranteed(self.queues, row, self.now)
                row = self.queues.put(queue if name == queue.id else Queue(name), above)
                self.queues.guaranteed_at[row] = self.now
        return row

    def charge(self, queue: int, taken: tuple[int, int, int]) -> None:
        """Count what an attempt takes from now on against its queue."""
        self.queues.use(queue, taken, self.now)
        self.lent |= self.queues.borrows(queue)

    def open_at(self, queue: QueueId, at: Instant) -> None:
        """Have jobs that wait for a rolling quota tried again at ``at``."""
        row = self.queues.row_of[queue]
        if at != self.queues.opens_at[row]:
            self.queues.opens_at[row] = at
            self.set_timer(at, "opens", queue)

    def set_timer(self, at: Instant, kind: str, whose: str = "", attempt: int = 0) -> None:
        """Have ``apply`` look at what a ``Timer`` names when time reaches ``at``."""
        heapq.heappush(self.timers, (at, kind, whose, attempt))

    def counts(self, timer: Timer) -> bool:
        """Whether a timer still means something: its attempt is the newest, and waits or runs as it did."""
        at, kind, whose, attempt = timer
        if kind == "opens":
            return bool(self.queues.opens_at[self.queues.row_of[QueueId(whose)]] == at)
        if kind == "review":
            return bool(self.queues.review_at[self.queues.row_of[QueueId(whose)]] == at)
        if kind == "exposed":
            return at == self.exposed_at
        if kind in ("tidy", "look"):
            return at == (self.tidy_at if kind == "tidy" else self.look_at)
        if kind == "booking":
            return self.bookings.expects(BookingId(whose), at)
        if kind == "loan":
            return self.loans.due(LoanId(whose), at)
        row = self.jobs.row_of.get(JobId(whose))
        if row is None or self.jobs.attempt[row] != attempt:
            return False
        if kind != "release":
            return self.jobs.phase_of(row) is JobPhase.RUNNING
        reason = self.jobs.reason[row]
        return isinstance(reason, WaitingUntil) and reason.until == at and not self.jobs.phase_of(row).live

    def next_timer(self) -> Instant | None:
        """The next instant at which something is due without any other fact. Drops timers that mean nothing any more,
        which a restored state does not have."""
        while self.timers and not self.counts(self.timers[0]):
            heapq.heappop(self.timers)
        return Instant(self.timers[0][0]) if self.timers else None
