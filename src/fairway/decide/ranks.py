"""Ranks of nodes for tasks that come one by one, kept from decision to decision: the same node as ``search`` finds, but
only nodes that have changed since are looked at again.

A rank is what ``score.best_fit`` says of a node that fits, and infinite elsewhere. Of every block of ``search.BLOCK``
nodes its best rank is kept, how many fit, and how tight it is; so the best node is found from a few numbers per block.
Ranks belong to the columns of a trial (``Trial.known``) and follow them through ``Trial.changes``.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairway.decide import fit, near, score, scores
from fairway.decide.search import BLOCK, LOOK_AT, MOST_IDLE, Found
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE, Request
from fairway.state.columns import Floats
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import CPU, MEMORY

MOST = 32
"""Shapes that ranks are kept for; of more, those whose ranks are oldest are forgotten."""
FEW = 8
"""Changed nodes up to which they are looked at one by one; of more, all nodes are ranked anew."""


def ranks_for(snap: Snapshot, trial: Trial, policy: Policy, shape: Shape) -> "Ranks | None":
    """The ranks for a job of one task, up to date; None where the node has to be searched for: the first time that
    somebody asks, for shares of devices, beside others to keep apart from, where types differ, for other scores."""
    known = trial.known
    if known is None:
        return None
    ranks = known.get(shape, ASKED)
    if ranks is ASKED or ranks.policy is not policy:
        if not _suits(snap, policy, shape):
            return None
        if ranks is ASKED and shape not in known:
            if len(known) >= MOST:
                del known[next(iter(known))]
            known[shape] = ASKED
            return None
        ranks = known[shape] = Ranks(snap, trial, policy, shape)
    ranks.follow(snap, trial)
    return ranks


ASKED: Any = object()
"""In place of the ranks of a shape that was asked for once."""


def _suits(snap: Snapshot, policy: Policy, shape: Shape) -> bool:
    request = shape.roles[0][0]
    if request.fractional or request.gpu_memory_mib or shape.where.apart or not scores.linear(policy):
        return False
    if not request.accelerators:
        return True
    return policy.placement.types == "fastest" and len({*_speeds(snap, request)} - {0.0}) == 1


def _speeds(snap: Snapshot, request: Request) -> list[float]:
    return fit.speed_by_kind(request, tuple(snap.nodes.kinds)).tolist()


class Ranks:
    """Of one shape under one policy, on nodes that stay what they are but for the work on them."""

    def __init__(self, snap: Snapshot, trial: Trial, policy: Policy, shape: Shape) -> None:
        request = shape.roles[0][0]
        self.policy, self.scale = policy, score.scale(snap, policy)
        self._request, self._able = request, near.allowed(snap, shape)
        self._needs = [(column, need) for column, need in enumerate(request.flat) if need]
        self._types = [speed > 0 for speed in _speeds(snap, request)] if request.accelerators else None
        """By kind of device whether it will do; None where all of them do."""
        self._rank_all(snap, trial)

    def follow(self, snap: Snapshot, trial: Trial) -> None:
        """Look at what has changed since this was last done."""
        if self._seen == len(trial.changes):
            return
        rows = set(trial.changes[self._seen :])
        if len(rows) > FEW:
            self._rank_all(snap, trial)
            return
        nodes, types = snap.nodes, self._types
        for row in rows:
            could = nodes.placeable.item(row) and (types is None or types[nodes.kind.item(row)])
            self._rank(trial, row, could, self._able.item(row))
        self._seen = len(trial.changes)

    def best(self) -> Found | None:
        """The node that ``search.best_node`` finds for one task; None where none fits."""
        block, seen = self._best_block()
        if block < 0:
            return None
        first = block * BLOCK
        return Found(first + int(self._ranks[first : first + BLOCK].argmin()), 1, seen)

    def _best_block(self) -> tuple[int, int]:
        """(the block with the best node, how many nodes are compared): all of them where few fit, else those of the
        tightest blocks, as ``search`` has it. -1 for none."""
        best, fitting = self._best, self._fitting
        if self._tightest is None:
            some = [block for block, count in enumerate(fitting) if count]
            self._tightest = sorted(some, key=self._level.__getitem__)
        if self._count <= LOOK_AT:
            return min(self._tightest, key=lambda block: (best[block], block), default=-1), self._count
        seen, found, last, per_device = 0, -1, -1, self.scale[0] * WHOLE
        for block in self._tightest:
            tight = self._level[block]
            if tight > last and found >= 0 and per_device * (tight - self._request.gpus) > best[found]:
                break
            last, seen = tight, seen + fitting[block]
            if found < 0 or (best[block], block) < (best[found], found):
                found = block
            if seen >= LOOK_AT:
                break
        return found, seen

    def _rank_all(self, snap: Snapshot, trial: Trial) -> None:
        nodes, request = snap.nodes, self._request
        fits = fit.fits(nodes, fit.free_capacity(snap, trial, self._able), request)
        rows = fits.nonzero()[0]
        self._ranks: Floats = np.full(len(fits), math.inf)
        self._ranks[rows] = score.best_fit(score.leftovers(snap, trial, request, rows), self.scale)
        could = nodes.placeable[: len(fits)] & (trial.idle >= request.gpus)
        if self._types is not None:
            could &= np.array(self._types, np.bool_)[nodes.kind[: len(fits)]]
        self._idle = np.where(could, np.minimum(trial.idle, MOST_IDLE), MOST_IDLE + 1)
        firsts = np.arange(0, len(fits), BLOCK)
        self._best: list[float] = np.minimum.reduceat(self._ranks, firsts).tolist()
        self._level: list[int] = np.minimum.reduceat(self._idle, firsts).tolist()
        self._fitting: list[int] = np.add.reduceat(fits, firsts, dtype=np.int64).tolist()
        self._count = len(rows)
        self._tightest: list[int] | None = None
        """Blocks with a node that fits, the tightest first; None where that is to be found again."""
        self._seen = len(trial.changes)

    def _rank(self, trial: Trial, row: int, could: bool, able: bool) -> None:
        """Look at one node. A few numbers: plain Python is done before numpy has begun."""
        free: list[int] = trial.free[row].tolist()
        idle, rank = trial.idle.item(row), math.inf
        could = could and idle >= self._request.gpus
        if could and able and (not self._needs or all(free[column] >= need for column, need in self._needs)):
            rank = self._rank_of(trial.gpu_free.item(row), free[MEMORY], free[CPU])
        block, old = row // BLOCK, self._ranks.item(row)
        here = slice(block * BLOCK, block * BLOCK + BLOCK)
        if rank != old:
            self._ranks[row] = rank
            self._best[block] = _least(self._ranks[here]) if old == self._best[block] else min(rank, self._best[block])
            came = (rank < math.inf) - (old < math.inf)
            if came:
                self._fitting[block] += came
                self._count += came
                self._tightest = None
        level, before = min(idle, MOST_IDLE) if could else MOST_IDLE + 1, self._idle.item(row)
        if level != before:
            self._idle[row] = level
            kept = self._level[block]
            self._level[block] = _least(self._idle[here]) if before == kept else min(level, kept)
            if self._level[block] != kept:
                self._tightest = None

    def _rank_of(self, gpu_free: int, memory_free: int, cpu_free: int) -> float:
        """``score.best_fit`` of what would be left over of one node."""
        request, (gpu, memory, cpu) = self._request, self.scale
        left = (
            gpu_free - request.gpus * request.gpu_milli,
            memory_free - request.memory_mib,
            cpu_free - request.cpu_milli,
        )
        return gpu * float(left[0]) + memory * float(left[1]) + cpu * float(left[2])


def _least(values: NDArray[Any]) -> Any:
    return values.item(values.argmin())
