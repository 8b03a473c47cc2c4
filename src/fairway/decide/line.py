"""The line of one decision: every job that may start now, in order, and the columns that the kernel walks it with.

The kernel does what is common at full speed. It stops at a job that needs more than it can do (several roles, an
elastic gang, a gang where there are several executors) and at one that may preempt and found no room; the pipeline then
does what is to be done on the same trial, and lets the kernel go on behind it.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from fairway.decide import fit
from fairway.decide import kernels_walk as kernel
from fairway.model.plan import Placement, TaskPlacement
from fairway.model.policy import Policy
from fairway.model.reasons import Placed
from fairway.state.columns import Floats, Ints
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial

_NO_NODES: fit.Kinds = (("", 0),)

LOOK_AT = 256
"""Nodes that fit which are compared before the best of them is taken; all of a small cluster."""


class Line:
    """``rows`` (P,) are job rows in order; ``answers`` (P,) what became of each (``kernel.PLACED`` and so on)."""

    def __init__(self, snap: Snapshot, trial: Trial, policy: Policy) -> None:
        self.snap, self.trial, self.policy = snap, trial, policy
        self.rows = _in_order(snap)
        groups = snap.groups
        self.groups = snap.jobs.group[self.rows]
        shapes = groups.shape[self.groups]
        count = len(self.rows)
        self._jobs = (shapes, snap.jobs.queue[self.rows], self.groups, groups.preempts[self.groups])
        self.shapes: Ints = shapes
        self._columns = self._compile()
        tasks = int(self._columns[2][shapes].sum())
        self._out = (np.zeros(tasks, np.int64), np.zeros(tasks, np.int64), np.zeros(tasks, np.int64))
        self._ends = np.zeros(count + 1, np.int64)
        self._whys: Floats = np.zeros((count, 4), np.float64)
        self.answers: Ints = np.zeros(count, np.int64)
        self.no_room = np.full(len(groups.shapes.shapes), -1, np.int64)
        """(S,) place in line of the first job of each shape that found no room; -1 for none."""
        self.over = np.full(groups.height, -1, np.int64)
        """(G,) place in line of the first job of each group that met a limit; -1 for none."""
        self.hopeless = np.zeros(groups.height, np.bool_)

    def __len__(self) -> int:
        return len(self.rows)

    def walk(self) -> Iterator[tuple[int, int]]:
        """Place job after job. Yields (``kernel.SLOW`` or ``kernel.REFUSED``, place in line) where the caller is to
        act; it tells with ``touched`` which nodes of the trial it has changed."""
        nodes, blocks = self._nodes(), self._blocks()
        queues = (self.snap.queues.path, self.trial.used, self.snap.queues.limit[: len(self.trial.used)])
        flat, gpu = self.snap.nodes.largest
        weights, at = self.policy.weights, 0
        scale = np.array((weights.gpu / gpu, weights.memory / flat[1], weights.cpu / flat[0]))
        while True:
            why, at = kernel.walk(
                at, self._jobs, self._columns, nodes, blocks, queues, scale, LOOK_AT,
                (self.no_room, self.over, self.hopeless), self._out, (self.answers, self._ends, self._whys),
            )  # fmt: skip
            if why == kernel.DONE:
                return
            yield why, at
            for row in self.trial.touched:
                kernel.summarise(row // kernel.BLOCK, nodes, blocks)
            self.trial.touched.clear()
            at += 1

    def helped(self, at: int) -> None:
        """The caller has found a way for the job it was asked about: those equal to it are tried again."""
        self.answers[at] = kernel.UNTRIED
        if self.no_room[self.shapes[at]] == at:
            self.no_room[self.shapes[at]] = -1

    def refuse(self, at: int, limit: bool) -> None:
        """The caller could not start the job it was asked about either: those equal to it need not be asked about."""
        if limit:
            self.over[self.groups[at]] = at
        else:
            self.hopeless[self.groups[at]] = True
            if self.no_room[self.shapes[at]] < 0:
                self.no_room[self.shapes[at]] = at
        self.answers[at] = kernel.OVER_LIMIT if limit else kernel.NO_ROOM

    def placed(self) -> Iterator[tuple[int, Placement, Placed]]:
        """(place in line, placement, reason) of every job that the kernel has placed."""
        places = np.flatnonzero(self.answers == kernel.PLACED)
        if not len(places):
            return
        id_of = self.snap.nodes.id_of
        tasks = int(self._ends[places[-1] + 1])
        node, devices, milli = (column[:tasks].tolist() for column in self._out)
        firsts, lasts = self._ends[places].tolist(), self._ends[places + 1].tolist()
        left, scores = self._left(places)
        for at, first, last, (gpu, memory, cpu, seen), score in zip(
            places.tolist(), firsts, lasts, left, scores, strict=True
        ):
            placement = tuple(
                TaskPlacement(k - first, 0, id_of(node[k]), _devices(devices[k]), milli[k]) for k in range(first, last)
            )
            parts = (("gpu", gpu), ("memory", memory), ("cpu", cpu))
            yield at, placement, Placed("best_fit", score, parts, int(seen))

    def _left(self, places: Ints) -> tuple[list[list[float]], list[float]]:
        """What the first node of each job had left, as shares of the largest node's, and the score of it."""
        flat, gpu = self.snap.nodes.largest
        left = self._whys[places] / np.array((gpu, flat[1], flat[0], 1.0))
        weights = self.policy.weights
        scores = left[:, 0] * weights.gpu + left[:, 1] * weights.memory + left[:, 2] * weights.cpu
        return left.round(4).tolist(), scores.round(4).tolist()

    def _nodes(self) -> tuple[np.ndarray, ...]:
        nodes, trial = self.snap.nodes, self.trial
        height = nodes.height
        return (
            nodes.placeable[:height], trial.free, trial.device_free, trial.idle, trial.share_max, trial.gpu_free,
            nodes.kind[:height],
        )  # fmt: skip

    def _blocks(self) -> tuple[Ints, Ints, Ints]:
        count, kinds = -(-self.snap.nodes.height // kernel.BLOCK), max(len(self.snap.nodes.kinds), 1)
        blocks = (
            np.zeros((count, kinds), np.int64),
            np.zeros((count, kinds), np.int64),
            np.zeros((count, 4), np.int64),
        )
        nodes = self._nodes()
        kernel.summarise_all(nodes, blocks)
        return blocks

    def _compile(self) -> tuple[np.ndarray, ...]:
        """The shapes as columns: (flat, gpus, tasks, milli, speed, sums, slow)."""
        table, height = self.snap.groups.shapes, len(self.snap.groups.shapes.shapes)
        kinds = tuple(self.snap.nodes.kinds) or _NO_NODES
        several = len(self.snap.nodes.executors) > 1
        compiled = [_compiled(shape, kinds, several) for shape in table.shapes]
        return (
            table.flat[:height],
            np.array([gpus for gpus, _, _, _ in compiled], np.int64),
            table.tasks[:height],
            np.array([milli for _, milli, _, _ in compiled], np.int64).reshape(-1, len(kinds)),
            np.array([speed for _, _, speed, _ in compiled], np.float64).reshape(-1, len(kinds)),
            table.sums[:height],
            np.array([slow for _, _, _, slow in compiled], np.bool_),
        )


@lru_cache(maxsize=65_536)
def _compiled(shape: Shape, kinds: fit.Kinds, several: bool) -> tuple[int, Ints, Floats, bool]:
    """(devices, share of one by kind, speed by kind, whether the kernel leaves it to the slow path) of a shape."""
    request = shape.roles[0][0]
    by_memory = any(request.gpu_memory_mib for request, _, _ in shape.roles)
    slow = len(shape.roles) > 1 or shape.elastic or (several and not shape.single) or by_memory
    return request.gpus, fit.share_by_kind(request, kinds), fit.speed_by_kind(request, kinds), slow


def _in_order(snap: Snapshot) -> Ints:
    """Rows of every job in line whose group is ready: by class, number, deadline, submission."""
    jobs, height = snap.jobs, snap.jobs.height
    rows = np.flatnonzero(jobs.in_line[:height])
    rows = rows[~snap.groups.blocked[jobs.group[rows]]]
    return rows[np.lexsort((jobs.ordinal[rows], jobs.deadline[rows], -jobs.number[rows], jobs.cls[rows]))]


@lru_cache(maxsize=65_536)
def _devices(mask: int) -> tuple[int, ...]:
    """The bits of a mask, lowest first."""
    return tuple(bit for bit in range(mask.bit_length()) if mask >> bit & 1)
