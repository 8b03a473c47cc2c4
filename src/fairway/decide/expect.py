"""When waiting jobs will start, as ranges: the line is played forward again and again, with run times drawn each time.

In each play what runs ends after a time drawn from its forecast (``forecast``: conditional on how long it has run),
and whoever waits takes the room in the order of the line as it stands now, and runs for a time drawn likewise. The
start of a job would be half the time before the p50 of its plays, and nine times of ten before their p90, if a play
knew of who will be submitted ahead of it meanwhile, of fair shares, of short work in reserved room, and of run times
longer than any before. It does not: what people are told is corrected by what came of earlier ranges (``calibrate``).
Where the line is too long to be played, a job is told how long such jobs (queue and class, shape) have stood in line
lately. ``bench.starts`` measures how often the ranges hold.
"""

import heapq
from collections.abc import Sequence

import numpy as np

from fairway.decide import forecast, order
from fairway.decide.admit import over_limit
from fairway.decide.booked import BookedRoom, keeps
from fairway.decide.gang import Fitted, place
from fairway.decide.reserve import give_back, withhold
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.model.reasons import Range
from fairway.model.time import NEVER, Instant
from fairway.state.columns import Floats, Ints
from fairway.state.history import pace
from fairway.state.jobs import placed_sums
from fairway.state.snapshot import Snapshot, Trial

PLAYS, LEAST_PLAYS = 24, 8
LOOKS = 1 << 18
"""Nodes that all plays together may look at: a placement looks at all of them, and costs as much as ``LEAST``."""
LEAST = 128
MOST_AHEAD = 1_000
"""Jobs ahead in line beyond which nobody can say when a job starts."""
MOST_RUNNING = 20_000
"""Live jobs beyond which drawing when they end takes longer than anybody may keep the loop waiting."""
MOST_TURNS = 300
"""Instants at which something ends that one play looks at, before whoever still waits is taken to wait for long."""


def starts(
    snap: Snapshot, policy: Policy, wanted: Sequence[int], rng: np.random.Generator, looks: int = LOOKS
) -> dict[int, Range | None]:
    """When each of these waiting jobs (rows) is expected to start, not corrected yet; None where that is beyond what
    can be seen with so many looks at nodes and nobody has waited yet."""
    played = _played(snap, policy, wanted, rng, looks)
    unseen = [row for row, seen in played.items() if seen is None]
    return played | (experience(snap, unseen) if unseen else {})


def experience(snap: Snapshot, wanted: Sequence[int]) -> dict[int, Range | None]:
    """When jobs start that stand in line for as long as such jobs did before."""
    jobs, groups, rows = snap.jobs, snap.groups, np.array(wanted, np.int64)
    kinds: list[int] = []
    for row in wanted:
        group = groups.group(int(jobs.group[row]))
        kinds.append(snap.history.row_of_wait(snap.queues.id_of(group.queue), group.cls, group.shape))
    waited = np.maximum(snap.now - jobs.queued_at[rows], 0).astype(np.float64)
    span = forecast.waits(snap.history, np.array(kinds, np.int64), waited)
    p50, p90 = forecast.instants(snap.now, span.p50), forecast.instants(snap.now, span.p90)
    return {
        row: Range(Instant(int(p50[at])), Instant(int(p90[at]))) if span.known[at] else None
        for at, row in enumerate(wanted)
    }


def _played(
    snap: Snapshot, policy: Policy, wanted: Sequence[int], rng: np.random.Generator, looks: int
) -> dict[int, Range | None]:
    if int(snap.queues.running[: snap.queues.height].sum()) > MOST_RUNNING:
        return dict.fromkeys(wanted)
    line = order.in_order(snap, policy, np.flatnonzero(snap.jobs.in_line[: snap.jobs.height]))
    last = int(np.flatnonzero(np.isin(line, list(wanted))).max(initial=-1)) + 1
    if not last or last > MOST_AHEAD:
        return dict.fromkeys(wanted)
    found: dict[int, list[int]] = {row: [] for row in wanted}
    left = looks // max(snap.nodes.height, LEAST)
    for count in range(PLAYS):
        play = _Play(snap, policy, line[:last], rng, left)
        began = play.run(set(wanted))
        left = play.left
        if left <= 0:
            if count < LEAST_PLAYS:
                return dict.fromkeys(wanted)
            break
        for row, seen in found.items():
            seen.append(began.get(row, NEVER))
    return {row: _range(seen) for row, seen in found.items()}


def _range(seen: list[int]) -> Range | None:
    """The quantiles of sampled instants, by the rank that bounds the next one; None where they never come."""
    seen.sort()
    p50, p90 = (seen[min(int(np.ceil(q * (len(seen) + 1))), len(seen)) - 1] for q in (0.5, 0.9))
    return None if p90 >= NEVER else Range(Instant(p50), Instant(p90))


class _Play:
    """One future. ``left`` is how many placements may still be tried."""

    def __init__(self, snap: Snapshot, policy: Policy, line: Ints, rng: np.random.Generator, left: int) -> None:
        self.left = left
        self._snap, self._policy, self._trial = snap, policy, Trial(snap)
        self._line: list[int] = line.tolist()
        jobs = snap.jobs
        live = np.flatnonzero(jobs.sums[: jobs.height].any(axis=1))
        lasts = forecast.running(snap.history, jobs, live, snap.now, _draw(rng, len(live))).drawn
        self._lasts: Floats = forecast.pending(snap.history, jobs, line, _draw(rng, len(line))).drawn
        self._agenda: list[tuple[int, int, Placement]] = []
        for row, end in zip(live.tolist(), forecast.instants(snap.now, lasts).tolist(), strict=True):
            self._agenda.append((end, row, jobs.placement[row]))
        held = np.array(snap.held, np.int64)
        promised = forecast.pending(snap.history, jobs, held, _draw(rng, len(held))).drawn
        for row, end in zip(snap.held, forecast.instants(snap.now, promised).tolist(), strict=True):
            hold = jobs.hold[row]
            if hold is not None:
                self._take(row, hold.placement, 1)
                self._agenda.append((end, row, hold.placement))
        heapq.heapify(self._agenda)
        self._room = BookedRoom(snap, self._trial, policy) if keeps(snap, policy) else None
        for booked in snap.bookings.table.values():
            heapq.heappush(self._agenda, (booked.booking.end, -1, ()))
        self._kept = {jobs.row_of[job]: reserved for job, reserved in snap.reserved.items()}
        self._parts = {row: withhold(snap, self._trial, reserved) for row, reserved in self._kept.items()}
        self._shapes: list[int] = snap.groups.shape[jobs.group[line]].tolist()
        self._refused: set[int] = set()
        """Shapes that found no room, and nothing was freed since that could hold a task of theirs."""

    def run(self, wanted: set[int]) -> dict[int, int]:
        """When jobs of the line start, by row, until all that are wanted have."""
        began: dict[int, int] = {}
        now, missing = int(self._snap.now), set(wanted)
        for _ in range(MOST_TURNS):
            for row in self._walk(now):
                began[row] = now
                missing.discard(row)
            if not missing or self.left <= 0 or not self._agenda or self._agenda[0][0] >= NEVER // 8:
                break
            now = self._agenda[0][0]
            freed = list[int]()
            while self._agenda and self._agenda[0][0] == now:
                _, row, placement = heapq.heappop(self._agenda)
                if row >= 0:
                    self._take(row, placement, -1)
                    freed += [self._snap.nodes.row_of[task.node] for task in placement]
            self._gain(freed)
        return began

    def _gain(self, freed: list[int]) -> None:
        """These nodes have room again: shapes that may fit there are tried again; where room is booked, all are."""
        if self._room is not None or not self._refused:
            self._refused.clear()
        elif freed:
            trial = self._trial
            fits = self._snap.groups.shapes.fitting(
                np.maximum(trial.free[freed], 0), trial.idle[freed], trial.share_max[freed]
            )
            self._refused = {shape for shape in self._refused if not fits[shape]}

    def _walk(self, now: int) -> list[int]:
        """Everybody in line, in order, into the room there is: rows of those that start."""
        snap, jobs, started, refused = self._snap, self._snap.jobs, list[int](), set[object]()
        for at, row in enumerate(self._line):
            shape: object = self._shapes[at]
            if shape in self._refused and row not in self._parts:
                continue
            group = snap.groups.group(int(jobs.group[row]))
            shape = shape if self._room is None else (shape, self._room.close_at(group.queue, group.shape, now))
            kept = self._parts.pop(row, None)
            if kept is not None:
                give_back(self._trial, kept)
            elif shape in refused or over_limit(snap, self._trial, group.queue, group.shape.sums):
                continue
            self.left -= 1
            outcome = place(snap, self._trial, self._policy, group.shape)
            if not isinstance(outcome, Fitted):
                refused.add(shape)
                if kept is not None:
                    self._parts[row] = withhold(snap, self._trial, self._kept[row])
                elif self._room is None:
                    self._refused.add(self._shapes[at])
                continue
            if kept is not None:
                self._refused.clear()  # what was kept beyond what it takes is for everybody
            self._trial.charge(group.queue, placed_sums(jobs.job(row), outcome.placement))
            slower = max(pace(jobs.job(row), outcome.placement, snap.nodes), 1e-6)
            end = int(forecast.instants(now, self._lasts[at : at + 1] / slower)[0])
            heapq.heappush(self._agenda, (end, row, outcome.placement))
            self._line[at] = -1
            started.append(row)
        kept = [at for at, row in enumerate(self._line) if row >= 0]
        self._line, self._lasts = [self._line[at] for at in kept], self._lasts[kept]
        self._shapes = [self._shapes[at] for at in kept]
        return started

    def _take(self, row: int, placement: Placement, sign: int) -> None:
        self._trial.put(row, placement, sign)
        cpu, memory, gpu = placed_sums(self._snap.jobs.job(row), placement)
        self._trial.charge(int(self._snap.jobs.queue[row]), (sign * cpu, sign * memory, sign * gpu))


def _draw(rng: np.random.Generator, count: int) -> Floats:
    """Quantiles to draw at, strictly between 0 and 1."""
    return rng.uniform(0.001, 0.999, count)
