"""Pending work as equivalence classes: jobs that are equal in all that matters wait, and are refused, as one group."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from sortedcontainers import SortedList

from fairway.model.job import Job, PriorityClass
from fairway.model.reasons import Refusal
from fairway.model.resources import FLAT, Request
from fairway.state.columns import Bools, Ints
from fairway.state.tables import NO_LIMIT, NodeTable


@dataclass(frozen=True, slots=True)
class Shape:
    """What a job needs, and all that matters for where it fits: equal shapes are one equivalence class.

    ``roles`` has (request, count, least count) per role; ``sums`` adds up a full start in ``SUMS`` order, GPUs by
    memory counted as whole ones until they are placed.
    """

    roles: tuple[tuple[Request, int, int], ...]

    @property
    def sums(self) -> tuple[int, int, int]:
        """CPU milli, memory MiB, milli-GPUs of a full start."""
        return _shape_sums((request, count) for request, count, _ in self.roles)

    @property
    def least_sums(self) -> tuple[int, int, int]:
        """The same of the smallest start."""
        return _shape_sums((request, least) for request, _, least in self.roles)

    def __str__(self) -> str:
        return " and ".join(f"{count} x ({r})" if count > 1 else str(r) for r, count, _ in self.roles)


def _shape_sums(parts: Iterable[tuple[Request, int]]) -> tuple[int, int, int]:
    cpu = memory = gpu = 0
    for request, count in parts:
        cpu += request.cpu_milli * count
        memory += request.memory_mib * count
        gpu += request.gpus * request.gpu_milli * count
    return cpu, memory, gpu


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
        group.blocked, group.blocker = False, -1
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
            # Below zero where a node shrank: that stops only who needs some of it.
            fits = (self.flat[:height] <= np.maximum(nodes.free[node], 0)).all(axis=1)
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
