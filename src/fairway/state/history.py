"""How long work has taken: sketches of run times, and of how far users' estimates were off, that ``apply`` keeps.

A sample belongs to four *kinds* of work at once, from fine to coarse: (shape, user, name pattern), (shape, user),
(shape), all. Each has three sketches of ``BUCKETS`` counts, eight buckets to a doubling, so a quantile is right to 9 %:
run times in milliseconds of work at full pace, ratios of run time to estimate, and, for kinds of their own (queue and
class, then shape), how long jobs stood in line. A sketch that is full is halved, so
old samples fade; a table that is full gives the row of the kind that has been quiet longest to a new one.
"""

import math
import re
from functools import lru_cache
from typing import Any

import numpy as np

from fairway.model.job import Job
from fairway.model.plan import Placement
from fairway.model.resources import WHOLE
from fairway.state.columns import Ints
from fairway.state.groups import Shape
from fairway.state.tables import NodeTable

PER_DOUBLING = 8
BUCKETS = 320
"""From 1 ms to 2^40 ms, which is 35 years."""
NO_CHANGE = BUCKETS // 2
"""The bucket of a ratio of 1."""
MOST_KINDS = 4_096
MOST_SAMPLES = 64
"""Samples of a sketch before it is halved: work changes, and what was true of last month's misleads."""
RUN, RATIO, WAIT = 0, 1, 2
_SKETCHES = 3

Kind = tuple[str, ...]
"""() for all work, then (shape,), (shape, user), (shape, user, pattern)."""

_HASH = re.compile(r"(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{6,}")
_NUMBER = re.compile(r"\d+([.e]-?\d+)*")
_EDGES = re.compile(r"[\W_]+")


@lru_cache(maxsize=65_536)
def pattern_of(name: str) -> str:
    """A job's name without what differs from run to run: hashes and numbers. ``bert-lr0.01-a3f9c2`` is ``bert-lr``."""
    bare = _NUMBER.sub("", _HASH.sub("", name.lower()))
    return _EDGES.sub("-", bare).strip("-")[:64]


@lru_cache(maxsize=65_536)
def size_of(shape: Shape) -> str:
    """What of a shape tells how long its work takes: tasks x GPUs of each role and types, or cores in doublings."""
    parts: list[str] = []
    for request, count, _ in shape.roles:
        kinds = "/".join(accelerator.type for accelerator in request.accelerators)
        if request.gpus:
            parts.append(f"{count}x{request.gpus * request.gpu_milli / WHOLE:g}{kinds}")
        else:
            parts.append(f"{count}xcpu{1 << max(request.cpu_milli // 1000, 1).bit_length() - 1}")
    return "+".join(parts)[:64]


def wait_kind(queue: str, cls: int, shape: Shape) -> Kind:
    """The kind that a wait is counted in: beside those of work, by (queue and class), then shape."""
    return ("wait", f"{queue} {cls}", size_of(shape))


def bucket_of_run(work: float) -> int:
    """The bucket of a run time in milliseconds."""
    return min(int(PER_DOUBLING * math.log2(max(work, 1.0))), BUCKETS - 1)


def bucket_of_ratio(ratio: float) -> int:
    """The bucket of a ratio of run time to estimate."""
    return min(max(NO_CHANGE + round(PER_DOUBLING * math.log2(max(ratio, 1e-9))), 0), BUCKETS - 1)


def pace(job: Job, placement: Placement, nodes: NodeTable) -> float:
    """How fast a job works on a placement, 1 for a full start on the fastest type it accepts.

    The slowest device decides; of an elastic gang, the role that has the least of its tasks.
    """
    slowest = 1.0
    for task in placement if any(role.request.accelerators for role in job.roles) else ():
        request = job.roles[task.role].request
        if request.accelerators and task.devices:
            best = max(accelerator.speed for accelerator in request.accelerators)
            kind = nodes.node(nodes.row_of[task.node]).gpu_type
            slowest = min(slowest, request.speed_on(kind) / best)
    if len(placement) < job.tasks:
        workers = [0] * len(job.roles)
        for task in placement:
            workers[task.role] += 1
        slowest *= min(have / role.count for have, role in zip(workers, job.roles, strict=True))
    return slowest


class RunTimes:
    """The table. Columns (K,), one row per kind; ``counts`` is (K, 3, BUCKETS), ``total`` (K, 3)."""

    def __init__(self) -> None:
        self.kinds: list[Kind] = []
        self.row_of: dict[Kind, int] = {}
        self.learned = 0
        """Samples so far: the clock by which kinds are quiet."""
        self.above: list[tuple[int, ...]] = []
        """The row itself and that of every coarser kind."""
        self.parent: Ints = np.zeros(16, np.int64)
        """Row of the next coarser kind; of all work, its own."""
        self.quiet_since: Ints = np.zeros(16, np.int64)
        self.refs: Ints = np.zeros(16, np.int64)
        """Derived: jobs in the state of this very kind, and kinds right below it."""
        self.total: Ints = np.zeros((16, _SKETCHES), np.int64)
        """Derived: samples in each sketch."""
        self.counts: np.ndarray[Any, np.dtype[np.int32]] = np.zeros((16, _SKETCHES, BUCKETS), np.int32)
        self._below: np.ndarray[Any, np.dtype[np.int32]] = np.zeros((16, _SKETCHES, BUCKETS), np.int32)
        self._stale: dict[int, None] = {}
        self._tie(self._add((), 0), 0)

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def below(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Derived, (K, 3, BUCKETS): how many samples lie in each bucket or a lower one."""
        self._freshen(list(self._stale))
        return self._below

    def below_of(self, rows: Ints) -> np.ndarray[Any, np.dtype[np.int32]]:
        """``below``, right in these rows and those of coarser kinds: cheaper while many others have changed."""
        if self._stale:
            kinds: list[int] = np.unique(rows).tolist()
            needed = {above for row in kinds for above in self.above[row]}
            self._freshen([row for row in sorted(needed) if row in self._stale])
        return self._below

    def _freshen(self, rows: list[int]) -> None:
        if rows:
            self._below[rows] = self.counts[rows].cumsum(axis=2)
            for row in rows:
                del self._stale[row]

    def enter(self, job: Job, shape: Shape) -> int:
        """The row of a job's kind, kept for as long as the job is there. A coarser one when the table is full; that of
        all work for a service's replica, whose end says nothing."""
        kind: Kind = () if job.service is not None else (size_of(shape), job.user, pattern_of(job.name))
        row = self.row_of.get(kind)
        if row is None:
            row = self._make(kind)
        self.refs[row] += 1
        return row

    def leave(self, row: int) -> None:
        """A job of this row's kind has gone."""
        self.refs[row] -= 1

    def learn(self, row: int, work: float, estimate: int | None) -> None:
        """A job of this row's kind took ``work`` milliseconds at full pace; its user had said ``estimate``."""
        self.learned += 1
        run = bucket_of_run(work)
        ratio = bucket_of_ratio(work / estimate) if estimate else None
        for kind in self.above[row]:
            self._count(kind, RUN, run)
            if ratio is not None:
                self._count(kind, RATIO, ratio)

    def waited(self, queue: str, cls: int, shape: Shape, wait: int) -> None:
        """A job of a queue and class has started for the first time, after ``wait`` milliseconds in line. Kinds of
        waits never take the rows of kinds of work, nor more than half of them."""
        kind = wait_kind(queue, cls, shape)
        full = len(self.kinds) >= MOST_KINDS // 2
        row = self.row_of_wait(queue, cls, shape) if full else self._make(kind)
        self.learned += 1
        for kind in self.above[row]:
            self._count(kind, WAIT, bucket_of_run(wait))

    def row_of_wait(self, queue: str, cls: int, shape: Shape) -> int:
        """The row that knows most of how long such jobs wait."""
        kind = wait_kind(queue, cls, shape)
        return next(self.row_of[kind[:depth]] for depth in (3, 2, 1, 0) if kind[:depth] in self.row_of)

    def put(self, kind: Kind, quiet_since: int, sketches: tuple[tuple[tuple[int, int], ...], ...]) -> None:
        """Restore a kind in the next row: (bucket, count) pairs of each sketch. Parents are set by ``tie``."""
        row = 0 if not kind else self._add(kind, quiet_since)
        self.quiet_since[row] = quiet_since
        for sketch, pairs in enumerate(sketches):
            for bucket, count in pairs:
                self.counts[row, sketch, bucket] = count
        self.total[row] = self.counts[row].sum(axis=1)
        self._stale[row] = None

    def tie(self) -> None:
        """Find every restored kind's parent, which may stand in a later row."""
        for kind in self.kinds[1:]:
            self.refs[self.row_of[kind[:-1]]] += 1
        for row in sorted(range(1, len(self.kinds)), key=lambda row: len(self.kinds[row])):
            self._tie(row, self.row_of[self.kinds[row][:-1]])

    def sketches(self, row: int) -> tuple[tuple[tuple[int, int], ...], ...]:
        """What ``put`` takes."""
        found: list[tuple[tuple[int, int], ...]] = []
        for counts in self.counts[row]:
            buckets = np.flatnonzero(counts)
            found.append(tuple(zip(buckets.tolist(), counts[buckets].tolist(), strict=True)))
        return tuple(found)

    def _make(self, kind: Kind) -> int:
        above = 0
        whole = self.row_of.get(kind)
        if whole is not None:
            return whole
        for depth in range(1, len(kind) + 1):
            known = self.row_of.get(kind[:depth])
            if known is None:
                known = self._fresh(kind[:depth], above)
                if known is None:
                    return above
                self._tie(known, above)
                self.refs[above] += 1
            above = known
        return above

    def _fresh(self, kind: Kind, above: int) -> int | None:
        """An empty row for a kind: a new one, or that of the kind that nobody needs and that is quiet longest."""
        if len(self.kinds) < MOST_KINDS:
            return self._add(kind, self.learned)
        idle = self.refs[: len(self.kinds)] == 0
        idle[[0, above]] = False
        if not idle.any():
            return None
        row = int(np.where(idle, self.quiet_since[: len(self.kinds)], self.learned + 1).argmin())
        del self.row_of[self.kinds[row]]
        self.refs[self.parent[row]] -= 1
        self.counts[row], self.total[row], self.quiet_since[row] = 0, 0, self.learned
        self.kinds[row] = kind
        self.row_of[kind] = row
        self._stale[row] = None
        return row

    def _tie(self, row: int, above: int) -> None:
        self.parent[row] = above
        self.above[row] = (row, *(self.above[above] if row else ()))

    def _add(self, kind: Kind, quiet_since: int) -> int:
        row = len(self.kinds)
        if row == len(self.parent):
            for name in ("parent", "quiet_since", "refs", "total", "counts", "_below"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        self.kinds.append(kind)
        self.above.append(())
        self.row_of[kind] = row
        self.quiet_since[row] = quiet_since
        return row

    def _count(self, row: int, sketch: int, bucket: int) -> None:
        self.quiet_since[row], self._stale[row] = self.learned, None
        self.counts[row, sketch, bucket] += 1
        total = self.total.item(row, sketch) + 1
        if total > MOST_SAMPLES:
            counts = self.counts[row, sketch]
            # Halving the cumulated counts rather than each keeps every quantile where it was: single samples survive.
            halves = counts.cumsum() // 2
            counts[0], counts[1:] = halves[0], halves[1:] - halves[:-1]
            total = halves[-1]
        self.total[row, sketch] = total
