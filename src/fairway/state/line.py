"""Into the line and out of it: what keeps a pending job from being placed at all.

Four gates, in this order: somebody holds the job, other jobs must have ended first, it is too early, its array may not
have more elements at a time. A job that is not through them is ``WAITING`` with the first of them as its reason, and
costs a decision nothing. Each gate opens by an event that knows whom it concerns: a release, the end of a job
(``ClusterState.dependents``), a timer, an element that has left (``ArrayCount.waiting``).
"""

import heapq
from itertools import islice

from fairway.model.ids import JobId
from fairway.model.phases import Cause, JobPhase
from fairway.model.queue import TAKE_TURNS
from fairway.model.reasons import ArrayFull, Kept, Waiting, WaitingFor, WaitingUntil
from fairway.model.time import Instant
from fairway.state.cluster import KEEP_ENDED, ArrayCount, ClusterState
from fairway.state.jobs import PHASE_CODE
from fairway.state.reservations import drop_reservation

NAMED = 3
"""Dependencies that a reason names; the others are counted."""


def set_phase(state: ClusterState, row: int, phase: JobPhase) -> None:
    """Move a job to another phase that is not its end, and keep its queue's counts."""
    jobs, queues = state.jobs, state.queues
    was_live = jobs.is_live(row)
    jobs.phase[row] = PHASE_CODE[phase]
    if phase.live != was_live:
        queue, more = jobs.queue.item(row), -1 if was_live else 1
        queues.running[queue] += more
        queues.pending[queue] -= more
        state.news.queues[queues.id_of(queue)] = None
    state.news.jobs[jobs.id_of(row)] = None


def advance(state: ClusterState, row: int) -> None:
    """Put a pending job in line, at the place its submission gave it; or keep it out with the reason why."""
    gate = _gate(state, row)
    if gate is None:
        _enqueue(state, row)
        return
    jobs = state.jobs
    leave_line(state, row)
    _give_place(state, row)
    jobs.reason[row] = gate
    if isinstance(gate, WaitingUntil):
        state.set_timer(gate.until, "release", jobs.id_of(row), int(jobs.attempt[row]))
    elif isinstance(gate, ArrayFull):
        heapq.heappush(state.arrays[JobId(gate.array)].waiting, (int(jobs.ordinal[row]), jobs.id_of(row)))
    set_phase(state, row, JobPhase.WAITING)


def _gate(state: ClusterState, row: int) -> Waiting | None:
    """The first gate that is closed for a job; None when all are open."""
    jobs = state.jobs
    by, missing = jobs.kept_by[row], jobs.missing[row]
    if by is not None:
        return Kept(by)
    if missing:
        return waiting_for(missing)
    if jobs.release_at.item(row) > state.now:
        return _until(state, row)
    array = jobs.job(row).array
    if array is not None and not jobs.placed[row]:
        count = state.arrays[JobId(array.array)]
        if count.limit is not None and count.active >= count.limit:
            return ArrayFull(array.array, count.limit)
    return None


def waiting_for(missing: dict[JobId, bool]) -> WaitingFor:
    """The reason of a job that waits for others; ``missing`` says of each whether it did not succeed."""
    failed = next((job for job, hopeless in missing.items() if hopeless), None)
    named = tuple(islice(missing, NAMED))
    return WaitingFor(named, len(missing) - len(named), failed)


def _until(state: ClusterState, row: int) -> WaitingUntil:
    jobs = state.jobs
    until, last = Instant(int(jobs.release_at[row])), jobs.last_end[row]
    if last is None:
        return WaitingUntil(until, "not_before")
    unstarted = last.outcome.cause is Cause.START_FAILED and jobs.job(row).service is None
    counted = jobs.start_failures if unstarted else jobs.failures
    return WaitingUntil(until, "back_off", int(counted[row]))


def _enqueue(state: ClusterState, row: int) -> None:
    jobs = state.jobs
    if isinstance(jobs.reason[row], Waiting):
        jobs.reason[row] = None
    if not jobs.in_line.item(row) and jobs.hold[row] is None:  # one that is being resized has its room already
        jobs.in_line[row] = True
        state.groups.count(jobs.group.item(row), 1)
    if state.reserved or state.bookings or state.groups.large_from:
        # It may be short enough for room that is kept, where its equals are not.
        state.groups.wake_one(jobs.group.item(row))
    queue = jobs.queue.item(row)
    if (state.queues.spec[queue].discipline or state.policy.order.discipline) in TAKE_TURNS:
        state.lighter.add(queue)  # its turn may come before that of equals who have been refused
    _take_place(state, row)
    set_phase(state, row, JobPhase.QUEUED)


def leave_line(state: ClusterState, row: int) -> None:
    """Take a job out of the line, if it stands there; room that was kept for it is not any more."""
    jobs = state.jobs
    if state.reserved:
        drop_reservation(state, jobs.id_of(row))
    if jobs.in_line.item(row):
        jobs.in_line[row] = False
        state.groups.count(jobs.group.item(row), -1)


# -- arrays ---------------------------------------------------------------------------------------------------------


def join_array(state: ClusterState, row: int) -> None:
    """A job was submitted: count its array from its first element on."""
    array = state.jobs.job(row).array
    if array is not None and JobId(array.array) not in state.arrays:
        state.arrays[JobId(array.array)] = ArrayCount(array.size, array.max_running)


def leave_array(state: ClusterState, row: int, *, succeeded: bool) -> JobId | None:
    """A job has ended; returns the id of its array when that has ended with it."""
    array = state.jobs.job(row).array
    _give_place(state, row)
    if array is None:
        return None
    count = state.arrays[JobId(array.array)]
    count.ended += 1
    count.failed += not succeeded
    if count.ended < count.size:
        return None
    del state.arrays[JobId(array.array)]
    state.ended_arrays[JobId(array.array)] = count.failed
    if len(state.ended_arrays) > KEEP_ENDED:
        del state.ended_arrays[next(iter(state.ended_arrays))]
    return JobId(array.array)


def _take_place(state: ClusterState, row: int) -> None:
    array = state.jobs.job(row).array
    if array is not None and not state.jobs.placed[row]:
        state.jobs.placed[row] = True
        state.arrays[JobId(array.array)].active += 1


def _give_place(state: ClusterState, row: int) -> None:
    """An element is neither in line nor live any more: the next one that waits takes its place."""
    array = state.jobs.job(row).array
    if array is None or not state.jobs.placed[row]:
        return
    state.jobs.placed[row] = False
    count = state.arrays[JobId(array.array)]
    count.active -= 1
    while count.waiting and count.limit is not None and count.active < count.limit:
        _, job = heapq.heappop(count.waiting)
        other = state.jobs.row_of.get(job)
        if other is not None and isinstance(state.jobs.reason[other], ArrayFull):
            state.jobs.queued_at[other] = state.now
            advance(state, other)
