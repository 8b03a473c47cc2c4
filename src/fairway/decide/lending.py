"""Whether a refused job waits for a limit, or for what others keep for themselves, or just for room."""

from fairway.decide.admit import kept_back, over_own_limit
from fairway.decide.gang import Short, place
from fairway.model.policy import Policy
from fairway.state.groups import Group
from fairway.state.snapshot import Snapshot, Trial


def meets_limit(snap: Snapshot, trial: Trial, policy: Policy, group: Group) -> bool:
    """Whether the least start of a group's jobs breaks a limit of their queues, or fits only where others keep the room
    for themselves. Where there is no room anyhow, that is what they wait for: it may be reserved for them."""
    least = group.shape.least_sums
    if over_own_limit(snap, trial, group.queue, least):
        return True
    if trial.lending is None or not kept_back(snap, trial, group.queue, least):
        return False
    mark = trial.mark()
    fits = not isinstance(place(snap, trial, policy, group.shape, least=True), Short)
    trial.rollback(mark)
    return fits
