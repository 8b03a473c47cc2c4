"""A line of one that is placed at once: what ``Line`` and the pipeline come to for it, for a third of the work.

In a cluster that is not full most decisions are about one new job, for which there is room. What makes a line of more
than one worth its columns is dead weight then. Whoever needs more than this asks for is left to the line.
"""

from fairway.decide.admit import over_own_limit
from fairway.decide.cycle import Cycle, start
from fairway.decide.gang import Fitted, place
from fairway.decide.line import is_slow, several
from fairway.model.plan import Start


def start_alone(cycle: Cycle) -> Start | None:
    """The start of the only job in line, taken off the trial and charged; None where there are others, where something
    is kept from somebody, or where it is not that simple."""
    snap, trial, policy = cycle.snap, cycle.trial, cycle.policy
    groups = snap.groups
    if groups.ready != 1 or groups.refused or snap.reserved or snap.queues.rolling or groups.any_apart:
        return None
    if cycle.booked is not None or trial.lending is not None or policy.placement.types != "fastest":
        return None
    row = int(snap.jobs.in_line[: snap.jobs.height].argmax())
    shape, queue = snap.shape_of(row), snap.jobs.queue.item(row)
    if is_slow(shape, several(snap, policy)) or over_own_limit(snap, trial, queue, shape.sums):
        return None
    found = place(snap, trial, policy, shape)
    if not isinstance(found, Fitted):
        return None
    trial.charge(queue, shape.sums)
    return start(cycle, row, found.placement, found.reason)
