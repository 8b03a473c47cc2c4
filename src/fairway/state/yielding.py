"""Who waits because it had to stop for another: its own reason, until that other one has ended.

``ClusterState.yielding`` names the victims of each job, so that its end costs no more than they are. A job may be named
there that waits for something else by now, or runs again; what counts is its reason.
"""

from fairway.model.ids import JobId
from fairway.model.job import Priority
from fairway.model.reasons import Yielding
from fairway.state.cluster import ClusterState


def yield_to(state: ClusterState, row: int, by: JobId, priority: Priority) -> None:
    """A job has stopped for another, if that is still there."""
    if by in state.jobs.row_of:
        state.jobs.reason[row] = Yielding(by, priority)
        remember(state, row)


def remember(state: ClusterState, row: int) -> None:
    """Name a job among those that yield, if that is its reason."""
    reason = state.jobs.reason[row]
    if isinstance(reason, Yielding):
        state.yielding.setdefault(reason.to, {})[state.jobs.id_of(row)] = None


def yield_no_more(state: ClusterState, to: JobId) -> None:
    """A job has ended: whoever waits because of it waits as all do from now on."""
    for job in state.yielding.pop(to, ()):
        row = state.jobs.row_of.get(job)
        reason = None if row is None else state.jobs.reason[row]
        if row is not None and isinstance(reason, Yielding) and reason.to == to:
            state.jobs.reason[row] = None
            state.news.jobs[job] = None
