"""Taking capacity from lower priority classes: who loses least, and only when the one that takes then really fits.

Nothing is evicted on hope: the victims are given back to a trial, the preemptor is placed on it, and every victim that
turns out not to be needed is spared again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf

import numpy as np

from fairway.decide import near
from fairway.decide.admit import kept_back
from fairway.decide.gang import Fitted, place
from fairway.decide.quota import Lent, covered
from fairway.decide.victims import Everybody, Lying, Victim, cheapest_first, nodes_by_bound
from fairway.model.job import PriorityClass
from fairway.model.phases import JobPhase
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.model.where import Level
from fairway.state.columns import Bools, Ints
from fairway.state.groups import Group
from fairway.state.snapshot import Snapshot, Trial

MOST_LOOKED = 128
"""Nodes that are looked at for a job that may only take what others have borrowed: their bounds do not know of that."""


@dataclass(frozen=True, slots=True)
class Preemption:
    """Stop ``victims``, then ``placement`` fits."""

    victims: tuple[Victim, ...]
    placement: Placement


def lost_work(snap: Snapshot, policy: Policy, row: int) -> Victim:
    """What stopping a live job now would throw away."""
    jobs = snap.jobs
    started = int(jobs.started_at[row])
    lost_ms = max(snap.now - max(started, int(jobs.checkpoint_at[row])), 0) if started else 0
    width = int(jobs.sums[row, 2]) + int(jobs.sums[row, 0]) // policy.cores_per_gpu
    return Victim(row, lost_ms, (lost_ms + policy.preemption.restart) * width)


def exposed(snap: Snapshot, policy: Policy, row: int, cls: PriorityClass) -> bool:
    """Whether a live job may be stopped for one of class ``cls``: of a lower class, no longer protected since it was
    placed, and not too often a victim already. The last two do not bind critical jobs."""
    jobs, rules = snap.jobs, policy.preemption
    if jobs.cls[row] <= cls:
        return False
    if cls is PriorityClass.CRITICAL:
        return True
    return bool(jobs.placed_at[row] <= rules.exposes_placed_by(snap.now) and jobs.preemptions[row] < rules.per_job)


def budget(snap: Snapshot, policy: Policy, cls: PriorityClass, taken: int) -> int:
    """How many jobs may be stopped for one of class ``cls`` now, when this plan stops ``taken`` already."""
    if cls is PriorityClass.CRITICAL:
        return policy.max_victims
    return max(min(policy.max_victims, policy.preemption.per_hour - snap.preempted - taken), 0)


def find(
    snap: Snapshot, trial: Trial, policy: Policy, group: Group, taken: set[int], known: Everybody | None = None
) -> Preemption | None:
    """The cheapest preemption for the first job of a group, or None. The trial is left as it was.

    ``taken`` are rows of victims that this plan stops already. What they, and others that are stopping, will leave is
    taken first. Only a CRITICAL job, or one that its own queue's quota covers, takes what another's quota covers: that
    one would take it back. ``known`` keeps who may be stopped from one search of a decision to the next.
    """
    search = Search(snap, trial, policy, group, taken, budget(snap, policy, group.cls, len(taken)))
    nodes, everybody = near.could_host(snap, group.shape), (known or Everybody(snap, policy, taken)).of(group.cls)
    if group.shape.single:
        return search.best_single(nodes_by_bound(snap, trial, everybody.ordered, nodes, group.shape.roles[0][0]))
    together = group.shape.where.together
    if together is not None and together.required:
        return search.best_together(everybody, together.level)
    if not _enough_in_all(search, everybody, nodes):
        return None
    return search.cheapest(search.victims_among(np.flatnonzero(nodes), everybody))


def _enough_in_all(search: "Search", everybody: Lying, nodes: Bools) -> bool:
    """Whether a gang could find devices on these nodes (N,) if all who may be stopped were gone."""
    for request, _, least in search.group.shape.roles:
        if request.gpus:
            most = near.most_in(search.snap, search.trial, request, everybody.leaving)
            if int(most[nodes].sum()) < least:
                return False
    return True


@dataclass(frozen=True, slots=True)
class Search:
    """What one search for victims goes by; ``most`` of them may be stopped."""

    snap: Snapshot
    trial: Trial
    policy: Policy
    group: Group
    taken: set[int]
    most: int

    def victims_on(self, nodes: Iterable[int]) -> list[Victim]:
        """Live jobs on these nodes: those that are stopping, then those that may be stopped, least lost work first."""
        snap, jobs = self.snap, self.snap.jobs
        rows = dict.fromkeys(jobs.row_of[job] for node in nodes for job in snap.nodes.attempts[node])
        eligible: list[Victim] = []
        for row in rows:
            if row in self.taken or jobs.phase_of(row) is JobPhase.STOPPING:
                eligible.append(Victim(row, 0, 0, stopping=True))
            elif exposed(snap, self.policy, row, self.group.cls):
                eligible.append(lost_work(snap, self.policy, row))
        eligible.sort(key=lambda v: (not v.stopping, v.lost, -int(jobs.cls[v.row]), -int(jobs.ordinal[v.row])))
        return eligible if self._reaches_all() else self._lent(eligible)

    def victims_among(self, nodes: Ints, everybody: Lying) -> list[Victim]:
        """``victims_on`` for many nodes, as far as they may be needed."""
        some, all_may = everybody.where.on(nodes), self._reaches_all()
        eligible = cheapest_first(self.snap, everybody.found, some, self.most if all_may else len(some))
        return eligible if all_may else self._lent(eligible)

    def _reaches_all(self) -> bool:
        """Whether the job may take what another queue is guaranteed. Unless it is CRITICAL, or covered by a quota
        itself, whom it stops would only take it back."""
        queues = self.snap.queues
        if self.group.cls is PriorityClass.CRITICAL or not (queues.guard[: queues.height] >= 0).any():
            return True  # nobody is guaranteed anything
        quotas = (queues.guard, self.trial.used, queues.quota)
        return covered(self.group.queue, self.group.shape.least_sums, quotas)

    def _lent(self, some: Sequence[Victim]) -> list[Victim]:
        """Those of the victims that only use what their queues have borrowed, as many as may be stopped."""
        lent = Lent(self.snap)
        for row in sorted(self.taken | {victim.row for victim in some if victim.stopping}):
            lent.leave(row)
        stopping = [victim for victim in some if victim.stopping]
        others = (victim for victim in some if not victim.stopping and lent.take(victim.row))
        return [*stopping, *islice(others, self.most)]

    def best_single(self, bounds: Iterable[tuple[float, int]]) -> Preemption | None:
        """For a job of one task: the node whose cheapest sufficient set of victims loses least, the first of equals.
        ``bounds`` say what each node would cost at least."""
        best: Preemption | None = None
        key = (inf, 0)
        for bound, node in bounds if self._reaches_all() else islice(bounds, MOST_LOOKED):
            if (bound, node) > key:
                break
            found = self._on_node(node)
            if found is not None:
                cost = (sum(victim.lost for victim in found.victims), node)
                if cost < key:
                    best, key = found, cost
        return best

    def _on_node(self, node: int) -> Preemption | None:
        """The cheapest on one node. That is looked at by itself first: most have nothing to offer."""
        found = self.victims_on([node])
        if not self.would_fit(found[: sum(victim.stopping for victim in found) + self.most], node):
            return None
        only = np.zeros(self.snap.nodes.height, np.bool_)
        only[node] = True
        return self.cheapest(found, only, node)

    def would_fit(self, gone: Sequence[Victim], node: int) -> bool:
        """Whether a single task would fit on a node if these victims were gone, as far as its numbers say."""
        snap, trial, request = self.snap, self.trial, self.group.shape.roles[0][0]
        mark = trial.mark()
        for victim in gone:
            trial.put(victim.row, snap.jobs.placement[victim.row], sign=-1)
        fits = bool((trial.free[node] >= request.flat).all())
        if request.fractional:
            fits &= bool(trial.share_max[node] >= request.milli_on(int(snap.nodes.gpu_memory[node])))
        else:
            fits &= bool(trial.idle[node] >= request.gpus)
        trial.rollback(mark)
        return fits

    def best_together(self, everybody: Lying, level: Level) -> Preemption | None:
        """For a gang that must stand in one domain of a level: of those that could hold it without its victims, and
        have most free now, the one whose cheapest sufficient set of victims loses least."""
        best: Preemption | None = None
        best_lost, height = -1, self.snap.nodes.height
        for inside in near.could_hold(self.snap, self.trial, self.group.shape, level, everybody.leaving):
            only = np.zeros(height, np.bool_)
            only[inside] = True
            found = self.cheapest(self.victims_among(inside, everybody), only)
            if found is not None:
                lost = sum(victim.lost for victim in found.victims)
                if best is None or lost < best_lost:
                    best, best_lost = found, lost
        return best

    def cheapest(self, some: Sequence[Victim], only: Bools | None = None, node: int | None = None) -> Preemption | None:
        """Add victims, least lost work first, until the job fits; then spare the dearest ones it can do without.
        ``node`` is the one of ``only`` if that is one, and the job has one task."""
        chosen = self.enough(some, only, node)
        if chosen is None:
            return None
        for victim in reversed(chosen):
            fewer = [other for other in chosen if other is not victim]
            if fewer and self._fits_without(fewer, only, node):
                chosen = fewer
        placement = self.placement_without(chosen, only)
        return None if placement is None else Preemption(tuple(chosen), placement)

    def enough(self, some: Sequence[Victim], only: Bools | None, node: int | None) -> list[Victim] | None:
        """The shortest beginning of ``some`` that will do; None when all that may be stopped will not."""
        most = min(len(some), sum(victim.stopping for victim in some) + self.most)
        if most == 0 or not self._fits_without(some[:most], only, node):
            return None
        low, high = 1, most
        while low < high:
            middle = (low + high) // 2
            if not self._fits_without(some[:middle], only, node):
                low = middle + 1
            else:
                high = middle
        return list(some[:high])

    def _fits_without(self, some: Sequence[Victim], only: Bools | None, node: int | None) -> bool:
        if node is None or self.group.shape.where.apart:
            return self.placement_without(some, only) is not None
        return self.would_fit(some, node)

    def placement_without(self, some: Sequence[Victim], only: Bools | None) -> Placement | None:
        """Where the job would go if these victims were gone; the trial is rolled back."""
        mark = self.trial.mark()
        for victim in some:
            self.trial.put(victim.row, self.snap.jobs.placement[victim.row], sign=-1)
        outcome = place(self.snap, self.trial, self.policy, self.group.shape, least=True, only=only)
        kept = isinstance(outcome, Fitted) and self._kept_back(some)
        self.trial.rollback(mark)
        return outcome.placement if isinstance(outcome, Fitted) and not kept else None

    def _kept_back(self, gone: Sequence[Victim]) -> bool:
        """Whether the job would need what other queues keep for themselves, once these victims use nothing."""
        jobs, trial = self.snap.jobs, self.trial
        if trial.lending is None:
            return False
        for victim in gone:
            trial.charge(int(jobs.queue[victim.row]), tuple((-jobs.sums[victim.row]).tolist()))
        return kept_back(self.snap, trial, self.group.queue, self.group.shape.least_sums) is not None
