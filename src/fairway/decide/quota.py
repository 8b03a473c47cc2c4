"""What a guaranteed quota covers, and what is borrowed beyond it.

A queue's *guard* is the nearest queue from it upwards that has a quota: its quota covers what is used there. What is
used beyond it, and all that is used where there is no guard, is borrowed.
"""

from typing import Any

import numpy as np

from fairway.state.columns import Bools, Ints
from fairway.state.snapshot import Snapshot, Trial


def covered(queue: int, sums: tuple[int, ...], quotas: tuple[Any, ...]) -> bool:
    """Whether a queue may take ``sums`` more within the quota that covers it; ``quotas`` is (guard (Q,), used (Q, 3),
    quota (Q, 3)).

    Only resources that the job needs and the quota names count; a job that needs none of these is not covered.
    """
    guard, used, quota = quotas
    by = int(guard[queue])
    if by < 0:
        return False
    named = [c for c, need in enumerate(sums) if need > 0 and quota[by, c] >= 0]
    return bool(named) and all(used[by, c] + sums[c] <= quota[by, c] for c in named)


def covers(snap: Snapshot, trial: Trial, sums: tuple[int, ...], queues: Ints) -> Bools:
    """(R,) ``covered`` of each of these queues, as things stand on a trial."""
    need, guard = np.array(sums, np.int64), snap.queues.guard[queues]
    found = guard >= 0
    if found.any():
        quota = snap.queues.quota[guard]
        named = (need > 0) & (quota >= 0)
        within = ~named | (trial.used[guard] + need <= quota)
        found &= named.any(axis=1) & within.all(axis=1)
    return found


def borrows(sums: Ints, used: Ints, quota: Ints) -> bool:
    """Whether a queue that uses ``used`` would still use its whole ``quota`` without ``sums``, in a resource that the
    quota names and these need; (3,) each."""
    for some, has, is_its_own in zip(sums.tolist(), used.tolist(), quota.tolist(), strict=True):
        if some > 0 and is_its_own >= 0 and has - some >= is_its_own:
            return True
    return False


class Lent:
    """What queues have borrowed and may lose, as jobs are taken from them one by one."""

    def __init__(self, snap: Snapshot, used: Ints | None = None) -> None:
        self._queues, self._jobs = snap.queues, snap.jobs
        self._used: Ints = (snap.queues.used[: snap.queues.height] if used is None else used).copy()
        self._snap = snap

    def copy(self) -> "Lent":
        """The same, to take from on trial."""
        return Lent(self._snap, self._used)

    def leave(self, row: int) -> None:
        """A job leaves, whoever asked for it."""
        self._used[self._queues.above[int(self._jobs.queue[row])]] -= self._jobs.sums[row]

    def take(self, row: int) -> bool:
        """Take a job away, unless its queue is guaranteed what it uses; whether it was taken."""
        if self.may(row):
            self.leave(row)
            return True
        return False

    def may(self, row: int) -> bool:
        """Whether a job could be taken away now."""
        guard = int(self._queues.guard[int(self._jobs.queue[row])])
        return guard < 0 or borrows(self._jobs.sums[row], self._used[guard], self._queues.quota[guard])
