"""One decision in the making: what its stages share, and the steps that several of them take."""

from collections.abc import Callable
from dataclasses import dataclass

from fairway.decide import curves, order, preempt
from fairway.decide.admit import over_limit
from fairway.decide.booked import BookedRoom
from fairway.decide.gang import Short, place
from fairway.model.ids import AttemptId
from fairway.model.phases import Cause
from fairway.model.plan import Action, Hold, Placement, Start, Stop, placed_jobs
from fairway.model.policy import Policy
from fairway.model.reasons import Placed, StopReason
from fairway.state.groups import Group
from fairway.state.snapshot import Snapshot, Trial


@dataclass(slots=True)
class Cycle:
    """One decision in the making."""

    snap: Snapshot
    trial: Trial
    policy: Policy
    disciplines: order.Disciplines
    actions: list[Action]
    victims: set[int]
    """Rows of jobs that this plan stops."""
    booked: BookedRoom | None = None
    """What queues have booked, where anything is."""
    cut_short: bool = False
    """Whether somebody is left for the next decision to look at."""

    def settled(self) -> set[int]:
        """Rows of jobs that this plan starts, or holds room for."""
        row_of = self.snap.jobs.row_of
        return {row_of[job] for job in placed_jobs(self.actions)}


def place_slowly(cycle: Cycle, group: Group, row: int) -> list[Action]:
    """Start a queued job that the kernel leaves to us; nothing when it does not fit or a limit forbids it."""
    snap, trial = cycle.snap, cycle.trial
    over = over_limit(snap, trial, group.queue, group.shape.sums)
    if over is not None and over_limit(snap, trial, group.queue, group.shape.least_sums):
        return []
    outcome = place(snap, trial, cycle.policy, group.shape, least=over is not None)
    if isinstance(outcome, Short):
        return []
    trial.count_in(row, outcome.placement)
    return [start(cycle, row, outcome.placement, outcome.reason)]


def start(cycle: Cycle, row: int, placement: Placement, reason: Placed) -> Start:
    """The start of a job's next attempt."""
    jobs = cycle.snap.jobs
    attempt = AttemptId(jobs.id_of(row), int(jobs.attempt[row]) + 1)
    return Start(attempt, placement, reason, curves.batch_for(cycle.snap, row, placement))


def stop_and_hold(
    cycle: Cycle, row: int, found: preempt.Preemption, reason: Callable[[preempt.Victim], StopReason]
) -> list[Action]:
    """Stop whoever makes room for a queued job, and hold the room for it."""
    jobs, actions = cycle.snap.jobs, list[Action]()
    for victim in found.victims:
        if not victim.stopping:
            actions.append(Stop(jobs.attempt_id(victim.row), Cause.PREEMPTED, reason(victim)))
            cycle.victims.add(victim.row)
    attempts = tuple(jobs.attempt_id(victim.row) for victim in found.victims)
    take(cycle, row, found.placement)
    keep_company(cycle, row, found.placement)
    return [*actions, Hold(jobs.id_of(row), found.placement, attempts)]


def keep_company(cycle: Cycle, row: int, placement: Placement) -> None:
    """Tell those who come after on this trial, and keep apart from such work."""
    cycle.trial.company.join(cycle.snap.jobs.job(row), (cycle.snap.nodes.row_of[task.node] for task in placement))


def take(cycle: Cycle, row: int, placement: Placement, *, charge: bool = True) -> None:
    """Take a placement off the trial. On nodes still being emptied free room may go below zero: nobody gets in."""
    cycle.trial.put(row, placement, charge=charge)
