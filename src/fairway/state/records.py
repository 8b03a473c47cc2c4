"""What a checkpoint holds, as records: ``codec`` writes them and reads them back.

Older checkpoints lack the newer fields, so each of those has a default that means *nothing was kept*.
"""

from dataclasses import dataclass, field

from fairway.model.facts import AttemptEnded
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId, ServiceId
from fairway.model.job import Job, PriorityClass
from fairway.model.node import Node
from fairway.model.offer import Pool
from fairway.model.phases import Cause, Reach
from fairway.model.plan import Hold, Placement, Reserve
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.reasons import Refusal, StopReason
from fairway.model.service import Service
from fairway.model.time import Instant
from fairway.state.bookings import Booked
from fairway.state.cluster import EndedJob
from fairway.state.groups import Shape
from fairway.state.history import Kind
from fairway.state.loans import Agreed
from fairway.state.measured import MeasuredRecord


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node's row, less what is derived."""

    row: int
    spec: Node
    reach: Reach
    cordoned: bool


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A queue's row, less what is derived."""

    spec: Queue
    spent: tuple[float, ...]
    review_at: int = 0
    average: tuple[float, ...] = ()
    averaged_at: int = 0
    opens_at: int = 0
    spent_lately: tuple[tuple[int, int], ...] = ()
    guaranteed: tuple[float, ...] = ()
    guaranteed_at: int = 0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job's row: ``numbers`` in ``_NUMBERS`` order."""

    row: int
    spec: Job
    numbers: tuple[int, ...]
    spent: tuple[float, ...]
    placement: Placement = ()
    stop: Cause | None = None
    stop_reason: StopReason | None = None
    reason: Refusal | None = None
    hold: Hold | None = None
    last_end: AttemptEnded | None = None
    written_off: tuple[int, ...] = ()
    history: int = -1
    """Row of its kind of work; -1 where the writer kept none."""
    ran: int = 0
    pace: float = 0.0
    kept_by: str | None = None
    missing: tuple[tuple[JobId, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class KindRecord:
    """A kind of work, and (bucket, count) pairs of how long it took and of how far estimates were off."""

    kind: Kind
    quiet_since: int
    sketches: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, slots=True)
class ArrayRecord:
    """An array that has not ended, less what is derived."""

    id: JobId
    size: int
    limit: int | None
    ended: int
    failed: int


@dataclass(frozen=True, slots=True)
class ShapeRecord:
    """A shape, and why it found no room."""

    shape: Shape
    reason: Refusal | None = None
    seen: int = 0
    learned: int = 0


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """What is known of a group beyond its members; ``shape`` is its place in ``Dump.shapes``."""

    shape: int
    queue: QueueId
    cls: PriorityClass
    blocked: bool = False
    limit_reason: Refusal | None = None
    yields: bool = False


@dataclass(frozen=True, slots=True)
class Dump:
    """A whole state."""

    format: int
    now: Instant
    epoch: int
    ordinal: int
    kinds: tuple[tuple[str, int], ...]
    executors: tuple[ExecutorId, ...]
    node_ids: tuple[NodeId | None, ...]
    node_free: tuple[int, ...]
    nodes: tuple[NodeRecord, ...]
    queues: tuple[QueueRecord, ...]
    job_ids: tuple[JobId | None, ...]
    job_free: tuple[int, ...]
    jobs: tuple[JobRecord, ...]
    shapes: tuple[ShapeRecord, ...]
    groups: tuple[GroupRecord, ...]
    strays: tuple[tuple[AttemptId, ExecutorId], ...]
    overdue: tuple[JobId, ...]
    inventory_seq: tuple[tuple[ExecutorId, int], ...]
    services: tuple[Service, ...]
    replicas: tuple[tuple[ServiceId, tuple[JobId, ...]], ...]
    pools: tuple[Pool, ...]
    ended: tuple[EndedJob, ...]
    policy: Policy = field(default_factory=Policy)
    reserved: tuple[Reserve, ...] = ()
    learned: int = 0
    kinds_of_work: tuple[KindRecord, ...] = ()
    arrays: tuple[ArrayRecord, ...] = ()
    ended_arrays: tuple[tuple[JobId, int], ...] = ()
    preempted: tuple[tuple[int, int], ...] = ()
    exposed_at: int = 0
    moved: tuple[tuple[int, int], ...] = ()
    tidy_at: int = 0
    tidy_due: bool = False
    look_at: int = 0
    look_due: bool = False
    measured: tuple[MeasuredRecord, ...] = ()
    bookings: tuple[Booked, ...] = ()
    loans: tuple[Agreed, ...] = ()
    short: tuple[tuple[QueueId, float, int], ...] = ()
