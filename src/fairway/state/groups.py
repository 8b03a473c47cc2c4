"""Pending work as equivalence classes: jobs that are equal in all that matters wait, and are refused, as one group.

Two levels. A *shape* is what a job's tasks need; whether it finds room is the same for every job of the shape. A
*group* is a shape in a queue with a priority class; whether a limit stops it is the same for every job of the group. A
decision tries every group that is *ready*. Its plan then settles them: what still waits has been refused, and is
*blocked* until something happens that could change this.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fairway.model.booking import KeptForLarge, KeptForQueue
from fairway.model.job import Job, PriorityClass, Role
from fairway.model.reasons import KeptBack, OverLimit, OverRolling, Refusal
from fairway.model.resources import FLAT, Request
from fairway.model.where import ANYWHERE, Apart, Where
from fairway.state.columns import Bools, Ints
from fairway.state.tables import SUMS, NodeTable, QueueTable


@dataclass(frozen=True)
class Shape:
    """What a job needs, and all that matters for where it fits: equal shapes are one equivalence class.

    ``roles`` has (request, count, least count) per role; ``sums`` adds up a full start in ``SUMS`` order, GPUs by
    memory counted as whole ones until they are placed. In ``where`` it is said by name which array or service a job
    keeps apart from.
    """

    roles: tuple[tuple[Request, int, int], ...]
    where: Where = ANYWHERE

    def __post_init__(self) -> None:
        # Shapes are looked up all the time, and have much inside.
        self.__dict__["_hash"] = hash((self.roles, self.where))

    def __hash__(self) -> int:
        return self.__dict__["_hash"]

    @cached_property
    def sums(self) -> tuple[int, int, int]:
        """CPU milli, memory MiB, milli-GPUs of a full start."""
        return _shape_sums((request, count) for request, count, _ in self.roles)

    @cached_property
    def least_sums(self) -> tuple[int, int, int]:
        """The same of the smallest start."""
        return _shape_sums((request, least) for request, _, least in self.roles)

    @cached_property
    def single(self) -> bool:
        """True for a job of one task."""
        return len(self.roles) == 1 and self.roles[0][1] == 1

    @cached_property
    def elastic(self) -> bool:
        """True when a role may start with fewer tasks than it would like."""
        return any(least < count for _, count, least in self.roles)

    def __str__(self) -> str:
        text = " and ".join(f"{count} x ({r})" if count > 1 else str(r) for r, count, _ in self.roles)
        together = self.where.together
        return f"{text} {together}" if together and not self.single else text


def _shape_sums(parts: Iterable[tuple[Request, int]]) -> tuple[int, int, int]:
    cpu = memory = gpu = 0
    for request, count in parts:
        cpu += request.cpu_milli * count
        memory += request.memory_mib * count
        gpu += request.gpus * request.gpu_milli * count
    return cpu, memory, gpu


MOST_REMEMBERED = 4096
_remembered: dict[int, tuple[tuple[Role, ...], Where, Shape]] = {}
"""The shapes of jobs that keep apart from nobody, by the identity of their roles, which are kept along so that no other
has it: elements of an array, and equal jobs of a trace, have their roles in common."""


def shape_of(job: Job) -> Shape:
    """The shape of a job."""
    roles, where = job.roles, job.where
    known = _remembered.get(id(roles))
    if known is not None and known[0] is roles and known[1] is where:
        return known[2]
    parts = tuple((role.request, role.count, role.least) for role in roles)
    if where.apart:
        return Shape(parts, replace(where, apart=tuple(_named(job))))
    if len(_remembered) >= MOST_REMEMBERED:
        _remembered.clear()
    shape = Shape(parts, where)
    _remembered[id(roles)] = roles, where, shape
    return shape


def _named(job: Job) -> Iterator[Apart]:
    """Whom a job keeps apart from, by name; nobody where it is of no array, or no service's."""
    for apart in job.where.apart:
        if apart.of == "label":
            yield apart
        elif apart.of == "array" and job.array is not None:
            yield replace(apart, key=job.array.array, value="")
        elif apart.of == "service" and job.service is not None:
            yield replace(apart, key=job.service, value="")


FIRST_LESSON = 100
"""Jobs that must have been submitted before they are taken for a mix of work."""


class ShapeTable:
    """Every shape ever pending. Columns (S,), ``flat`` (S, 4): the least that any task of the shape needs."""

    def __init__(self) -> None:
        self.row_of: dict[Shape, int] = {}
        self.shapes: list[Shape] = []
        self.reason: list[Refusal | None] = []
        """Why jobs of this shape found no room when they were last told."""
        self.flat: Ints = np.zeros((16, len(FLAT)), np.int64)
        self.whole: Ints = np.zeros(16, np.int64)
        self.share: Ints = np.zeros(16, np.int64)
        self.tasks: Ints = np.zeros(16, np.int64)
        """Tasks of a full start."""
        self.sites: list[Where] = []
        """Every constraint that a node answers by itself, as some shape has it."""
        self.site: Ints = np.zeros(16, np.int64)
        """Which of ``sites`` is the shape's."""
        self._site_of: dict[Where, int] = {}
        self.seen: Ints = np.zeros(16, np.int64)
        """Jobs of the shape that were ever submitted."""
        self.learned: Ints = np.zeros(16, np.int64)
        """``seen`` as it was when all jobs together had last doubled: the known mix of work."""
        self.lessons = 0
        """Derived: the sum of ``learned``; 0 while too few jobs are known."""
        self._seen = 0
        self.apart: Bools = np.zeros(16, np.bool_)
        """Keeps away from other work: what ends anywhere may let it in."""
        self.any_apart = False
        """Whether any shape keeps away from other work."""
        self.sums: Ints = np.zeros((16, len(SUMS)), np.int64)
        """What a full start takes, in ``SUMS`` order."""
        self._asked: list[int] = []
        """Columns of ``flat`` that any shape asks for."""

    def get(self, shape: Shape) -> int:
        """The row of a shape, made on first use."""
        row = self.row_of.get(shape)
        if row is not None:
            return row
        row = len(self.shapes)
        _grow(self, ("flat", "whole", "share", "tasks", "site", "seen", "learned", "apart", "sums"), row)
        requests = [request for request, _, _ in shape.roles]
        self.flat[row] = np.min([request.flat for request in requests], axis=0)
        self.whole[row] = min(0 if r.fractional else r.gpus for r in requests)
        self.share[row] = min(least_share(r) for r in requests)
        self.apart[row] = apart = bool(shape.where.apart)
        self.any_apart = self.any_apart or apart
        self.site[row] = site = self._site_of.setdefault(shape.where.site, len(self.sites))
        if site == len(self.sites):
            self.sites.append(shape.where.site)
        self.tasks[row], self.sums[row] = sum(count for _, count, _ in shape.roles), shape.sums
        self.shapes.append(shape)
        self.reason.append(None)
        self.row_of[shape] = row
        self._asked += [column for column in np.flatnonzero(self.flat[row]).tolist() if column not in self._asked]
        return row

    @property
    def mix(self) -> tuple[list[int], list[int]]:
        """``seen`` and ``learned`` of every shape."""
        height = len(self.shapes)
        return self.seen[:height].tolist(), self.learned[:height].tolist()

    def count_submitted(self, row: int) -> None:
        """A job of this shape was submitted."""
        self.seen[row] += 1
        self._seen += 1
        if self._seen >= max(2 * self.lessons, FIRST_LESSON):
            self.learned[:] = self.seen
            self.lessons = self._seen

    def remember(self, row: int, seen: int, learned: int) -> None:
        """Take over what was known of the mix of work."""
        self.seen[row], self.learned[row] = seen, learned
        self._seen += seen
        self.lessons += learned

    def fitting(self, flat: Ints, whole: Ints, share: Ints) -> Bools:
        """(S,) whether a task of each shape fits one of F nodes. ``flat`` is (F, 4); ``whole``, ``share`` are (F,)."""
        height = len(self.shapes)
        ok = (self.whole[:height] <= whole.reshape(-1, 1)) & (self.share[:height] <= share.reshape(-1, 1))
        for column in self._asked:
            ok &= self.flat[:height, column] <= flat[:, column].reshape(-1, 1)
        return ok[0] if len(ok) == 1 else ok.max(axis=0, initial=False)


GroupKey = tuple[int, int, int, bool]


class Group(NamedTuple):
    """What the jobs of a group have in common: shape, queue row, class, and ``yields``: of a class that may preempt,
    but victims when they last ran. Those do not look for victims in turn, so that preemption comes to an end."""

    shape: Shape
    queue: int
    cls: PriorityClass
    yields: bool = False


class GroupTable:
    """Groups by (shape row, queue row, class, yields). Columns (G,)."""

    def __init__(self) -> None:
        self.shapes = ShapeTable()
        self.row_of: dict[GroupKey, int] = {}
        self.keys: list[GroupKey] = []
        self.limit_reason: list[Refusal | None] = []
        """Which limit, or whose booking, held the group back when it was last tried; None when it was the lack of room,
        or nothing."""
        self.shape: Ints = np.zeros(16, np.int64)
        self.queue: Ints = np.zeros(16, np.int64)
        self.preempts: Bools = np.zeros(16, np.bool_)
        """May take room from lower classes."""
        self.blocked: Bools = np.zeros(16, np.bool_)
        """Tried and refused, and nothing has happened since that could change this."""
        self.limited: Bools = np.zeros(16, np.bool_)
        """Derived: its ``limit_reason`` is a limit."""
        self.kept_back: Bools = np.zeros(16, np.bool_)
        """Derived: that is what others keep for themselves. Whatever becomes free anywhere may let it in."""
        self.pending: Ints = np.zeros(16, np.int64)
        """Derived: jobs in line."""
        self.large_from = 0
        """Derived: the milli-GPUs from which on nodes are kept for a job; 0 where the policy keeps none."""
        self.ready = 0
        """Derived: jobs in line of groups that are not blocked."""
        self.refused = 0
        """Derived: jobs in line of groups that are blocked."""

    @property
    def height(self) -> int:
        """Groups known."""
        return len(self.keys)

    def get(self, shape: Shape, queue: int, cls: PriorityClass, *, yields: bool = False) -> int:
        """The row of a group, made on first use."""
        key = (self.shapes.get(shape), queue, int(cls), yields)
        row = self.row_of.get(key)
        if row is not None:
            return row
        row = len(self.keys)
        _grow(self, ("shape", "queue", "preempts", "blocked", "limited", "kept_back", "pending"), row)
        self.shape[row], self.queue[row], self.preempts[row] = key[0], queue, cls.may_preempt and not yields
        self.keys.append(key)
        self.limit_reason.append(None)
        self.row_of[key] = row
        return row

    @property
    def any_apart(self) -> bool:
        """Whether a job in line keeps away from other work."""
        if not self.shapes.any_apart:
            return False
        height = self.height
        return bool(self.shapes.apart[self.shape[:height]][self.pending[:height] > 0].any())

    def group(self, row: int) -> Group:
        """What the jobs of a group have in common."""
        shape, queue, cls, yields = self.keys[row]
        return Group(self.shapes.shapes[shape], queue, PriorityClass(cls), yields)

    def yields(self, row: int) -> bool:
        """Whether the group is one of victims."""
        return self.keys[row][3]

    def reason(self, row: int) -> Refusal | None:
        """Why the group's jobs wait, as last told."""
        return self.limit_reason[row] or self.shapes.reason[self.keys[row][0]]

    def tell(self, row: int, reason: Refusal) -> None:
        """Keep why a group was refused: for itself when a limit or booking did it, else for everybody of its shape."""
        self.kept_back[row] = isinstance(reason, KeptBack)
        own = self.limited[row] = self.kept_back[row] or isinstance(reason, OverLimit | OverRolling)
        own |= isinstance(reason, KeptForQueue | KeptForLarge)
        self.limit_reason[row] = reason if own else None
        if not own:
            self.shapes.reason[self.keys[row][0]] = reason

    def count(self, row: int, sign: int) -> None:
        """A job has joined (1) or left (-1) the line."""
        self.pending[row] += sign
        if self.blocked.item(row):
            self.refused += sign
        else:
            self.ready += sign

    def settle(self, queues: QueueTable, *, started: bool) -> None:
        """Every ready group has been tried: those with jobs left in line have been refused. When somebody has
        ``started``, those that a quota may cover are tried once more: they may take back room that was only just given.
        """
        if self.ready:
            refused = self.pending[: self.height] > 0
            if started:
                refused &= queues.guard[self.queue[: self.height]] < 0
            self.blocked[: self.height] |= refused
            in_line = self.ready + self.refused
            self.ready = int(self.pending[: self.height][~self.blocked[: self.height]].sum())
            self.refused = in_line - self.ready
        if started and queues.keepers:  # what was kept for others may be used by them now: say so
            self.wake(self.kept_back[: self.height])

    def wake_for_room(self, nodes: NodeTable, queues: QueueTable, rows: Iterable[int]) -> None:
        """Unblock every group of which a task could fit a node that has gained room.

        A group that may preempt or reclaim wakes when a task could fit the whole node: what was freed there may be what
        it lacked.
        """
        if not np.count_nonzero(self.blocked):
            return
        if self.shapes.any_apart:  # of whom it keeps apart, one may have left
            self.wake(self.shapes.apart[self.shape[: self.height]])
        at = np.fromiter((row for row in rows if nodes.placeable[row]), np.int64)
        if not len(at) or not self.keys:
            return
        shape, takes = self.shape[: self.height], self.takes(queues)
        # Below zero where a node shrank: that stops only who needs some of it.
        woken = self.shapes.fitting(np.maximum(nodes.free[at], 0), nodes.idle[at], nodes.share_max[at])[shape]
        if np.count_nonzero(self.kept_back):
            woken |= self.kept_back[: self.height]
        if np.count_nonzero(takes):
            could = self.shapes.fitting(nodes.total[at], nodes.gpu_count[at], nodes.gpu_count[at] * 1000)
            woken |= could[shape] & takes
        self.wake(woken)

    def takes(self, queues: QueueTable, groups: Ints | slice | None = None) -> Bools:
        """Which of some groups, or of all, may take room from others: by preemption, because a quota covers them, or
        because it is kept for them."""
        some = slice(self.height) if groups is None else groups
        queue = self.queue[some]
        takes = self.preempts[some] | (queues.guard[queue] >= 0) | queues.hosts[queue]
        return takes | self.large(some) if self.large_from else takes

    def large(self, some: Ints | slice) -> Bools:
        """Which of some groups ask for as much as nodes are kept for."""
        return self.shapes.sums[self.shape[some], 2] >= self.large_from

    def wake_for_quotas(self, queues: QueueTable) -> None:
        """Unblock every group that may take room from others, or that others keep room from."""
        self.wake(self.takes(queues) | self.kept_back[: self.height])

    def wake_for_queues(self, queues: QueueTable, rows: Iterable[int]) -> None:
        """Unblock every group in or below one of these queues."""
        if not np.count_nonzero(self.blocked):
            return
        there = np.zeros(queues.height + 1, np.bool_)  # the last is nobody's: where a path is shorter than the longest
        there[list(rows)] = True
        below: Bools = np.any(there[queues.path], axis=1)
        self.wake(below[self.queue[: self.height]])

    def wake_one(self, row: int) -> None:
        """Try a group again."""
        if self.blocked[row]:
            self.blocked[row] = False
            self._let_in(int(self.pending[row]))

    def wake(self, woken: Bools) -> None:
        """Try these groups again. ``woken`` is (G,)."""
        blocked = self.blocked[: self.height]
        rows = np.flatnonzero(woken & blocked)
        if len(rows):
            self._let_in(int(self.pending[rows].sum()))
            blocked[rows] = False

    def _let_in(self, jobs: int) -> None:
        self.ready += jobs
        self.refused -= jobs


def least_share(request: Request) -> int:
    """Milli-GPUs that one device must have free at the least, on any type, for a task to fit."""
    if not request.gpus:
        return 0
    return 1 if request.gpu_memory_mib else request.gpu_milli


def _grow(table: Any, names: tuple[str, ...], row: int) -> None:
    """Double the named columns of a table when ``row`` is beyond them."""
    for name in names:
        old = getattr(table, name)
        if row == len(old):
            setattr(table, name, np.concatenate([old, np.zeros_like(old)]))
