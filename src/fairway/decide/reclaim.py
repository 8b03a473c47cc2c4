"""Taking back what was lent: a job that its queue's guaranteed quota covers may have the room of jobs that borrow.

A queue *borrows* what it uses beyond its guaranteed quota; one without any quota at or above it borrows all it uses.
Nobody loses what its quota covers: a job may be stopped only when its queue still uses its whole quota without it, in
at least one resource. So it is not covered when it waits again, and takes nothing back in its turn: there is no loop.
``CRITICAL`` jobs are left alone. Victims are those that lose least work, of equals those of the queue that is furthest
over its quota; and nobody is stopped unless a trial has shown that the one who takes back then fits.
"""

from collections.abc import Iterable
from itertools import islice

import numpy as np

from fairway.decide import near
from fairway.decide.preempt import Preemption, Search, Victim
from fairway.decide.quota import Lent, covered
from fairway.decide.victims import ROUNDING, Shares, Victims, losses, nodes_by_bound, ordered, shares
from fairway.model.job import PriorityClass
from fairway.model.phases import JobPhase
from fairway.model.policy import Policy
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.groups import Group, Shape
from fairway.state.jobs import PHASE_CODE
from fairway.state.snapshot import Snapshot, Trial

MOST_LOOKED_AT = 2_048
"""Jobs that borrow, the cheapest first, among which victims for one job are looked for."""
MOST_NODES = 128
"""Nodes that are looked at for a job of one task, those that could cost least first."""
MOST_TRIES = 16
"""Of these the nodes on which it is tried."""
MOST_WAYS = 8
"""Sets of victims that are tried for one job where a queue may lose some of its jobs, but not all."""


class Reclaim:
    """For one decision. ``stopped`` are rows of jobs that its plan stops; it grows as the plan does."""

    def __init__(self, snap: Snapshot, trial: Trial, policy: Policy, stopped: set[int]) -> None:
        self._snap, self._trial, self._policy, self._stopped = snap, trial, policy, stopped
        self._hopeless: set[tuple[Shape, int]] = set()
        self._pool: _Pool | None = None

    def find(self, group: Group) -> Preemption | None:
        """The borrowers whose room a job of this group takes back, and where it goes then; None when its quota does not
        cover it or nobody's room would do. The trial is left as it was."""
        shape, queues = group.shape, self._snap.queues
        quotas = (queues.guard, self._trial.used, queues.quota)
        # What others keep for themselves is out of reach for some queues, and not for others.
        key = shape, -1 if self._trial.lending is None else int(queues.guard[group.queue])
        if key in self._hopeless or not covered(group.queue, shape.least_sums, quotas):
            return None
        search = Search(self._snap, self._trial, self._policy, group, self._stopped, self._policy.max_victims)
        pool = self._borrowers()
        able = near.could_host(self._snap, shape)
        may = pool.found.stopping | (pool.guard != queues.guard[group.queue])
        where = pool.where.only(may)
        if shape.single:
            found = self._single(search, pool, where, able)
        else:
            found = self._cheapest(search, pool, np.unique(where.victim[able[where.nodes]]))
        if found is None:
            self._hopeless.add(key)
        return found

    def _single(self, search: Search, pool: "_Pool", where: Shares, able: Bools) -> Preemption | None:
        """On the node where least is lost, of the first few that have room once the cheapest borrowers are gone."""
        snap, trial, best, tries = self._snap, self._trial, None, MOST_TRIES
        request = search.group.shape.roles[0][0]
        for bound, node in islice(nodes_by_bound(snap, trial, ordered(where), able, request), MOST_NODES):
            if not tries or (best is not None and bound >= _loss(best) * ROUNDING):
                break
            some = where.victim[where.nodes == node]
            if not search.would_fit(self._each(pool, some), node):
                continue
            tries -= 1
            only = np.zeros(snap.nodes.height, np.bool_)
            only[node] = True
            found = self._cheapest(search, pool, some, only, node)
            if found is not None and (best is None or _loss(found) < _loss(best)):
                best = found
        return best

    def _cheapest(
        self, search: Search, pool: "_Pool", some: Ints, only: Bools | None = None, node: int | None = None
    ) -> Preemption | None:
        """Room by some of these jobs: the cheapest that may be stopped together; where they will not do, others instead
        of those of a queue that may lose only some of its jobs."""
        together = self._spared(pool, some)
        found = search.cheapest(together, only, node)
        each = self._each(pool, some) if found is None else []
        for _ in range(MOST_WAYS if len(each) > len(together) else 0):
            found = search.cheapest(each, only, node)
            if found is None:
                break
            lent = pool.lent.copy()
            bound = next((one for one in found.victims if not (one.stopping or lent.take(one.row))), None)
            if bound is None:
                return found
            each.remove(bound)
            found = None
        return found

    def _each(self, pool: "_Pool", some: Ints) -> list[Victim]:
        """Of these jobs those that are leaving, and then those of which each may be stopped if no other is."""
        leaving = pool.found.stopping[some]
        rows = pool.found.rows
        others = (pool.found.at(index) for index in some[~leaving].tolist() if pool.lent.may(int(rows[index])))
        most = self._policy.max_victims + MOST_WAYS
        return [*(pool.found.at(index) for index in some[leaving].tolist()), *islice(others, most)]

    def _spared(self, pool: "_Pool", some: Ints) -> list[Victim]:
        """Of these jobs those that may be stopped together without taking from any queue what its quota covers, as many
        as may be: who is leaving anyway first, then as they come, mostly the cheapest first."""
        leaving = pool.found.stopping[some]
        found = [pool.found.at(index) for index in some[leaving].tolist()]
        lent = pool.lent.copy()
        others = (pool.found.at(index) for index in some[~leaving].tolist() if lent.take(int(pool.found.rows[index])))
        return [*found, *islice(others, self._policy.max_victims)]

    def _borrowers(self) -> "_Pool":
        """Everybody who may be stopped, found once per decision and kept up as its plan stops some of them."""
        if self._pool is None or not self._pool.knows(self._stopped):
            self._pool = _pool(self._snap, self._policy, self._stopped)
        self._pool.leave(self._stopped)
        return self._pool


class _Pool:
    """Jobs that are leaving, and live ones of queues that borrow: those first that are cheapest to stop.

    ``found`` is who they are, ``where`` where they lie, ``guard`` (V,) the queue whose quota covers each, and ``lent``
    what queues may lose once all that are leaving have left.
    """

    def __init__(self, snap: Snapshot, found: Victims) -> None:
        self.found, self.where = found, shares(snap, found)
        self.guard: Ints = snap.queues.guard[snap.jobs.queue[found.rows]]
        self.lent = Lent(snap)
        self._index = {row: index for index, row in enumerate(found.rows.tolist())}
        self._left = set[int]()
        self.leave(found.rows[found.stopping].tolist())

    def knows(self, rows: set[int]) -> bool:
        """Whether all of these are in it."""
        return rows <= self._index.keys()

    def leave(self, rows: Iterable[int]) -> None:
        """These jobs are stopped."""
        for row in sorted({*rows} - self._left):
            index = self._index[row]
            self.found.stopping[index], self.found.lost[index], self.found.lost_ms[index] = True, 0, 0
            self.where.lost[self.where.victim == index] = 0.0
            self.lent.leave(row)
            self._left.add(row)


def _pool(snap: Snapshot, policy: Policy, stopped: set[int]) -> _Pool:
    jobs, queues = snap.jobs, snap.queues
    live = np.flatnonzero(jobs.live())
    leaving = jobs.phase[live] == PHASE_CODE[JobPhase.STOPPING]
    leaving[np.isin(live, sorted(stopped))] = True
    guard = queues.guard[jobs.queue[live]]
    over = _over(queues.used[: queues.height], queues.quota[: queues.height])
    may = ((guard < 0) | (over[guard] > 0)) & (jobs.cls[live] != PriorityClass.CRITICAL) & ~leaving
    rows, far = live[may], np.where(guard < 0, np.inf, over[guard])[may]
    _, lost = losses(snap, policy, rows)
    order = np.lexsort((-jobs.ordinal[rows], -jobs.cls[rows], -far, lost))[:MOST_LOOKED_AT]
    rows = np.concatenate([live[leaving], rows[order]])
    lost_ms, lost = losses(snap, policy, rows)
    stays = np.arange(len(rows)) >= np.count_nonzero(leaving)
    return _Pool(snap, Victims(rows, lost_ms * stays, lost * stays, ~stays))


def _loss(found: Preemption) -> int:
    return sum(victim.lost for victim in found.victims)


def _over(used: Ints, quota: Ints) -> Floats:
    """(Q,) how far each queue is over its quota, as a part of it; 0 where it is not, or has none."""
    part = np.divide(used - quota, quota, out=np.zeros(used.shape), where=quota > 0)
    part[(quota == 0) & (used > 0)] = np.inf  # it has lent all that it has
    return part.max(axis=1, initial=0.0)
