"""The tables of the cluster: nodes and their devices, queues, jobs with their current attempt, pending groups.

Columns marked *derived* are written only by ``apply`` (through the methods here) and recomputed by ``check``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from sortedcontainers import SortedList

from fairway.model.facts import AttemptEnded
from fairway.model.ids import AttemptId, JobId, NodeId, QueueId
from fairway.model.job import Job, PriorityClass
from fairway.model.node import Node
from fairway.model.phases import Cause, JobPhase, Reach
from fairway.model.plan import Hold, Placement, TaskPlacement
from fairway.model.queue import Queue
from fairway.model.reasons import Refusal, StopReason
from fairway.model.resources import FLAT, WHOLE, Request
from fairway.state.columns import Bools, Ints, Table

CPU, MEMORY, DISK, NETWORK = range(len(FLAT))
SUMS = ("cpu_milli", "memory_mib", "gpu_milli")
"""Column order of every sum over tasks: quotas, limits, usage."""
NO_LIMIT = 1 << 62


class NodeTable(Table[NodeId]):
    """A row per node ever seen and not yet forgotten. Shapes: flat (N, 4), devices (N, D), the rest (N,)."""

    COLUMNS = (
        ("total", np.int64, len(FLAT)),
        ("free", np.int64, len(FLAT)),
        ("gpu_count", np.int64, 0),
        ("gpu_memory", np.int64, 0),
        ("gpu_type", np.int64, 0),
        ("executor", np.int64, 0),
        ("placeable", np.bool_, 0),
        ("idle", np.int64, 0),
        ("share_max", np.int64, 0),
        ("gpu_free", np.int64, 0),
    )
    total: Ints
    free: Ints
    """Derived: total less what live attempts take. Negative only when a node shrank under its work."""
    gpu_count: Ints
    gpu_memory: Ints
    gpu_type: Ints
    """Code in ``types``."""
    executor: Ints
    """Code in ``executors``."""
    placeable: Bools
    """Derived: up and not cordoned."""
    idle: Ints
    """Derived: wholly free devices."""
    share_max: Ints
    """Derived: most free milli-GPUs on one device."""
    gpu_free: Ints
    """Derived: free milli-GPUs over all devices."""

    def __init__(self) -> None:
        super().__init__()
        self.spec: list[Node | None] = []
        self.reach: list[Reach] = []
        self.cordoned: list[bool] = []
        self.attempts: list[dict[JobId, None]] = []
        """Jobs whose live attempt has a task here, in order of placement."""
        self.device_free: Ints = np.zeros((16, 8), np.int64)
        """Derived, (N, D): free milli-GPUs of each device; 0 beyond the node's last."""
        self.types: dict[str, int] = {}
        self.executors: dict[str, int] = {}

    def put(self, node: Node) -> int:
        """Add a node, or take over its new totals; what runs there keeps its share. Returns the row."""
        row = self.row_of.get(node.id)
        used_flat, used_devices = np.zeros(len(FLAT), np.int64), np.zeros(0, np.int64)
        if row is None:
            row = self.add(node.id)
            self._widen(row, node.gpus)
            here = slice(row, row + 1)
            self.spec[here], self.attempts[here] = [None], [{}]
            self.reach[here], self.cordoned[here] = [Reach.UP], [False]
            self.device_free[row] = 0
        else:
            self._widen(row, node.gpus)
            used_flat = self.total[row] - self.free[row]
            used_devices = self._whole(row) - self.device_free[row]
        self.spec[row] = node
        self.total[row] = node.flat
        self.free[row] = self.total[row] - used_flat
        self.gpu_count[row] = node.gpus
        self.gpu_memory[row] = node.gpu_memory_mib
        self.gpu_type[row] = self.types.setdefault(node.gpu_type, len(self.types))
        self.executor[row] = self.executors.setdefault(node.executor, len(self.executors))
        self.device_free[row] = self._whole(row)
        self.device_free[row, : len(used_devices)] -= used_devices
        self.reach[row] = Reach.UP
        self._sum_up(row)
        return row

    def node(self, row: int) -> Node:
        """The spec in a row that is in use."""
        spec = self.spec[row]
        if spec is None:
            raise KeyError(f"node row {row} is free")
        return spec

    def set_reach(self, row: int, reach: Reach) -> None:
        """Mark a node up or lost."""
        self.reach[row] = reach
        self._sum_up(row)

    def set_cordon(self, row: int, on: bool) -> None:
        """Stop, or go on, placing on a node."""
        self.cordoned[row] = on
        self._sum_up(row)

    def take(self, row: int, flat: tuple[int, ...], devices: tuple[int, ...], milli: int, sign: int = 1) -> None:
        """Take a task's share off a node's free capacity; ``sign=-1`` gives it back."""
        self.free[row] -= np.multiply(flat, sign)
        for device in devices:
            self.device_free[row, device] -= sign * milli
        if devices:
            self._sum_up(row)

    def _whole(self, row: int) -> Ints:
        whole = np.zeros(self.device_free.shape[1], np.int64)
        whole[: int(self.gpu_count[row])] = WHOLE
        return whole

    def _sum_up(self, row: int) -> None:
        devices = self.device_free[row]
        self.idle[row] = np.count_nonzero(devices == WHOLE)
        self.share_max[row] = devices.max()
        self.gpu_free[row] = devices.sum()
        self.placeable[row] = self.reach[row] is Reach.UP and not self.cordoned[row]

    def _widen(self, row: int, devices: int) -> None:
        height, width = self.device_free.shape
        if row >= height or devices > width:
            bigger = np.zeros((max(height, 2 * row), max(width, devices)), np.int64)
            bigger[:height, :width] = self.device_free
            self.device_free = bigger


class QueueTable(Table[QueueId]):
    """A row per queue; sums are (Q, 3) in ``SUMS`` order."""

    COLUMNS = (
        ("limit", np.int64, len(SUMS)),
        ("quota", np.int64, len(SUMS)),
        ("used", np.int64, len(SUMS)),
        ("pending", np.int64, 0),
        ("running", np.int64, 0),
        ("spent", np.int64, len(SUMS)),
    )
    limit: Ints
    """``NO_LIMIT`` where there is none."""
    quota: Ints
    used: Ints
    """Derived: what live attempts of this queue and those below it take."""
    pending: Ints
    """Derived: jobs of this very queue that wait."""
    running: Ints
    """Derived: jobs of this very queue with a live attempt."""
    spent: Ints
    """Resource-milliseconds of ended attempts of this queue and those below: milli-CPU ms, MiB ms, milli-GPU ms."""

    def __init__(self) -> None:
        super().__init__()
        self.spec: list[Queue] = []
        self.above: list[list[int]] = []
        """The row itself and every row above it."""

    def put(self, queue: Queue, above: int) -> int:
        """Add a queue under row ``above``, or change its quota and limits. Returns the row."""
        row = self.row_of.get(queue.id)
        if row is None:
            row = self.add(queue.id)
            self.spec.append(queue)
            self.above.append([row, *(self.above[above] if above >= 0 else [])])
        self.spec[row] = queue
        limit, quota = queue.limit, queue.quota
        for column, name in enumerate(SUMS):
            most = getattr(limit, name)
            self.limit[row, column] = NO_LIMIT if most is None else most
            self.quota[row, column] = getattr(quota, name) or 0
        return row

    def use(self, row: int, sums: tuple[int, int, int], sign: int = 1) -> None:
        """Count what an attempt takes against its queue and every queue above it."""
        self.used[self.above[row]] += np.multiply(sums, sign)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a job needs, and all that matters for where it fits: equal shapes are one equivalence class.

    ``roles`` has (request, count, least count) per role; ``sums`` adds up a full start in ``SUMS`` order, GPUs by
    memory counted as whole ones until they are placed.
    """

    roles: tuple[tuple[Request, int, int], ...]

    @property
    def sums(self) -> tuple[int, int, int]:
        """CPU milli, memory MiB, GPU milli of a full start."""
        cpu = sum(request.cpu_milli * count for request, count, _ in self.roles)
        memory = sum(request.memory_mib * count for request, count, _ in self.roles)
        gpu = sum(request.gpus * request.gpu_milli * count for request, count, _ in self.roles)
        return cpu, memory, gpu

    def __str__(self) -> str:
        return " and ".join(f"{count} x ({r})" if count > 1 else str(r) for r, count, _ in self.roles)


def shape_of(job: Job) -> Shape:
    """The shape of a job."""
    return Shape(tuple((role.request, role.count, role.least) for role in job.roles))


def order_key(job: Job, ordinal: int) -> tuple[int, int, int, int]:
    """Where a job stands in line: priority class and number, then deadline (EDF), then submission."""
    return (job.priority.cls, -job.priority.number, job.deadline if job.deadline is not None else NO_LIMIT, ordinal)


class Group:
    """Pending jobs that are equal in all that decides whether one starts: shape, queue, priority class.

    ``blocked`` means: the first was tried and did not fit, and nothing has happened since that could change this.
    """

    __slots__ = ("blocked", "blocker", "cls", "line", "queue", "reason", "row", "shape")

    def __init__(self, row: int, shape: Shape, queue: int, cls: PriorityClass) -> None:
        self.row = row
        self.shape = shape
        self.queue = queue
        self.cls = cls
        self.line: SortedList[tuple[tuple[int, int, int, int], int]] = SortedList()
        """(order key, job row) of every pending job, first first."""
        self.blocked = False
        self.blocker = -1
        """Row of the queue whose limit blocks; -1 when it waits for room."""
        self.reason: Refusal | None = None


GroupKey = tuple[Shape, int, int]


class GroupTable:
    """Groups by key, and the columns that tell which blocked ones a freed node could wake. Shapes (G,), flat (G, 4)."""

    def __init__(self) -> None:
        self.row_of: dict[GroupKey, int] = {}
        self.groups: list[Group] = []
        self.ready: dict[int, None] = {}
        """Rows with pending jobs that are not blocked, in the order in which they became so."""
        self.flat: Ints = np.zeros((16, len(FLAT)), np.int64)
        self.whole: Ints = np.zeros(16, np.int64)
        self.share: Ints = np.zeros(16, np.int64)
        self.waits_room: Bools = np.zeros(16, np.bool_)
        self.preempts: Bools = np.zeros(16, np.bool_)

    def get(self, shape: Shape, queue: int, cls: PriorityClass) -> Group:
        """The group of a key, made on first use."""
        key = (shape, queue, int(cls))
        row = self.row_of.get(key)
        if row is not None:
            return self.groups[row]
        row = len(self.groups)
        if row == len(self.whole):
            for name in ("flat", "whole", "share", "waits_room", "preempts"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        group = Group(row, shape, queue, cls)
        self.groups.append(group)
        self.row_of[key] = row
        requests = [request for request, _, _ in shape.roles]
        self.flat[row] = np.min([request.flat for request in requests], axis=0)
        self.whole[row] = min(0 if r.fractional else r.gpus for r in requests)
        self.share[row] = min(least_share(r) for r in requests)
        self.preempts[row] = cls.may_preempt
        return group

    def block(self, group: Group, reason: Refusal, blocker: int) -> None:
        """Nothing of this group starts until something changes."""
        group.blocked, group.blocker, group.reason = True, blocker, reason
        self.waits_room[group.row] = blocker < 0
        self.ready.pop(group.row, None)

    def unblock(self, row: int) -> None:
        """Try this group again."""
        group = self.groups[row]
        group.blocked = False
        self.waits_room[row] = False
        if group.line:
            self.ready[row] = None

    def wake_for_room(self, nodes: NodeTable, rows: Iterable[int]) -> None:
        """Unblock every group of which a task could fit a node that has gained room.

        A group that may preempt wakes when a task could fit the whole node: what was freed there may be what it lacked.
        """
        for node in rows:
            if not nodes.placeable[node]:
                continue
            height = len(self.groups)
            fits = (self.flat[:height] <= nodes.free[node]).all(axis=1)
            fits &= (self.whole[:height] <= nodes.idle[node]) & (self.share[:height] <= nodes.share_max[node])
            could = (self.flat[:height] <= nodes.total[node]).all(axis=1) & self.preempts[:height]
            could &= self.whole[:height] <= nodes.gpu_count[node]
            for row in np.flatnonzero((fits | could) & self.waits_room[:height]).tolist():
                self.unblock(row)

    def wake_for_queue(self, queues: set[int]) -> None:
        """Unblock every group held back by the limit of one of these queues."""
        for group in self.groups:
            if group.blocked and group.blocker in queues:
                self.unblock(group.row)


def least_share(request: Request) -> int:
    """Milli-GPUs that one device must have free at the least, on any type, for a task to fit."""
    if not request.gpus:
        return 0
    return 1 if request.gpu_memory_mib else request.gpu_milli


PHASES: tuple[JobPhase, ...] = tuple(JobPhase)
PHASE_CODE: dict[JobPhase, int] = {phase: code for code, phase in enumerate(PHASES)}


class JobTable(Table[JobId]):
    """A row per job that has not ended, with its current attempt."""

    COLUMNS = (
        ("phase", np.int64, 0),
        ("queue", np.int64, 0),
        ("cls", np.int64, 0),
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
        ("spent", np.int64, len(SUMS)),
        ("lost", np.int64, 0),
    )
    phase: Ints
    """Index in ``PHASES``."""
    queue: Ints
    cls: Ints
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
    spent: Ints
    """Resource-milliseconds of ended attempts, in ``SUMS`` order."""
    lost: Ints
    """Milli-GPU milliseconds of work lost to preemption and lost nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.spec: list[Job | None] = []
        self.group: list[Group | None] = []
        self.placement: list[Placement] = []
        self.stop: list[tuple[Cause, StopReason | None] | None] = []
        """(cause, reason) of a requested stop of the current attempt."""
        self.reason: list[Refusal | None] = []
        """Why this very job waits, where that is not the reason of its group."""
        self.hold: list[Hold | None] = []
        self.last_end: list[AttemptEnded | None] = []

    def put(self, job: Job, group: Group, ordinal: int) -> int:
        """Add a job; returns its row."""
        row = self.add(job.id)
        self.fill(row, job, group)
        self.ordinal[row] = ordinal
        return row

    def fill(self, row: int, job: Job, group: Group) -> None:
        """Set what follows from the spec in a row of its own; everything else is as for a job just submitted."""
        here = slice(row, row + 1)
        self.spec[here], self.group[here], self.placement[here] = [job], [group], [()]
        self.stop[here], self.reason[here], self.hold[here], self.last_end[here] = [None], [None], [None], [None]
        self.queue[row] = group.queue
        self.cls[row] = job.priority.cls

    def job(self, row: int) -> Job:
        """The spec in a row that is in use."""
        spec = self.spec[row]
        if spec is None:
            raise KeyError(f"job row {row} is free")
        return spec

    def group_of(self, row: int) -> Group:
        """The group a job belongs to while it is pending."""
        group = self.group[row]
        if group is None:
            raise KeyError(f"job row {row} is free")
        return group

    def phase_of(self, row: int) -> JobPhase:
        """The phase as a name."""
        return PHASES[int(self.phase[row])]

    def attempt_id(self, row: int) -> AttemptId:
        """The newest attempt."""
        return AttemptId(self.id_of(row), int(self.attempt[row]))


def task_need(job: Job, task: TaskPlacement) -> tuple[int, int, int, int]:
    """Flat resources of one placed task."""
    return job.roles[task.role].request.flat


def placed_sums(job: Job, placement: Placement) -> tuple[int, int, int]:
    """What a placement takes in all, in ``SUMS`` order."""
    needs = [task_need(job, task) for task in placement]
    gpu = sum(len(task.devices) * task.gpu_milli for task in placement)
    return sum(n[CPU] for n in needs), sum(n[MEMORY] for n in needs), gpu
