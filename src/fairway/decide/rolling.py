"""Rolling quotas: whose queue has spent its GPU time of the last hours or days waits until enough of it is old."""

from collections.abc import Iterator

import numpy as np

from fairway.model.job import PriorityClass
from fairway.model.plan import Unplaced
from fairway.model.reasons import OverRolling
from fairway.state.columns import Bools
from fairway.state.snapshot import Snapshot


def spent(snap: Snapshot) -> Bools:
    """(G,) groups whose jobs may not start because of a rolling quota: those that need GPUs and are not CRITICAL."""
    groups, queues = snap.groups, snap.queues
    out = [row for row in queues.rolling if queues.exhausted(row, snap.now) == row]
    if not out:
        return np.zeros(groups.height, np.bool_)
    queue = groups.queue[: groups.height]
    below: Bools = np.any(np.isin(queues.path, out), axis=1)
    needs = groups.shapes.sums[groups.shape[: groups.height], 2] > 0
    critical = np.array([cls == PriorityClass.CRITICAL for _, _, cls, *_ in groups.keys], np.bool_)
    return below[queue] & needs & ~critical


def refusals(snap: Snapshot) -> Iterator[Unplaced]:
    """What is to be told to the first job of every group that would be tried now, and may not start."""
    groups, queues, jobs = snap.groups, snap.queues, snap.jobs
    closed = spent(snap)
    if not closed.any():
        return
    tried = ~groups.blocked[: groups.height] & (groups.pending[: groups.height] > 0)
    for group in np.flatnonzero(closed & tried).tolist():
        row = queues.exhausted(int(groups.queue[group]), snap.now)
        if row is None:
            continue
        milli, since = int(queues.used[row, 2]), int(queues.averaged_at[row])
        spending = queues.rolling[row]
        used, frees = spending.spent(milli, since, snap.now), spending.frees_at(milli, since, snap.now)
        most, period = spending.quota.most, spending.quota.period
        reason = OverRolling(queues.id_of(row), used, most, period, frees, snap.now)
        waiting = np.flatnonzero(jobs.in_line[: jobs.height] & (jobs.group[: jobs.height] == group))
        if reason != groups.limit_reason[group] and len(waiting):
            yield Unplaced(jobs.id_of(int(waiting[jobs.ordinal[waiting].argmin()])), reason)
