"""Moving running work so that a large request fits, or so that a node is empty.

Free devices that lie scattered are of no use to a request that needs several on one node. Work that keeps checkpoints
can go on elsewhere for the price of what it did since its last one, and of a restart. Nothing moves on hope: on a trial
those that move give their room back, the request is placed, and then each of them finds a place that is free now, on a
node of the same kind.

Which nodes to clear is found greedily: the cheapest jobs that leave enough of each node, then the cheapest nodes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fairway.decide import fit, near
from fairway.decide.gang import Fitted, place
from fairway.decide.preempt import lost_work
from fairway.decide.victims import Victim
from fairway.model.job import PriorityClass
from fairway.model.phases import JobPhase
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE
from fairway.state.columns import Bools
from fairway.state.groups import Shape, shape_of
from fairway.state.snapshot import Snapshot, Trial

MOST_NODES = 64
"""Nodes that a search looks at, those that lack least first."""
MOST_TRIED = 8
"""Ways to clear nodes that are tried out before a request is given up."""


@dataclass(frozen=True, slots=True)
class Move:
    """A running job, what its move loses, and where it goes on."""

    victim: Victim
    placement: Placement


@dataclass(frozen=True, slots=True)
class Clearing:
    """``moves``, after which a waiting job fits on ``placement``; empty when a node was to be emptied."""

    moves: tuple[Move, ...]
    placement: Placement = ()


@dataclass(frozen=True, slots=True)
class _Search:
    """What one search goes by. ``taken`` are rows that this plan stops; of those of a class before ``cls`` none moves;
    ``most`` jobs may."""

    snap: Snapshot
    trial: Trial
    policy: Policy
    taken: set[int]
    most: int
    cls: PriorityClass = PriorityClass.CRITICAL

    def movable(self, node: int) -> list[Victim]:
        """Jobs on a node that may move, least lost for each GPU first."""
        jobs = self.snap.jobs
        rows = [jobs.row_of[job] for job in self.snap.nodes.attempts[node]]
        found = [lost_work(self.snap, self.policy, row) for row in rows if self._may_move(row)]
        return sorted(found, key=lambda v: (v.lost / max(int(jobs.sums[v.row, 2]), 1), int(jobs.ordinal[v.row])))

    def _may_move(self, row: int) -> bool:
        jobs = self.snap.jobs
        if row in self.taken or not jobs.checkpoints[row] or jobs.phase_of(row) is not JobPhase.RUNNING:
            return False
        if jobs.cls[row] < self.cls or self.snap.now - int(jobs.started_at[row]) < self.policy.defrag.least_run:
            return False
        shape = shape_of(jobs.job(row))
        return not shape.elastic and len({task.node for task in jobs.placement[row]}) == 1

    def resettle(self, victims: Sequence[Victim], cleared: Iterable[int], able: Bools) -> tuple[Move, ...] | None:
        """Where each of these goes on, on nodes that are ``able`` and not ``cleared``; None when one finds no place.
        The trial has given their room back, and has what is returned taken off."""
        snap, nodes, moves = self.snap, self.snap.nodes, list[Move]()
        able = able.copy()
        able[list(cleared)] = False
        for victim in sorted(victims, key=lambda v: (-int(snap.jobs.sums[v.row, 2]), v.row)):
            home = nodes.row_of[snap.jobs.placement[victim.row][0].node]
            same = nodes.kind[: nodes.height] == nodes.kind[home]
            outcome = place(snap, self.trial, self.policy, shape_of(snap.jobs.job(victim.row)), only=able & same)
            if not isinstance(outcome, Fitted):
                return None
            moves.append(Move(victim, outcome.placement))
        return tuple(moves)


def for_large(
    snap: Snapshot, trial: Trial, policy: Policy, shape: Shape, cls: PriorityClass, taken: set[int], most: int
) -> Clearing | None:
    """The moves after which a job of this shape fits, or None. The trial is left as it was.

    ``cls`` is its class: jobs of a higher one do not move for it. ``most`` jobs may move.
    """
    if len(shape.roles) != 1 or most < 1:
        return None
    search = _Search(snap, trial, policy, taken, most, cls)
    request, _, tasks = shape.roles[0]
    able = near.allowed(snap, shape, trial) & snap.nodes.placeable[: snap.nodes.height]
    able &= fit.fits(snap.nodes, fit.whole_capacity(snap, able), request)
    room = fit.room(snap.nodes, fit.free_capacity(snap, trial, able), request)
    if int(trial.idle[able].sum()) < request.gpus * tasks:
        return None
    missing = tasks - int(np.minimum(room, tasks).sum())
    most_lost = policy.defrag.most_lost * request.gpus * tasks * WHOLE
    ways = _ways(search, np.flatnonzero(able).tolist(), request.gpus, room.tolist(), most_lost)
    for first in range(min(len(ways) - missing + 1, MOST_TRIED)):
        chosen = ways[first : first + missing]
        victims = [victim for _, _, some in chosen for victim in some]
        if missing < 1 or len(victims) > most or sum(victim.lost for victim in victims) > most_lost:
            continue
        found = _tried(search, shape, victims, [node for _, node, _ in chosen])
        if found is not None:
            return found
    return None


def _ways(
    search: _Search, able: list[int], gpus: int, room: list[int], most_lost: int
) -> list[tuple[int, int, list[Victim]]]:
    """(lost, node, jobs) for nodes on which one more task would fit if those jobs were gone; the cheapest first."""
    idle = search.trial.idle
    short = sorted((gpus - int(idle[node]) + room[node] * gpus, node) for node in able)
    found: list[tuple[int, int, list[Victim]]] = []
    for lacking, node in short[:MOST_NODES]:
        chosen, left = list[Victim](), lacking
        for victim in search.movable(node):
            if left > 0:
                chosen.append(victim)
                left -= _devices(search.snap, victim)
        if left > 0 or lacking <= 0:
            continue
        for victim in reversed(list(chosen)):
            if left + _devices(search.snap, victim) <= 0:
                chosen.remove(victim)
                left += _devices(search.snap, victim)
        lost = sum(victim.lost for victim in chosen)
        if lost <= most_lost and len(chosen) <= search.most:
            found.append((lost, node, chosen))
    return sorted(found, key=lambda way: way[:2])


def _devices(snap: Snapshot, victim: Victim) -> int:
    """Whole devices that a job has."""
    return sum(len(task.devices) for task in snap.jobs.placement[victim.row] if task.gpu_milli == WHOLE)


def _tried(search: _Search, shape: Shape, victims: Sequence[Victim], cleared: Sequence[int]) -> Clearing | None:
    """Try it out: the victims go, the request comes, the victims come back elsewhere. The trial is rolled back."""
    trial, mark = search.trial, search.trial.mark()
    for victim in victims:
        trial.put(victim.row, search.snap.jobs.placement[victim.row], sign=-1)
    outcome = place(search.snap, trial, search.policy, shape, least=True)
    found: Clearing | None = None
    if isinstance(outcome, Fitted):
        able = search.snap.nodes.placeable[: search.snap.nodes.height]
        moves = search.resettle(victims, cleared, able)
        found = None if moves is None else Clearing(moves, outcome.placement)
    trial.rollback(mark)
    return found


def to_empty(snap: Snapshot, trial: Trial, policy: Policy, taken: set[int], most: int) -> Clearing | None:
    """The moves that empty one node, of those in use the one with least on it, or None. The trial is left as it was.

    Its work goes where there is some already: an idle node stays idle.
    """
    nodes, height = snap.nodes, snap.nodes.height
    search = _Search(snap, trial, policy, taken, most)
    partly = (
        nodes.placeable[:height] & (nodes.gpu_count[:height] > 0) & (trial.gpu_free < nodes.gpu_count[:height] * 1000)
    )
    used = nodes.gpu_count[:height] * 1000 - trial.gpu_free
    order = sorted(np.flatnonzero(partly).tolist(), key=lambda node: (int(used[node]), node))
    tried = 0
    for node in order[:MOST_NODES]:
        victims = search.movable(node)
        lost = sum(victim.lost for victim in victims)
        all_move = len(victims) == len(nodes.attempts[node]) and 0 < len(victims) <= most
        if not all_move or lost > policy.defrag.most_lost * int(nodes.gpu_count[node]) * WHOLE:
            continue
        tried += 1
        mark = trial.mark()
        for victim in victims:
            trial.put(victim.row, snap.jobs.placement[victim.row], sign=-1)
        moves = search.resettle(victims, [node], partly)
        trial.rollback(mark)
        if moves is not None:
            return Clearing(moves)
        if tried == MOST_TRIED:
            break
    return None
