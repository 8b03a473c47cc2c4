"""Who could be stopped for whom, over the whole fleet at once: columns for the search in ``preempt``.

The search for the node whose victims lose least would have to look at every node. A bound spares it most of them: to
free enough devices costs at least what it would cost if jobs could be stopped in part, those that lose least for each
of their GPUs first (the fractional knapsack). Nodes are then looked at in the order of their bounds, until no bound is
below what was found.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairway.decide import fit
from fairway.model.job import PriorityClass
from fairway.model.phases import JobPhase
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE, Request
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.jobs import PHASE_CODE
from fairway.state.snapshot import Snapshot, Trial

_STOPPING = PHASE_CODE[JobPhase.STOPPING]
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
    """A row for each victim on each of its nodes, (K,): what it would lose, its index, the node, milli-GPUs there."""

    lost: Floats
    victim: Ints
    nodes: Ints
    milli: Ints

    def only(self, which: Bools) -> "Shares":
        """Those of some victims; ``which`` is (V,)."""
        kept = which[self.victim]
        return Shares(self.lost[kept], self.victim[kept], self.nodes[kept], self.milli[kept])


def shares(snap: Snapshot, found: Victims) -> Shares:
    """Where the victims lie."""
    jobs = snap.jobs
    home = jobs.home[found.rows] - 1
    one = np.flatnonzero(home >= 0)
    index, nodes, milli = one.tolist(), home[one].tolist(), jobs.sums[found.rows[one], 2].tolist()
    for at in np.flatnonzero(home < 0).tolist():
        here: dict[int, int] = {}
        for task in jobs.placement[int(found.rows[at])]:
            node = snap.nodes.row_of[task.node]
            here[node] = here.get(node, 0) + len(task.devices) * task.gpu_milli
        index += [at] * len(here)
        nodes += here
        milli += here.values()
    which = np.array(index, np.int64)
    return Shares(found.lost[which].astype(np.float64), which, np.array(nodes, np.int64), np.array(milli, np.int64))


def cheapest_first(snap: Snapshot, found: Victims, able: Bools, most: int) -> list[Victim]:
    """Those with a task on an ``able`` (N,) node: the stopping ones, then up to ``most`` others, least lost first."""
    jobs = snap.jobs
    _, index, nodes, _ = shares(snap, found)
    there = np.zeros(len(found.rows), np.bool_)
    there[index[able[nodes]]] = True
    some = np.flatnonzero(there)
    rows = found.rows[some]
    order = some[np.lexsort((-jobs.ordinal[rows], -jobs.cls[rows], found.lost[some], ~found.stopping[some]))]
    return [found.at(index) for index in order[: int(found.stopping[some].sum()) + most].tolist()]


def nodes_by_bound(
    snap: Snapshot, trial: Trial, some: Shares, able: Bools, request: Request
) -> list[tuple[float, int]]:
    """(least that it could cost, node) of ``able`` nodes on which a task could fit if victims went, cheapest first."""
    height = snap.nodes.height
    lost, _, nodes, milli = some
    need = np.zeros(height, np.int64)
    if request.fractional:  # of one device, which gains no more than all victims together leave
        need = fit.milli_per_device(snap.nodes, request) - trial.share_max
    elif request.gpus:
        # Below zero where room is held that its victims have yet to leave: what they free fills that first.
        need = request.gpus * WHOLE - trial.device_free.sum(axis=1)
    order = np.lexsort((lost / np.maximum(milli, 1), nodes))
    lost, nodes, milli = lost[order], nodes[order], milli[order]
    total = np.bincount(nodes, milli, height)
    before = np.cumsum(milli) - milli
    first = np.flatnonzero(np.diff(nodes, prepend=-1))
    before -= np.repeat(before[first], np.diff(first, append=len(nodes)))
    part = np.clip((need[nodes] - before) / np.maximum(milli, 1), 0, 1) * (milli > 0)
    bound = np.bincount(nodes, part * lost, height)
    least = np.full(height, np.inf)
    np.minimum.at(least, nodes, lost)
    bound = np.where(need > 0, np.maximum(bound, least), least) * ROUNDING  # somebody must go as a whole
    there = np.flatnonzero(able & (np.bincount(nodes, minlength=height) > 0) & (total >= need))
    return sorted(zip(bound[there].tolist(), there.tolist(), strict=True))
