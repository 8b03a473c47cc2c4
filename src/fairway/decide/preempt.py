"""Taking capacity from lower priority classes: who loses least, and only when the one that takes then really fits.

Nothing is evicted on hope: the victims are given back to a trial, the preemptor is placed on it, and every victim that
turns out not to be needed is spared again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fairway.decide import fit, near
from fairway.decide.gang import Fitted, place
from fairway.model.phases import JobPhase
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.state.columns import Bools
from fairway.state.groups import Group, Shape
from fairway.state.jobs import task_need
from fairway.state.snapshot import Snapshot, Trial


@dataclass(frozen=True, slots=True)
class Victim:
    """A running job that could be stopped: its row and what that would lose.

    ``lost`` is milliseconds since its last checkpoint (or its start) times the GPUs it holds, in milli-GPU ms; CPU
    cores count as ``1 / cores_per_gpu`` of a GPU. A job that is ``stopping`` anyway loses nothing more.
    """

    row: int
    lost_ms: int
    lost: int
    stopping: bool = False


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
    return Victim(row, lost_ms, lost_ms * width)


def find(snap: Snapshot, trial: Trial, policy: Policy, group: Group, taken: set[int]) -> Preemption | None:
    """The cheapest preemption for the first job of a group, or None. The trial is left as it was.

    ``taken`` are rows of victims that this plan stops already. What they, and others that are stopping, will leave is
    taken first.
    """
    nodes = _nodes_that_could(snap, group.shape)
    if group.shape.single:
        return _best_single(snap, trial, policy, group, nodes, taken)
    rows = np.flatnonzero(nodes).tolist()
    return _cheapest(snap, trial, policy, group, _victims_on(snap, policy, group, rows, taken))


def _nodes_that_could(snap: Snapshot, shape: Shape) -> Bools:
    whole = fit.whole_capacity(snap, near.allowed(snap, shape))
    able = np.zeros(snap.nodes.height, np.bool_)
    for request, _, _ in shape.roles:
        able |= fit.fits(snap.nodes, whole, request)
    return able & snap.nodes.placeable[: snap.nodes.height]


def _victims_on(snap: Snapshot, policy: Policy, group: Group, nodes: Iterable[int], taken: set[int]) -> list[Victim]:
    """Live jobs on these nodes: those that are stopping, then those of lower classes, least lost work first."""
    rows: dict[int, None] = {}
    for node in nodes:
        for job in snap.nodes.attempts[node]:
            rows[snap.jobs.row_of[job]] = None
    eligible: list[Victim] = []
    for row in rows:
        if row in taken or snap.jobs.phase_of(row) is JobPhase.STOPPING:
            eligible.append(Victim(row, 0, 0, stopping=True))
        elif snap.jobs.cls[row] > group.cls:
            eligible.append(lost_work(snap, policy, row))
    jobs = snap.jobs
    return sorted(eligible, key=lambda v: (not v.stopping, v.lost, -int(jobs.cls[v.row]), -int(jobs.ordinal[v.row])))


def _best_single(
    snap: Snapshot, trial: Trial, policy: Policy, group: Group, nodes: Bools, taken: set[int]
) -> Preemption | None:
    """For a job of one task: the node whose cheapest sufficient set of victims loses least."""
    best: Preemption | None = None
    best_lost = -1
    for node in np.flatnonzero(nodes).tolist():
        victims = _victims_on(snap, policy, group, [node], taken)
        if not victims or (best is not None and victims[0].lost >= best_lost):
            continue
        only = np.zeros(snap.nodes.height, np.bool_)
        only[node] = True
        found = _cheapest(snap, trial, policy, group, victims, only)
        if found is not None:
            lost = sum(victim.lost for victim in found.victims)
            if best is None or lost < best_lost:
                best, best_lost = found, lost
    return best


def _cheapest(
    snap: Snapshot, trial: Trial, policy: Policy, group: Group, victims: Sequence[Victim], only: Bools | None = None
) -> Preemption | None:
    """Add victims, least lost work first, until the job fits; then spare the dearest ones it can do without."""
    chosen = _enough(snap, trial, policy, group, victims, only)
    if chosen is None:
        return None
    for victim in reversed(chosen):
        fewer = [other for other in chosen if other is not victim]
        if fewer and _placement_without(snap, trial, policy, group, fewer, only) is not None:
            chosen = fewer
    placement = _placement_without(snap, trial, policy, group, chosen, only)
    return None if placement is None else Preemption(tuple(chosen), placement)


def _enough(
    snap: Snapshot, trial: Trial, policy: Policy, group: Group, victims: Sequence[Victim], only: Bools | None
) -> list[Victim] | None:
    most = min(len(victims), sum(victim.stopping for victim in victims) + policy.max_victims)
    if most == 0 or _placement_without(snap, trial, policy, group, victims[:most], only) is None:
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if _placement_without(snap, trial, policy, group, victims[:middle], only) is None:
            low = middle + 1
        else:
            high = middle
    return list(victims[:high])


def _placement_without(
    snap: Snapshot, trial: Trial, policy: Policy, group: Group, victims: Sequence[Victim], only: Bools | None
) -> Placement | None:
    """Where the job would go if these victims were gone; the trial is rolled back."""
    mark = trial.mark()
    for victim in victims:
        job = snap.jobs.job(victim.row)
        for task in snap.jobs.placement[victim.row]:
            flat = tuple(-need for need in task_need(job, task))
            trial.take(snap.nodes.row_of[task.node], flat, task.devices, -task.gpu_milli)
    outcome = place(snap, trial, policy, group.shape, least=True, only=only)
    trial.rollback(mark)
    return outcome.placement if isinstance(outcome, Fitted) else None
