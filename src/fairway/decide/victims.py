"""Who could be stopped for whom, over the whole fleet at once: columns for the search in ``preempt``.

The search for the node whose victims lose least would have to look at every node. A bound spares it most of them: to
free enough devices costs at least what it would cost if jobs could be stopped in part, those that lose least for each
of their GPUs first (the fractional knapsack). Nodes are then looked at in the order of their bounds, until no bound is
below what was found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fairway.decide import fit
from fairway.model.job import PriorityClass
from fairway.model.phases import JobPhase
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE, Request
from fairway.state.columns import Bools, Floats, Ints, narrow
from fairway.state.jobs import PHASE_CODE
from fairway.state.snapshot import Snapshot, Trial

_STOPPING = PHASE_CODE[JobPhase.STOPPING]
AT_ONCE = 32
"""Nodes that are told of together: mostly the first few will do."""
ROUNDING = 1 - 1e-9
"""A bound that is a sum of fractions may be above the truth in its last bits."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A running job that could be stopped: its row and what that would lose.

    ``lost`` is milliseconds since its last checkpoint (or its start), and those that a restart takes, times the GPUs it
    holds, in milli-GPU ms; CPU cores count as ``1 / cores_per_gpu`` of a GPU. A job that is ``stopping`` anyway loses
    nothing more.
    """

    row: int
    lost_ms: int
    lost: int
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Victims:
    """Everybody who is stopping or may be stopped. All (V,): job rows, what each would lose, and how long that took."""

    rows: Ints
    lost_ms: Ints
    lost: Ints
    stopping: Bools

    def at(self, index: int) -> Victim:
        """One of them."""
        return Victim(
            int(self.rows[index]), int(self.lost_ms[index]), int(self.lost[index]), bool(self.stopping[index])
        )


def victims(snap: Snapshot, policy: Policy, cls: PriorityClass, taken: set[int]) -> Victims:
    """Who may be stopped for a job of class ``cls``, by the rules of ``preempt.exposed``; rows that are ``taken``, and
    others that are stopping, among them."""
    jobs, rules, height = snap.jobs, policy.preemption, snap.jobs.height
    stopping = jobs.phase[:height] == _STOPPING
    stopping[list(taken)] = True
    able = jobs.live() & (jobs.cls[:height] > cls)
    if cls is not PriorityClass.CRITICAL:
        able &= jobs.placed_at[:height] <= rules.exposes_placed_by(snap.now)
        able &= jobs.preemptions[:height] < rules.per_job
    rows = np.flatnonzero(able | stopping)
    leaving = stopping[rows]
    lost_ms, lost = losses(snap, policy, rows)
    return Victims(rows, np.where(leaving, 0, lost_ms), np.where(leaving, 0, lost), leaving)


def losses(snap: Snapshot, policy: Policy, rows: Ints) -> tuple[Ints, Ints]:
    """What stopping live jobs now would throw away, (R,) each: milliseconds, and ``Victim.lost``."""
    jobs = snap.jobs
    started = jobs.started_at[rows]
    lost_ms = np.where(started > 0, np.maximum(snap.now - np.maximum(started, jobs.checkpoint_at[rows]), 0), 0)
    width = jobs.sums[rows, 2] + jobs.sums[rows, 0] // policy.cores_per_gpu
    return lost_ms, (lost_ms + policy.preemption.restart) * width


class Shares(NamedTuple):
    """A row for each victim on each of its nodes, (K,), node by node: what it would lose, its index, the node,
    milli-GPUs there. The rows of node n are those from ``firsts[n]`` up to ``firsts[n + 1]``."""

    lost: Floats
    victim: Ints
    nodes: Ints
    milli: Ints
    firsts: Ints

    def only(self, which: Bools) -> "Shares":
        """Those of some victims; ``which`` is (V,)."""
        kept = which[self.victim]
        nodes = self.nodes[kept]
        return Shares(self.lost[kept], self.victim[kept], nodes, self.milli[kept], _firsts(nodes, len(self.firsts) - 1))

    def on(self, nodes: Ints) -> Ints:
        """Indices of the victims with a task on any of these nodes, ascending."""
        firsts, ends = self.firsts[nodes].tolist(), self.firsts[nodes + 1].tolist()
        some = [self.victim[first:end] for first, end in zip(firsts, ends, strict=True) if first < end]
        return np.unique(np.concatenate(some)) if some else self.victim[:0]

    def leaving(self) -> Ints:
        """(N,) the milli-GPUs that all of them together leave on each node."""
        height = len(self.firsts) - 1
        return np.bincount(self.nodes, self.milli, height).astype(np.int64)


def shares(snap: Snapshot, found: Victims) -> Shares:
    """Where the victims lie."""
    jobs = snap.jobs
    home = jobs.home[found.rows] - 1
    one = np.flatnonzero(home >= 0)
    index, nodes, milli = list[int](), list[int](), list[int]()
    for at in np.flatnonzero(home < 0).tolist():
        here: dict[int, int] = {}
        for task in jobs.placement[int(found.rows[at])]:
            node = snap.nodes.row_of[task.node]
            here[node] = here.get(node, 0) + len(task.devices) * task.gpu_milli
        index += [at] * len(here)
        nodes += here
        milli += here.values()
    which, where = _joined(one, index), _joined(home[one], nodes)
    order = narrow(where, snap.nodes.height).argsort(kind="stable")
    which, where = which[order], where[order]
    held = _joined(jobs.sums[found.rows[one], 2], milli)[order]
    return Shares(found.lost[which].astype(np.float64), which, where, held, _firsts(where, snap.nodes.height))


def _joined(some: Ints, more: list[int]) -> Ints:
    return np.concatenate([some, np.array(more, np.int64)])


def _firsts(nodes: Ints, height: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(nodes, minlength=height))])


def cheapest_first(snap: Snapshot, found: Victims, some: Ints, most: int) -> list[Victim]:
    """Of ``some`` of them, by index, the stopping ones, then up to ``most`` others, least lost first."""
    jobs, rows = snap.jobs, found.rows[some]
    order = some[np.lexsort((-jobs.ordinal[rows], -jobs.cls[rows], found.lost[some], ~found.stopping[some]))]
    return [found.at(index) for index in order[: int(found.stopping[some].sum()) + most].tolist()]


class Ordered(NamedTuple):
    """``Shares``, on each node those first that lose least for each of their GPUs; what those before each hold there,
    (K,); and of each node, (N,), the least that one of its victims loses, what all hold, and whether there are any."""

    some: Shares
    before: Ints
    least: Floats
    total: Ints
    any: Bools


def ordered(some: Shares) -> Ordered:
    """Some shares in that order."""
    height = len(some.firsts) - 1
    order = np.lexsort((some.lost / np.maximum(some.milli, 1), some.nodes))
    lost, nodes, milli = some.lost[order], some.nodes[order], some.milli[order]
    before = np.cumsum(milli) - milli
    count = np.diff(some.firsts)
    before -= np.repeat(before[some.firsts[:-1][count > 0]], count[count > 0])
    least = np.full(height, np.inf)
    np.minimum.at(least, nodes, lost)
    return Ordered(
        Shares(lost, some.victim[order], nodes, milli, some.firsts), before, least, some.leaving(), count > 0
    )


def nodes_by_bound(
    snap: Snapshot, trial: Trial, where: Ordered, able: Bools, request: Request
) -> Iterator[tuple[float, int]]:
    """(least that it could cost, node) of ``able`` nodes on which a task could fit if victims went, cheapest first."""
    need = np.zeros(snap.nodes.height, np.int64)
    if request.fractional:  # of one device, which gains no more than all victims together leave
        need = fit.milli_per_device(snap.nodes, request) - trial.share_max
    elif request.gpus:
        # Below zero where room is held that its victims have yet to leave: what they free fills that first.
        need = np.where(where.any, request.gpus * WHOLE - trial.gpu_free, 0)
    there = np.flatnonzero(able & where.any & (where.total >= need))
    if request.gpus and not request.fractional:
        need[there] = request.gpus * WHOLE - trial.device_free[there].sum(axis=1)
        there = there[where.total[there] >= need[there]]
    if not len(there):
        return
    bound = _bounds(where, need, there)
    order = np.argsort(bound, kind="stable")
    there, bound = there[order], bound[order]
    for first in range(0, len(there), AT_ONCE):
        here = slice(first, first + AT_ONCE)
        yield from zip(bound[here].tolist(), there[here].tolist(), strict=True)


def _bounds(where: Ordered, need: Ints, there: Ints) -> Floats:
    """(R,) the least that it costs to free what is needed, milli-GPUs (N,), on each of these nodes."""
    lost, _, nodes, milli, firsts = where.some
    count = firsts[there + 1] - firsts[there]
    of = np.repeat(np.arange(len(there)), count)  # the place in ``there`` of each row, and the row
    at = np.arange(len(of)) + np.repeat(firsts[there] - np.cumsum(count) + count, count)
    part = np.clip((need[nodes[at]] - where.before[at]) / np.maximum(milli[at], 1), 0, 1) * (milli[at] > 0)
    bound, least = np.bincount(of, part * lost[at], len(there)), where.least[there]
    return np.where(need[there] > 0, np.maximum(bound, least), least) * ROUNDING  # somebody must go as a whole


class Everybody:
    """Who may be stopped for jobs of each class, for one decision: found once, and anew when its plan has stopped
    somebody. ``taken`` are rows of jobs that it stops; it grows as the plan does."""

    def __init__(self, snap: Snapshot, policy: Policy, taken: set[int]) -> None:
        self._snap, self._policy, self._taken = snap, policy, taken
        self._known: dict[PriorityClass, Lying] = {}
        self._gone = 0

    def of(self, cls: PriorityClass) -> "Lying":
        """Those who may be stopped for a job of this class, and where they lie."""
        if self._gone != len(self._taken):
            self._known.clear()
            self._gone = len(self._taken)
        known = self._known.get(cls)
        if known is None:
            found = victims(self._snap, self._policy, cls, self._taken)
            known = self._known[cls] = Lying(found, shares(self._snap, found))
        return known


class Lying:
    """Who may be stopped, and where they lie."""

    def __init__(self, found: Victims, where: Shares) -> None:
        self.found, self.where = found, where

    @cached_property
    def ordered(self) -> Ordered:
        """``where``, for bounds."""
        return ordered(self.where)

    @cached_property
    def leaving(self) -> Ints:
        """(N,) the milli-GPUs that they leave together."""
        return self.where.leaving()
