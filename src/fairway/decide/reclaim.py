"""Taking back what was lent: a job that its queue's guaranteed quota covers may have the room of jobs that borrow.

A queue *borrows* what it uses beyond its guaranteed quota; one without any quota at or above it borrows all it uses.
Nobody loses what its quota covers: a job may be stopped only when its queue still uses its whole quota without it, in
at least one resource. So it is not covered when it waits again, and takes nothing back in its turn: there is no loop.
``CRITICAL`` jobs are left alone. Victims are those that lose least work, of equals those of the queue that is furthest
over its quota; and nobody is stopped unless a trial has shown that the one who takes back then fits.
"""

import numpy as np

from fairway.decide import near, preempt
from fairway.decide.preempt import Preemption, Search, Victim
from fairway.decide.quota import Lent, covered
from fairway.decide.victims import losses
from fairway.model.job import PriorityClass
from fairway.model.phases import JobPhase
from fairway.model.policy import Policy
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.groups import Group, Shape
from fairway.state.jobs import PHASE_CODE, task_need
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import SUMS

MOST_LOOKED_AT = 2_048
"""Jobs that borrow, the cheapest first, among which victims for one job are looked for."""
MOST_TRIES = 16
"""Nodes on which one job of one task is tried."""


class Reclaim:
    """For one decision. ``stopped`` are rows of jobs that its plan stops; it grows as the plan does."""

    def __init__(self, snap: Snapshot, trial: Trial, policy: Policy, stopped: set[int]) -> None:
        self._snap, self._trial, self._policy, self._stopped = snap, trial, policy, stopped
        self._hopeless: set[Shape] = set()
        self._pool: list[int] | None = None

    def find(self, group: Group) -> Preemption | None:
        """The borrowers whose room a job of this group takes back, and where it goes then; None when its quota does not
        cover it or nobody's room would do. The trial is left as it was."""
        shape, queues = group.shape, self._snap.queues
        quotas = (queues.guard, self._trial.used, queues.quota)
        if shape in self._hopeless or not covered(group.queue, shape.least_sums, quotas):
            return None
        search = Search(self._snap, self._trial, self._policy, group, self._stopped, self._policy.max_victims)
        here = self._by_node(near.could_host(self._snap, shape), int(queues.guard[group.queue]))
        if shape.single:
            found = self._single(search, here)
        else:
            rank = {row: place for place, row in enumerate(self._cheapest_first())}
            rows = dict.fromkeys(row for rows in here.values() for row in rows)
            found = search.cheapest(self._spared(sorted(rows, key=lambda row: rank.get(row, -1))))
        if found is None:
            self._hopeless.add(shape)
        return found

    def _single(self, search: Search, here: dict[int, list[int]]) -> Preemption | None:
        """On the node where least is lost, of the first few that have room once the cheapest borrowers are gone."""
        snap, trial, best, tries = self._snap, self._trial, None, MOST_TRIES
        request = search.group.shape.roles[0][0]
        need = np.array([*request.flat, 1 if request.gpu_memory_mib else request.gpus * request.gpu_milli])
        for node, rows in here.items():
            victims = self._spared(rows)
            if not victims or (best is not None and victims[0].lost >= _loss(best)):
                continue
            have = np.array([*trial.free[node].tolist(), int(trial.gpu_free[node])])
            for victim in victims:
                job = snap.jobs.job(victim.row)
                for task in snap.jobs.placement[victim.row]:
                    if snap.nodes.row_of[task.node] == node:
                        have += (*task_need(job, task), len(task.devices) * task.gpu_milli)
            if (have < need).any() or not tries:
                continue
            tries -= 1
            only = np.zeros(snap.nodes.height, np.bool_)
            only[node] = True
            found = search.cheapest(victims, only)
            if found is not None and (best is None or _loss(found) < _loss(best)):
                best = found
        return best

    def _by_node(self, able: Bools, claimant: int) -> dict[int, list[int]]:
        """Rows of jobs by the nodes they have tasks on: those that are leaving anyway, then the cheapest to stop."""
        snap, jobs, found = self._snap, self._snap.jobs, dict[int, list[int]]()
        own = snap.queues.guard
        may = (row for row in self._cheapest_first() if own[jobs.queue[row]] != claimant and row not in self._stopped)
        for row in (*self._leaving(), *may):
            for task in jobs.placement[row]:
                node = snap.nodes.row_of[task.node]
                if able[node] and row not in found.setdefault(node, []):
                    found[node].append(row)
        return found

    def _leaving(self) -> list[int]:
        jobs = self._snap.jobs
        stopping = np.flatnonzero(jobs.phase[: jobs.height] == PHASE_CODE[JobPhase.STOPPING])
        return sorted({*stopping.tolist(), *self._stopped})

    def _spared(self, rows: list[int]) -> list[Victim]:
        """Of these jobs those that may be stopped together without taking from any queue what its quota covers."""
        lent, leaving = Lent(self._snap), set(self._leaving())
        for row in leaving:
            lent.leave(row)
        found = [Victim(row, 0, 0, stopping=True) for row in rows if row in leaving]
        found += [
            preempt.lost_work(self._snap, self._policy, row) for row in rows if row not in leaving and lent.take(row)
        ]
        return found

    def _cheapest_first(self) -> list[int]:
        """Rows of live jobs of queues that borrow, found once per decision."""
        if self._pool is not None:
            return self._pool
        snap, jobs, queues = self._snap, self._snap.jobs, self._snap.queues
        live = _live(snap)
        guard = queues.guard[jobs.queue[live]]
        over = _over(queues.used[: queues.height], queues.quota[: queues.height])
        may = (guard < 0) | (over[guard] > 0)
        may &= (jobs.cls[live] != PriorityClass.CRITICAL) & (jobs.phase[live] != PHASE_CODE[JobPhase.STOPPING])
        live, far = live[may], np.where(guard < 0, np.inf, over[guard])[may]
        _, lost = losses(snap, self._policy, live)
        order = np.lexsort((-jobs.ordinal[live], -jobs.cls[live], -far, lost))
        pool: list[int] = live[order[:MOST_LOOKED_AT]].tolist()
        self._pool = pool
        return pool


def _loss(found: Preemption) -> int:
    return sum(victim.lost for victim in found.victims)


def _live(snap: Snapshot) -> Ints:
    jobs = snap.jobs
    return np.flatnonzero(jobs.sums[: jobs.height, : len(SUMS)].any(axis=1))


def _over(used: Ints, quota: Ints) -> Floats:
    """(Q,) how far each queue is over its quota, as a part of it; 0 where it is not, or has none."""
    part = np.divide(used - quota, quota, out=np.zeros(used.shape), where=quota > 0)
    return part.max(axis=1, initial=0.0)
