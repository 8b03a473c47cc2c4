"""Room that queues have booked, and nodes that are kept for large jobs, in one decision: nobody else finds it on the
trial, but for those that may.

What is booked is taken off the trial, whether it is free or not: a device that is in use then counts below zero, so
that it is not free to others either when whoever runs there is taken for gone. For a job of its queue the room is given
back while the job is placed; for any other only before the start, if the job will have ended by then, nine times of
ten, or may be asked to yield; and of what is booked ``flexible``, if it may be asked to yield.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fairway.decide import forecast
from fairway.decide.admit import over_limit
from fairway.decide.gang import Fitted, Short, place
from fairway.model.booking import Booking, KeptForLarge, KeptForQueue
from fairway.model.ids import BookingId
from fairway.model.job import PriorityClass
from fairway.model.phases import JobPhase
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE
from fairway.state.bookings import Columns, owners, owns
from fairway.state.columns import Bools, Ints
from fairway.state.groups import Shape
from fairway.state.history import pace
from fairway.state.lending import Lending
from fairway.state.snapshot import Snapshot, Takings, Trial
from fairway.state.tables import NO_LIMIT

MOST_TRIED = 256
"""Waiting jobs that are tried in booked room of others in one decision."""
MOST_LOOKED = 4_096
"""Of how many it is asked how long they would run."""

Names = frozenset[BookingId]
LARGE = BookingId("")
"""Stands for the nodes that are kept for large jobs, among the names of bookings."""


@dataclass(frozen=True, slots=True)
class _Closed:
    """What several bookings have together: their nodes (U,), which devices of each (U, D), and which nodes are theirs
    as a whole (U,)."""

    rows: Ints
    devices: Bools
    whole: Bools


class BookedRoom:
    """The booked room of one decision, on its trial; all of it is open until it is closed for the first time."""

    def __init__(
        self, snap: Snapshot, trial: Trial, policy: Policy, columns: Mapping[BookingId, Columns] | None = None
    ) -> None:
        self.snap, self.trial, self.policy = snap, trial, policy
        booked = snap.bookings.columns(snap.nodes) if columns is None else columns
        self._bookings: dict[BookingId, Booking] = {name: snap.bookings.table[name].booking for name in booked}
        self.columns = {**booked, **_for_large(snap, policy, booked)}
        self._all: Names = frozenset(self.columns)
        self._now_closed: Names = frozenset()
        self._closed: dict[Names, _Closed] = {}
        self._foreign: dict[tuple[int, bool], Names] = {}
        self._there: dict[BookingId, tuple[Bools, Bools]] = {}
        self._taken: Takings | None = None

    # -- opening and closing ----------------------------------------------------------------------------------------

    def close(self, names: Names | None = None) -> None:
        """Close these bookings, by default all of them, and open the others."""
        names = self._all if names is None else names
        if names == self._now_closed:
            return
        if self._taken is not None:
            self.trial.shift(self._taken.reverse())
        closed, self._now_closed, self._taken = self._together(names), names, None
        if len(closed.rows):
            self._taken = Takings(closed.rows, self._kept(closed), closed.devices * WHOLE)
            self.trial.shift(self._taken)

    def open_for(self, queue: int, shape: Shape | None = None) -> None:
        """Open what a queue, or one above it, has booked, and what is kept for a job of this shape."""
        self.close(self.foreign(queue, shape))

    def foreign(self, queue: int, shape: Shape | None = None) -> Names:
        """What is kept for others than a job of a queue and a shape."""
        large = shape is not None and self.large(shape)
        found = self._foreign.get((queue, large))
        if found is None:
            own = {name for name, each in self._bookings.items() if owns(self.snap.queues, queue, each)}
            own |= {LARGE} if large else set()
            found = self._foreign[queue, large] = self._all - own
        return found

    def close_at(self, queue: int, shape: Shape, at: int) -> Names:
        """Close what is kept for others than such a job, but for bookings that are over ``at`` that instant."""
        over = frozenset(name for name, each in self._bookings.items() if each.end <= at)
        names = self.foreign(queue, shape) - over
        self.close(names)
        return names

    def others_than(self, shape: Shape) -> Names:
        """All that is kept, but for the nodes that are kept for jobs of this shape."""
        return self._all - {LARGE} if self.large(shape) else self._all

    def large(self, shape: Shape) -> bool:
        """Whether nodes are kept for jobs of this shape."""
        return LARGE in self.columns and shape.sums[2] >= self.policy.backfill.large.gpus * WHOLE

    def _together(self, names: Names) -> _Closed:
        found = self._closed.get(names)
        if found is None:
            parts = [self.columns[name] for name in sorted(names)]
            height = self.snap.nodes.height
            there, whole = np.zeros(self.trial.device_free.shape, np.bool_), np.zeros(height, np.bool_)
            some = np.zeros(height, np.bool_)
            for part in parts:
                there[part.node, part.device] = whole[part.rows[part.whole]] = some[part.rows] = True
            rows = np.flatnonzero(some)
            devices = there[rows]
            found = self._closed[names] = _Closed(rows, devices, whole[rows])
        return found

    def _kept(self, closed: _Closed) -> Ints:
        """(U, 4) what is kept of CPU and memory: all that there is of whole nodes; else the part that belongs to the
        devices that are not in use."""
        nodes, rows = self.snap.nodes, closed.rows
        idle = (np.clip(self.trial.device_free[rows], 0, WHOLE) * closed.devices).sum(axis=1)
        part = idle / np.maximum(nodes.gpu_count[rows] * WHOLE, 1)
        share = (nodes.total[rows] * part.reshape(-1, 1)).astype(np.int64)
        return np.where(closed.whole.reshape(-1, 1), nodes.total[rows], share)

    # -- who may be there -------------------------------------------------------------------------------------------

    @property
    def groups(self) -> Bools:
        """(G,) groups for whose jobs anything is kept."""
        groups, mine = self.snap.groups, np.zeros(self.snap.queues.height, np.bool_)
        for booking in self._bookings.values():
            mine |= owners(self.snap.queues, booking)
        found = mine[groups.queue[: groups.height]]
        if LARGE in self.columns:
            found |= groups.shapes.sums[groups.shape[: groups.height], 2] >= self.policy.backfill.large.gpus * WHOLE
        return found

    def started(self) -> dict[int, list[BookingId]]:
        """What has begun, by the row of the queue that it is for."""
        found: dict[int, list[BookingId]] = {}
        for name, booking in self._bookings.items():
            if booking.start <= self.snap.now:
                found.setdefault(self.snap.queues.row_of[booking.queue], []).append(name)
        return found

    def only(self, names: Iterable[BookingId]) -> Trial:
        """A trial like this one with nothing on it but what these bookings have, as far as no other has it too."""
        self.close(self._all - frozenset(names))
        own = self._together(frozenset(names))
        seen, inner = Trial(self.snap), self.trial
        mask = np.zeros(inner.device_free.shape, np.bool_)
        mask[own.rows] = own.devices
        rest = np.ones(len(inner.idle), np.bool_)
        rest[own.rows] = False
        seen.write_untold()
        seen.free[:] = inner.free
        seen.free[rest] = np.minimum(inner.free[rest], 0)
        seen.device_free[:] = np.where(mask, inner.device_free, np.minimum(inner.device_free, 0))
        seen.idle[:] = (seen.device_free == WHOLE).sum(axis=1)
        seen.share_max[:] = seen.device_free.max(axis=1, initial=0)
        seen.gpu_free[:] = np.maximum(seen.device_free, 0).sum(axis=1)
        seen.used[:] = inner.used
        seen.company.tasks = {tag: dict(rows) for tag, rows in inner.company.tasks.items()}
        seen.lending = Lending(self.snap.nodes, self.snap.queues, seen.used) if seen.lending is not None else None
        self.close()
        return seen

    def lets_in(self, row: int, placement: Placement) -> bool:
        """Whether a waiting job may start on a placement that was decided before: nobody else has booked it since."""
        rows = np.array([row], np.int64)
        ends = forecast.instants(self.snap.now, forecast.pending(self.snap.history, self.snap.jobs, rows).p90)
        closed = self._closed_to(row, int(ends[0]))
        return not any(self.touches(name, placement) for name in closed)

    def touches(self, name: BookingId, placement: Placement) -> bool:
        """Whether a placement has a device of a booking, or is on a node that is its as a whole."""
        row_of = self.snap.nodes.row_of
        if name not in self._there:
            column = self.columns[name]
            devices, whole = np.zeros(self.trial.device_free.shape, np.bool_), np.zeros(len(self.trial.idle), np.bool_)
            devices[column.node, column.device] = whole[column.rows[column.whole]] = True
            self._there[name] = devices, whole
        devices, whole = self._there[name]
        return any(
            whole[row_of[task.node]] or devices[row_of[task.node], list(task.devices)].any() for task in placement
        )

    def others_on(self, name: BookingId) -> list[int]:
        """Rows of live jobs that are not stopping and run in room that is not kept for them; by submission."""
        nodes, jobs = self.snap.nodes, self.snap.jobs
        rows: list[int] = self.columns[name].rows.tolist()
        there = {jobs.row_of[job] for row in rows for job in nodes.attempts[row]}
        found = [
            row
            for row in there
            if jobs.phase_of(row) is not JobPhase.STOPPING
            and name in self.foreign(int(jobs.queue[row]), self.snap.shape_of(row))
            and self.touches(name, jobs.placement[row])
        ]
        return sorted(found, key=lambda row: int(jobs.ordinal[row]))

    def to_stop(self, name: BookingId) -> list[int]:
        """Rows of those that have to go now, as the booking begins soon, or has begun."""
        booking = self._bookings[name]
        if self.snap.now < booking.drains:
            return []
        return [row for row in self.others_on(name) if not (booking.flexible and may_yield(self.snap, row))]

    def taken_by(self, row: int, queue: int) -> Booking | None:
        """In which booking of a queue's own a job of others runs; None for one that is on a node for large jobs."""
        placement = self.snap.jobs.placement[row]
        own = sorted(name for name in self._all - self.foreign(queue) if self.touches(name, placement))
        return self._bookings[own[0]] if own else None

    def guests(self, queue: int, shape: Shape, taken: set[int]) -> list[int]:
        """Rows of those that use what is kept for a job and leave when it needs it."""
        mine = self._all - self.foreign(queue, shape)
        own = [name for name in sorted(mine & self._bookings.keys()) if self._bookings[name].flexible]
        own = [name for name in own if self._bookings[name].start <= self.snap.now]
        own += [LARGE] if LARGE in mine and self.policy.backfill.large.lend else []
        rows = dict.fromkeys(row for name in own for row in self.others_on(name))
        return [row for row in rows if row not in taken and may_yield(self.snap, row)]

    def _closed_to(self, row: int, end: int) -> Names:
        """The bookings in whose room a waiting job that would end at ``end`` may not run."""
        snap, may = self.snap, may_yield(self.snap, row)
        closed: set[BookingId] = set()
        for name in self.foreign(int(snap.jobs.queue[row]), self.snap.shape_of(row)):
            if name == LARGE:
                rule = self.policy.backfill.large
                if end > snap.now + rule.short and not (rule.lend and may):
                    closed.add(name)
                continue
            booking = self._bookings[name]
            early = snap.now < booking.drains and leaves_in_time(snap, row, booking)
            worth = booking.drains - snap.now >= self.policy.preemption.protect
            in_time = end <= booking.start or (may and worth)
            if not (early and in_time) and not (booking.flexible and may):
                closed.add(name)
        return frozenset(closed)

    # -- others in booked room --------------------------------------------------------------------------------------

    def lend(self, refused: Ints) -> Iterator[tuple[int, Fitted]]:
        """Jobs of others that run in booked room until it is needed, taken off the trial: (place in ``refused``,
        where). ``refused`` are rows of jobs that found no room, in order."""
        snap = self.snap
        lending = any(snap.now < each.drains or each.flexible for each in self._bookings.values())
        if not (lending or LARGE in self.columns) or not len(refused):
            return
        places = np.flatnonzero(self._fit_there()[snap.groups.shape[snap.jobs.group[refused]]])[:MOST_LOOKED]
        lasts = forecast.pending(snap.history, snap.jobs, refused[places]).p90
        ends = forecast.instants(snap.now, lasts)
        tried, hopeless = 0, set[tuple[int, Names]]()
        for at, index in enumerate(places.tolist()):
            row = int(refused[index])
            closed, group = self._closed_to(row, int(ends[at])), int(snap.jobs.group[row])
            key = (int(snap.groups.shape[group]), closed)
            if closed == self._all or key in hopeless:
                continue
            tried += 1
            if tried > MOST_TRIED:
                break
            fitted = self._lend_to(row, closed, float(lasts[at]))
            if fitted is None:
                hopeless.add(key)
            else:
                yield index, fitted
        self.close()

    def _lend_to(self, row: int, closed: Names, lasts: float) -> Fitted | None:
        snap, trial, jobs = self.snap, self.trial, self.snap.jobs
        group = snap.groups.group(int(jobs.group[row]))
        if over_limit(snap, trial, group.queue, group.shape.sums) is not None:
            return None
        self.close(closed)
        mark = trial.mark()
        outcome = place(snap, trial, self.policy, group.shape)
        if isinstance(outcome, Short):
            return None
        slower = max(pace(jobs.job(row), outcome.placement, snap.nodes), 1e-6)
        end = int(forecast.instants(snap.now, np.array([lasts / slower]))[0])
        if any(self.touches(name, outcome.placement) for name in self._closed_to(row, end)):
            trial.rollback(mark)
            return None
        trial.count_in(row, outcome.placement)
        return outcome

    def _fit_there(self) -> Bools:
        """(S,) the shapes of which a task would fit a node with booked room, were it not booked."""
        before, rows = self._now_closed, self._together(self._all).rows
        self.close(frozenset())
        trial = self.trial
        free = np.maximum(trial.free[rows], 0)
        found = self.snap.groups.shapes.fitting(free, trial.idle[rows], trial.share_max[rows])
        self.close(before)
        return found

    # -- reasons ----------------------------------------------------------------------------------------------------

    def unless_kept(self, queue: int, shape: Shape) -> KeptForQueue | KeptForLarge | None:
        """Why a job that found no room waits, when it would have found some but for what is kept for others."""
        foreign = self.foreign(queue, shape)
        if not foreign:
            return None
        self.close(frozenset())
        mark = self.trial.mark()
        outcome = place(self.snap, self.trial, self.policy, shape)
        self.trial.rollback(mark)
        self.close()
        met = [] if isinstance(outcome, Short) else [name for name in foreign if self.touches(name, outcome.placement)]
        if not met:
            return None
        booked = [self._bookings[name] for name in met if name != LARGE]
        if not booked:
            return KeptForLarge(str(shape), self.policy.backfill.large.gpus)
        first = min(booked, key=lambda each: (each.start, each.id))
        return KeptForQueue(str(shape), first.id, first.queue, first.start, first.end)


def keeps(snap: Snapshot, policy: Policy) -> bool:
    """Whether anything is kept from anybody."""
    return bool(snap.bookings.table) or policy.backfill.large.gpus > 0


def _for_large(snap: Snapshot, policy: Policy, booked: Mapping[BookingId, Columns]) -> dict[BookingId, Columns]:
    """The nodes that are kept for large jobs, less those that are booked, as if they were a booking of that name."""
    rule = policy.backfill.large
    if not rule.gpus:
        return {}
    rows = snap.bookings.large(snap.nodes, rule)
    rows = np.setdiff1d(rows, np.concatenate([np.zeros(0, np.int64), *(each.rows for each in booked.values())]))
    counts = snap.nodes.gpu_count[rows]
    device = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return {LARGE: Columns(np.repeat(rows, counts), device, rows, np.ones(len(rows), np.bool_))} if len(rows) else {}


def may_yield(snap: Snapshot, row: int) -> bool:
    """Whether a job may be asked to make room for who has booked it: it keeps checkpoints or is of the class that says
    so, and is neither critical nor a replica."""
    jobs = snap.jobs
    if jobs.cls[row] == PriorityClass.CRITICAL or jobs.estimate[row] < 0:
        return False
    return bool(jobs.checkpoints[row] or jobs.cls[row] == PriorityClass.PREEMPTIBLE)


def leaves_in_time(snap: Snapshot, row: int, booking: Booking) -> bool:
    """Whether a job that is told to stop when a booking's room is drained is gone at its start, whatever it does; or
    ends before by its ``max_runtime``."""
    job, jobs = snap.jobs.job(row), snap.jobs
    if job.grace <= booking.grace:
        return True
    began = int(jobs.started_at[row]) if jobs.phase_of(row).live else 0
    began = began or snap.now + booking.grace  # its executor has not said yet that it runs
    return bool(jobs.longest[row] < NO_LIMIT and began + jobs.longest[row] + job.grace <= booking.start)
