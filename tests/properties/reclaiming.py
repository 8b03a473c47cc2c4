"""4. *Guaranteed quota is always reclaimable.*

Let a job wait that its queue's quota covers: with it, the nearest queue upwards that has a quota uses no more than
that. If there is a set of running jobs that may be taken away, without which the job fits (tried in every way there is,
``books.fits``), then as soon as everything is decided it runs, or room is held for it. At once: neither ``protect`` nor
budgets bind what is taken back.

A set may be taken away when none of its jobs

- is critical: what critical work has it keeps;
- is of the queue whose quota covers the waiting job: a quota is shared by those below it, not fought over;
- is needed by its own queue's quota: without the whole set, and what is stopping, its queue still uses all of it, in a
  resource that the quota names and the job uses. So a quota is had back down to the size of jobs.

It need not be so, by design, while

- a limit of a queue upwards, or a rolling quota that has been spent, keeps the job from starting at all;
- the set is larger than ``max_victims`` allows for one job;
- what is stopping anyway is enough: a job within its quota is among the first in line when that has stopped;
- the job has several roles: they are placed one after the other, greedily;
- the job keeps apart from others: those that leave are in its way until they have left;
- others have room kept for them, ahead of it in line: by a reservation, a booking of a queue, as nodes for large jobs,
  or as what a queue does not lend.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations

from fairway.model.ids import JobId, QueueId
from fairway.model.policy import Policy
from tests.properties.books import Books, Entry, Sums, amounts, fits, placed_sums

MOST_SETS = 512
"""Sets that are tried for one job."""


def unclaimed(books: Books, policy: Policy) -> Iterator[str]:
    """Promise 4, once everything is decided."""
    used = books.used()
    if not any(any(amounts(books.queue(name).quota)) for name in used):
        return
    asked: set[object] = set()
    for entry in books.entries.values():
        guard = books.covered(entry.job, used) if entry.in_line else None
        kind = (entry.job.roles, entry.job.where, entry.job.queue)
        if guard is None or kind in asked or not _may_start(books, entry, used):
            continue
        asked.add(kind)
        taken = _enough(books, entry, guard, policy.max_victims)
        if taken is not None:
            yield f"4: job {entry.id} waits within the quota of {guard}, though {sorted(taken)} may be taken away"


def _may_start(books: Books, entry: Entry, used: Mapping[QueueId, Sums]) -> bool:
    job = entry.job
    plain = len(job.roles) == 1 and not job.where.apart
    return plain and books.within_limits(job, used) and not books.spent(job)


def _enough(books: Books, entry: Entry, guard: QueueId, most: int) -> tuple[JobId, ...] | None:
    """Jobs that may be taken away together so that one fits; None when there are none."""
    used = books.used(stopping=False)
    able = [
        other
        for other in books.entries.values()
        if other.stays and not other.critical and books.guard(other.job.queue) != guard
    ]
    if not _fits_without(books, entry, able) or _fits_without(books, entry, ()):
        return None
    tried = 0
    for size in range(len(able), -1, -1):
        if size > most:
            continue
        for some in combinations(able, size):
            tried += 1
            if tried > MOST_SETS:
                return None
            if _allowed(books, some, used) and _fits_without(books, entry, some):
                return tuple(other.id for other in some)
    return None


def _fits_without(books: Books, entry: Entry, some: list[Entry] | tuple[Entry, ...]) -> bool:
    gone = [other.id for other in some]
    nodes = books.open_nodes(entry.job)
    boxes = books.boxes(nodes, gone=gone, stopping=False, kept_for_others=entry.id)
    return bool(fits(entry.job, boxes, books.company(gone=gone)))


def _allowed(books: Books, some: tuple[Entry, ...], used: Mapping[QueueId, Sums]) -> bool:
    """Whether every queue still uses its whole quota without these, in something that each of its jobs uses."""
    left: dict[QueueId, Sums] = {}
    guards = [books.guard(other.job.queue) for other in some]
    for other, guard in zip(some, guards, strict=True):
        if guard is not None:
            has = left.setdefault(guard, used[guard])
            sums = placed_sums(other.job, other.placement)
            left[guard] = (has[0] - sums[0], has[1] - sums[1], has[2] - sums[2])
    for other, guard in zip(some, guards, strict=True):
        if guard is None:
            continue
        quota, sums, has = amounts(books.queue(guard).quota), placed_sums(other.job, other.placement), left[guard]
        if not any(sums[c] and quota[c] and has[c] >= quota[c] for c in range(3)):
            return False
    return True
