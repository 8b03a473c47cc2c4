"""Reservations: room that is kept for a blocked job from a time on, and what may run in it until then.

A job that waits is passed by smaller ones for as long as they find room, so a large one may wait for ever. The first
job that has waited for ``policy.backfill.after`` and is passed therefore gets a *reservation* (EASY, Lifka 1995; the
first ``depth`` of them with conservative backfill, Mu'alem and Feitelson 2001): the nodes where it fits first when
running work ends as forecast. Whoever stands behind it in line takes of that room nothing, unless it is forecast to be
gone before the reserved instant, nine times of ten. A reservation stays where it is, so that room only becomes freer:
when every job in it has ended, the one it is kept for starts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fairway.decide import forecast, near, order
from fairway.decide.admit import over_limit
from fairway.decide.gang import Fitted, Short, place
from fairway.model.ids import JobId
from fairway.model.plan import Action, Hold, Placement, Plan, Reserve, Start, Unreserve, placed_jobs
from fairway.model.policy import Policy
from fairway.model.reasons import KeptFree, NeverFits, Range
from fairway.model.time import NEVER, Instant
from fairway.state.columns import Bools, Ints
from fairway.state.groups import Shape
from fairway.state.history import pace
from fairway.state.jobs import task_need
from fairway.state.snapshot import Snapshot, Takings, Trial

LOOK_AT = 128
"""Nodes whose work is looked at for a reservation, those with most free first: all of a small cluster."""
MOST_TRIED = 256
"""Waiting jobs that are tried in kept room in one decision."""
SPARE = 4
"""So many of those that should have a reservation may turn out to fit at no time that can be foreseen."""
_NOTHING = (0, 0, 0, 0)

Part = tuple[int, tuple[int, ...], tuple[int, ...], int]
"""What is kept on a node: (row, flat, devices, milli of each)."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Jobs that hold room, by their forecast end: its instant of each, (R,), and the ``room`` it gives back then, which
    is that of the tasks from ``firsts[k]`` up to ``firsts[k + 1]``."""

    room: Takings
    firsts: Ints
    ends: Ints


def earliest(
    snap: Snapshot, trial: Trial, policy: Policy, shape: Shape, starting: Mapping[int, Placement]
) -> tuple[Placement, Range] | None:
    """Where and when a job of this shape fits first, on top of what is taken on the trial, if nobody else starts.

    The range is from other work ending at its p50 to its p90; ``starting`` is work that this plan starts, by row. None
    when it would not fit even then: what holds the room has no end, or is not there.
    """
    rows = _holders(snap, trial, shape)
    running: list[int] = rows.tolist()
    held = [*((row, snap.jobs.placement[row]) for row in running), *starting.items()]
    before = forecast.running(snap.history, snap.jobs, rows, snap.now)
    after = forecast.pending(snap.history, snap.jobs, np.fromiter(starting, np.int64, len(starting)))
    names = np.array([row for row, _ in held], np.int64)
    room = held_room(snap, held)
    found: list[tuple[Placement, int]] = []
    for lasts in (np.concatenate([before.p50, after.p50]), np.concatenate([before.p90, after.p90])):
        ends = forecast.instants(snap.now, lasts)
        by_end = np.lexsort((names, ends))
        by_end = by_end[ends[by_end] < NEVER // 8]
        first = first_fit(snap, trial, policy, shape, timeline(room, by_end, ends))
        if first is None:
            return None
        found.append(first)
    (placement, p50), (_, p90) = found
    return placement, Range(Instant(p50), Instant(max(p50, p90)))


def held_room(snap: Snapshot, held: Sequence[tuple[int, Placement]]) -> tuple[Takings, Ints]:
    """What jobs hold by their placements, task by task, and how many tasks each has, (R,)."""
    tasks = [(row, task) for row, placement in held for task in placement]
    return Takings.of(snap, tasks), np.array([len(placement) for _, placement in held], np.int64)


def timeline(held: tuple[Takings, Ints], by_end: Ints, ends: Ints) -> Timeline:
    """Those of the jobs in ``held``, as ``held_room`` has it, that ``by_end`` names, in its order."""
    room, counts = held
    rank = np.full(len(counts), len(counts), np.int64)
    rank[by_end] = np.arange(len(by_end))
    firsts = np.concatenate([[0], np.cumsum(counts[by_end])])
    tasks = np.argsort(np.repeat(rank, counts), kind="stable")[: firsts[-1]]
    return Timeline(room.some(tasks), firsts, ends[by_end])


def first_fit(
    snap: Snapshot, trial: Trial, policy: Policy, shape: Shape, timeline: Timeline
) -> tuple[Placement, int] | None:
    """The placement and instant of a job's first fit when others end in order; the trial is left as it was.

    By bisection: what has ended stays ended, so a job that fits once fits ever after. Each half is given back once.
    """
    start, count, firsts = trial.mark(), len(timeline.ends), timeline.firsts
    low, high, found = 0, count + 1, _fits(snap, trial, policy, shape)
    if found is not None:
        return found, snap.now
    given = 0
    while high - low > 1:
        middle = count if high > count else (low + high) // 2
        mark = trial.mark()
        trial.take_all(timeline.room.some(slice(firsts[given], firsts[middle])).reverse())
        fitting = _fits(snap, trial, policy, shape)
        if fitting is not None:
            found, high = fitting, middle
            trial.rollback(mark)
        elif middle == count:
            break
        else:
            low = given = middle
    trial.rollback(start)
    return None if found is None else (found, int(timeline.ends[high - 1]))


def withhold(snap: Snapshot, trial: Trial, reserved: Reserve) -> list[Part]:
    """Take what is free of a reservation's room off a trial; returns what was taken.

    Of flat resources that is what the job will need, though some may yet be freed: a little more than it takes.
    """
    parts: list[Part] = []
    job = snap.jobs.job(snap.jobs.row_of[reserved.job])
    for task in reserved.placement:
        node = snap.nodes.row_of[task.node]
        need = task_need(job, task)
        flat = tuple(max(min(want, have), 0) for want, have in zip(need, trial.free[node].tolist(), strict=True))
        if any(flat):
            parts.append((node, flat, (), 0))
            trial.take(*parts[-1])
        for device in task.devices:
            milli = min(task.gpu_milli, int(trial.device_free[node, device]))
            if milli > 0:
                parts.append((node, _NOTHING, (device,), milli))
                trial.take(*parts[-1])
    return parts


def give_back(trial: Trial, parts: Sequence[Part]) -> None:
    """Undo ``withhold``."""
    for node, flat, devices, milli in parts:
        trial.take(node, tuple(-x for x in flat), devices, -milli)


def heads(snap: Snapshot, policy: Policy, waiting: Ints, started: Ints) -> list[int]:
    """Rows of the jobs that should have a reservation, first in line first, and of some more for those among them that
    cannot have one: those that wait for room, have waited long and are passed by somebody who starts now, or have been.
    ``waiting`` are rows of jobs that found no room; those that never will are left out."""
    rule, jobs = policy.backfill, snap.jobs
    if rule.mode == "none" or not len(waiting):
        return []
    rows = waiting[jobs.queued_at[waiting] <= snap.now - rule.after]
    # Where jobs take turns, who ranks ahead needs no room kept: it takes that of others who run.
    rows = rows[~order.take_turns(snap, policy)[jobs.queue[rows]]]
    keys = _keys(snap, rows)
    passed = keys < _keys(snap, started).max(initial=-1)
    passed |= _among(snap, rows, [jobs.row_of[job] for job in snap.reserved])
    passed[passed] = ~_never(snap, rows[passed])
    rows, keys = rows[passed], keys[passed]
    most = _most(policy) + SPARE
    if len(rows) > most:
        first = np.argpartition(keys, most - 1)[:most]
        rows, keys = rows[first], keys[first]
    return rows[np.argsort(keys)].tolist()


def _most(policy: Policy) -> int:
    """How many reservations there may be."""
    return 1 if policy.backfill.mode == "easy" else policy.backfill.depth


def _never(snap: Snapshot, rows: Ints) -> Bools:
    """(R,) jobs that are told that they never fit."""
    of, reasons = snap.groups.shape[snap.jobs.group[rows]], snap.groups.shapes.reason
    never = np.zeros(len(reasons), np.bool_)
    never[of] = True
    for shape in np.flatnonzero(never).tolist():
        never[shape] = isinstance(reasons[shape], NeverFits)
    return never[of]


def _keys(snap: Snapshot, rows: Ints) -> Ints:
    """Class, then submission: reservations are for those who would wait longest, whatever orders the line."""
    return (snap.jobs.cls[rows] << 48) + snap.jobs.ordinal[rows]


def _holders(snap: Snapshot, trial: Trial, shape: Shape) -> Ints:
    """Rows of live attempts on the nodes that could hold a task of the shape and have most free."""
    nodes = snap.nodes
    most = max(LOOK_AT, 2 * sum(count for _, count, _ in shape.roles))
    rows = np.flatnonzero(near.could_host(snap, shape))
    if len(rows) > most:
        rank = np.lexsort((rows, -trial.free[rows, 0], -trial.gpu_free[rows]))
        rows = rows[rank[:most]]
    jobs = {job: None for row in rows.tolist() for job in nodes.attempts[row]}
    return np.array([snap.jobs.row_of[job] for job in jobs], np.int64)


def _fits(snap: Snapshot, trial: Trial, policy: Policy, shape: Shape) -> Placement | None:
    mark = trial.mark()
    outcome = place(snap, trial, policy, shape)
    trial.rollback(mark)
    return None if isinstance(outcome, Short) else outcome.placement


class Room:
    """The room that is kept in one decision, on its trial."""

    def __init__(self, snap: Snapshot, trial: Trial, policy: Policy) -> None:
        self.snap, self.trial, self.policy = snap, trial, policy
        self._kept: dict[JobId, list[Part]] = {}

    def keep(self, group: int) -> None:
        """A job of a group was refused: from here on in line nobody gets the room that is kept for jobs like it."""
        jobs = self.snap.jobs
        for job, reserved in self.snap.reserved.items():
            if jobs.group[jobs.row_of[job]] == group and job not in self._kept:
                self._kept[job] = withhold(self.snap, self.trial, reserved)

    def lend(self, refused: Ints) -> Iterator[tuple[int, Fitted]]:
        """Jobs that run in kept room and will have ended in time: (place in ``refused``, where), taken off the trial.
        ``refused`` are rows of jobs that found no room, in order."""
        gone: set[int] = set()
        for job in list(self._kept):
            reserved = self.snap.reserved[job]
            if reserved.expected.p50 <= self.snap.now:
                continue
            give_back(self.trial, self._kept[job])
            others = self._fit_there(reserved)[self.snap.groups.shape[self.snap.jobs.group[refused]]]
            others &= ~_among(self.snap, refused, [*gone, self.snap.jobs.row_of[job]])
            places = np.flatnonzero(others)
            for index, fitted in _short_ones(
                self.snap, self.trial, self.policy, refused[places], reserved.expected.p50
            ):
                gone.add(int(refused[places[index]]))
                yield int(places[index]), fitted
            self._kept[job] = withhold(self.snap, self.trial, reserved)

    def _fit_there(self, reserved: Reserve) -> Bools:
        """(S,) the shapes of which a task fits a node of a reservation: no other job that was refused fits now."""
        nodes, trial = self.snap.nodes, self.trial
        at = np.array([nodes.row_of[task.node] for task in reserved.placement], np.int64)
        return self.snap.groups.shapes.fitting(np.maximum(trial.free[at], 0), trial.idle[at], trial.share_max[at])

    def open(self) -> None:
        """Nobody else is placed any more: the trial is what will be, without what is only kept."""
        for parts in self._kept.values():
            give_back(self.trial, parts)

    def close(self) -> None:
        """Keep everything again, after ``open``."""
        for job in self._kept:
            self._kept[job] = withhold(self.snap, self.trial, self.snap.reserved[job])

    def unless_kept(self, shape: Shape) -> KeptFree | None:
        """Why a job that found no room waits, when it would have found some but for a reservation."""
        if not self._kept or _fits(self.snap, self.trial, self.policy, shape) is None:
            return None
        job = next(iter(self._kept))
        return KeptFree(str(shape), job, self.snap.reserved[job].expected.p50)

    def reservations(self, refused: Ints, plan: Sequence[Action]) -> list[Reserve | Unreserve]:
        """After ``open``: whom room is kept for from now on, and whom no longer. ``refused`` are rows of jobs that
        found no room; ``plan`` is what was decided."""
        snap = self.snap
        if self.policy.backfill.mode == "none" and not snap.reserved:
            return []
        if not snap.reserved and not len(refused) and not snap.groups.refused:
            return []  # nobody waits
        rows = np.array([snap.jobs.row_of[job] for job in placed_jobs(plan)], np.int64)
        if not len(rows):
            return []  # whoever was not passed loses nothing by waiting for the next decision
        first, actions = set[JobId](), list[Reserve | Unreserve]()
        start, starting = self.trial.mark(), dict[int, Placement]()
        for row in heads(snap, self.policy, _waiting(snap, refused, rows), rows):
            if len(first) == _most(self.policy):
                break
            job = snap.jobs.id_of(row)
            reserved = snap.reserved.get(job)
            if reserved is None or (reserved.expected.p90 < snap.now and _passed(snap, row, rows)):
                shape = snap.shape_of(row)
                starting = starting or _starting(snap, plan)
                soonest = earliest(snap, self.trial, self.policy, shape, starting)
                if soonest is None:
                    continue  # whoever cannot have room kept does not keep the next from it
                reserved = Reserve(job, *soonest)
                actions.append(reserved)
            first.add(job)
            self.trial.put(row, reserved.placement)
        self.trial.rollback(start)
        left = [job for job in snap.reserved if job not in first and snap.jobs.row_of[job] not in rows]
        return [*(Unreserve(job) for job in left), *actions]


def _starting(snap: Snapshot, plan: Sequence[Action]) -> dict[int, Placement]:
    """Where those jobs will be, by row."""
    found: dict[int, Placement] = {}
    for action in Plan(tuple(plan)).each():
        if isinstance(action, Start):
            found[snap.jobs.row_of[action.attempt.job]] = action.placement
        elif isinstance(action, Hold):
            found[snap.jobs.row_of[action.job]] = action.placement
    return found


def _passed(snap: Snapshot, row: int, moved: Ints) -> bool:
    return bool(_keys(snap, np.array([row], np.int64))[0] < _keys(snap, moved).max(initial=-1))


def _waiting(snap: Snapshot, refused: Ints, moved: Ints) -> Ints:
    """Rows of all that stand in line and found no room, now or when they were last tried."""
    rows = np.flatnonzero(snap.jobs.in_line[: snap.jobs.height])
    group = snap.jobs.group[rows]
    rows = rows[snap.groups.blocked[group] & ~snap.groups.limited[group]]
    both = np.zeros(snap.jobs.height, np.bool_)
    both[rows] = both[refused] = True
    both[moved] = False
    return np.flatnonzero(both)


def _among(snap: Snapshot, rows: Ints, some: Sequence[int]) -> Bools:
    """(R,) whether each of ``rows`` is one of ``some``."""
    mask = np.zeros(snap.jobs.height, np.bool_)
    mask[list(some)] = True
    return mask[rows]


def _short_ones(
    snap: Snapshot, trial: Trial, policy: Policy, candidates: Ints, at: Instant
) -> Iterator[tuple[int, Fitted]]:
    """Place waiting jobs, in order, that will have ended by ``at``: (place in ``candidates``, where). Jobs equal to one
    that found no room are not tried again."""
    groups, jobs, refused, tried = snap.groups, snap.jobs, set[int](), 0
    lasts = forecast.pending(snap.history, jobs, candidates).p90
    for index in np.flatnonzero(forecast.instants(snap.now, lasts) <= at).tolist():
        row = int(candidates[index])
        group = groups.group(int(jobs.group[row]))
        shape = int(groups.shape[jobs.group[row]])
        if shape in refused or over_limit(snap, trial, group.queue, group.shape.sums) is not None:
            continue
        tried += 1
        if tried > MOST_TRIED:
            return
        mark = trial.mark()
        outcome = place(snap, trial, policy, group.shape)
        if isinstance(outcome, Short):
            refused.add(shape)
            continue
        slower = pace(jobs.job(row), outcome.placement, snap.nodes)
        if forecast.instants(snap.now, lasts[index : index + 1] / slower)[0] > at:
            trial.rollback(mark)
            continue
        trial.count_in(row, outcome.placement)
        yield index, outcome
