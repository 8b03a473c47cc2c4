"""The table of jobs that have not ended, each with its current attempt."""

from collections.abc import Iterable

import numpy as np

from fairway.model.facts import AttemptEnded
from fairway.model.ids import AttemptId, JobId, NodeId
from fairway.model.job import Job
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Hold, Placement, Start, TaskPlacement
from fairway.model.reasons import Refusal, StopReason
from fairway.state.columns import Bools, Floats, Ints, Table
from fairway.state.tables import NO_LIMIT, SUMS

PHASES: tuple[JobPhase, ...] = tuple(JobPhase)
_LIVE = np.array([phase.live for phase in PHASES], np.bool_)
_LIVE_CODES = frozenset(_LIVE.nonzero()[0].tolist())
PHASE_CODE: dict[JobPhase, int] = {phase: code for code, phase in enumerate(PHASES)}


class JobTable(Table[JobId]):
    """A row per job that has not ended, with its current attempt."""

    COLUMNS = (
        ("phase", np.int64, 0),
        ("queue", np.int64, 0),
        ("group", np.int64, 0),
        ("in_line", np.bool_, 0),
        ("placed", np.bool_, 0),
        ("checkpoints", np.bool_, 0),
        ("home", np.int64, 0),
        ("cls", np.int64, 0),
        ("number", np.int64, 0),
        ("deadline", np.int64, 0),
        ("user", np.int64, 0),
        ("ordinal", np.int64, 0),
        ("attempt", np.int64, 0),
        ("failures", np.int64, 0),
        ("start_failures", np.int64, 0),
        ("preemptions", np.int64, 0),
        ("queued_at", np.int64, 0),
        ("release_at", np.int64, 0),
        ("placed_at", np.int64, 0),
        ("started_at", np.int64, 0),
        ("started_seq", np.int64, 0),
        ("first_started", np.int64, 0),
        ("checkpoint_at", np.int64, 0),
        ("step", np.int64, 0),
        ("total_steps", np.int64, 0),
        ("sums", np.int64, len(SUMS)),
        ("spent", np.float64, len(SUMS)),
        ("lost", np.int64, 0),
        ("history", np.int64, 0),
        ("estimate", np.int64, 0),
        ("longest", np.int64, 0),
        ("ran", np.int64, 0),
        ("pace", np.float64, 0),
    )
    phase: Ints
    """Index in ``PHASES``."""
    queue: Ints
    group: Ints
    """The group a job belongs to while it is pending."""
    in_line: Bools
    """Queued, and not holding room already."""
    placed: Bools
    """Derived: counts against the running limit of its array."""
    checkpoints: Bools
    """Keeps checkpoints, and so may be moved."""
    home: Ints
    """Derived: row of the node that the whole live attempt lies on, plus 1; 0 for one on several nodes, or for none."""
    cls: Ints
    number: Ints
    deadline: Ints
    """``NO_LIMIT`` for none."""
    user: Ints
    """Code in ``users``."""
    ordinal: Ints
    """Place in line by submission; kept over preemption."""
    attempt: Ints
    """Number of the newest attempt; 0 before the first."""
    failures: Ints
    start_failures: Ints
    preemptions: Ints
    queued_at: Ints
    release_at: Ints
    """When a waiting job is queued again."""
    placed_at: Ints
    started_at: Ints
    """When the current attempt was confirmed; 0 before."""
    started_seq: Ints
    first_started: Ints
    checkpoint_at: Ints
    """Last checkpoint of the current attempt; 0 for none."""
    step: Ints
    total_steps: Ints
    sums: Ints
    """What the live attempt takes, in ``SUMS`` order."""
    spent: Floats
    """Resource-milliseconds of ended attempts, in ``SUMS`` order; floats as in ``QueueTable``."""
    lost: Ints
    """Milli-GPU milliseconds of work lost to preemption and lost nodes."""
    history: Ints
    """Row in ``RunTimes`` of the kind of work that it is."""
    estimate: Ints
    """What its user said it takes; 0 for nothing said, -1 for a service's replica, which has no end."""
    longest: Ints
    """Its ``max_runtime``; ``NO_LIMIT`` for none."""
    ran: Ints
    """Milliseconds of work at full pace that interrupted attempts have behind them and did not lose."""
    pace: Floats
    """How fast the live attempt works (``history.pace``); 0 without one."""

    def __init__(self) -> None:
        super().__init__()
        self.spec: list[Job | None] = []
        self.users: dict[str, int] = {}
        self.placement: list[Placement] = []
        self.stop: list[tuple[Cause, StopReason | None] | None] = []
        """(cause, reason) of a requested stop of the current attempt."""
        self.reason: list[Refusal | None] = []
        """Why this very job waits, where that is not the reason of its group."""
        self.hold: list[Hold | None] = []
        self.last_end: list[AttemptEnded | None] = []
        self.written_off: list[tuple[int, ...]] = []
        """Attempts that were given up without their executor's word: they may turn out to have succeeded."""
        self.kept_by: list[str | None] = []
        """Who wants the job to wait until it is released; None when nobody does."""
        self.missing: list[dict[JobId, bool] | None] = []
        """Jobs and arrays that must have ended first, in the order of the spec; True for one that did not succeed."""

    def put(self, job: Job, queue: int, group: int, ordinal: int) -> int:
        """Add a job; returns its row."""
        row = self.add(job.id)
        self.fill(row, job, queue, group)
        self.ordinal[row] = ordinal
        return row

    def fill(self, row: int, job: Job, queue: int, group: int) -> None:
        """Set what follows from the spec in a row of its own; everything else is as for a job just submitted."""
        while row >= len(self.spec):
            self._lengthen()
        self.spec[row], self.placement[row], self.written_off[row] = job, (), ()
        self.stop[row] = self.reason[row] = self.hold[row] = self.last_end[row] = None
        self.kept_by[row] = self.missing[row] = None
        self.queue[row], self.group[row] = queue, group
        self.checkpoints[row] = job.checkpoints
        self.cls[row], self.number[row] = job.priority.cls, job.priority.number
        self.deadline[row] = NO_LIMIT if job.deadline is None else job.deadline
        self.estimate[row] = -1 if job.service is not None else job.estimate or 0
        self.longest[row] = NO_LIMIT if job.max_runtime is None else job.max_runtime
        self.user[row] = self.users.setdefault(job.user, len(self.users))

    def _lengthen(self) -> None:
        self.spec.append(None)
        self.placement.append(())
        self.written_off.append(())
        for column in (self.stop, self.reason, self.hold, self.last_end, self.kept_by, self.missing):
            column.append(None)

    def job(self, row: int) -> Job:
        """The spec in a row that is in use."""
        spec = self.spec[row]
        if spec is None:
            raise KeyError(f"job row {row} is free")
        return spec

    def live(self) -> Bools:
        """(J,) whether a job has a live attempt."""
        return _LIVE[self.phase[: self.height]]

    def phase_of(self, row: int) -> JobPhase:
        """The phase as a name."""
        return PHASES[self.phase.item(row)]

    def is_live(self, row: int) -> bool:
        """Whether a job has a live attempt."""
        return self.phase.item(row) in _LIVE_CODES

    def current(self, attempt: AttemptId) -> int | None:
        """The job's row when this attempt is its newest and live; else None."""
        row = self.row_of.get(attempt.job)
        if row is None or self.attempt.item(row) != attempt.n or not self.is_live(row):
            return None
        return row

    def may_shrink(self, start: Start) -> bool:
        """Whether a job that is started so could give some of its tasks up again."""
        if len(start.placement) < 2:
            return False
        job = self.job(self.row_of[start.attempt.job])
        return job.checkpoints and len(start.placement) > sum(r.least for r in job.roles)

    def attempt_id(self, row: int) -> AttemptId:
        """The newest attempt."""
        return AttemptId(self.id_of(row), self.attempt.item(row))


def task_need(job: Job, task: TaskPlacement) -> tuple[int, int, int, int]:
    """Flat resources of one placed task."""
    return job.roles[task.role].request.flat


def placed_sums(job: Job, placement: Iterable[TaskPlacement]) -> tuple[int, int, int]:
    """What a placement takes in all, in ``SUMS`` order."""
    cpu = memory = gpu = 0
    for task in placement:
        request = job.roles[task.role].request
        cpu += request.cpu_milli
        memory += request.memory_mib
        gpu += len(task.devices) * task.gpu_milli
    return cpu, memory, gpu


def home_of(placement: Placement, rows: dict[NodeId, int]) -> int:
    """The node that a whole placement lies on, as ``JobTable.home`` has it."""
    if not placement:
        return 0
    first = placement[0].node
    return rows[first] + 1 if len(placement) == 1 or all(task.node == first for task in placement) else 0
