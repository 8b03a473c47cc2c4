"""Which running jobs get more workers or fewer, and where: ``elastic`` says how many, placing on a trial proves it.

A job may be resized when it keeps checkpoints and has one role that may shrink. It is told to stop, keeps its room by a
hold of its own, and starts there as its next attempt. It shrinks for a job of its own class or a higher one that finds
no room, before anybody is preempted; those who lose least speed per worker first, nobody below what its deadline
needs, nobody by a worker more than is needed. It grows where nobody waits for room, or where its deadline needs it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairway.decide import curves, elastic, forecast, sizing
from fairway.decide.admit import over_limit
from fairway.decide.elastic import Workers
from fairway.decide.gang import Fitted, place
from fairway.model.ids import JobId
from fairway.model.phases import JobPhase
from fairway.model.plan import Placement, TaskPlacement
from fairway.model.policy import Policy
from fairway.model.reasons import Grown, Shrunk
from fairway.model.time import MINUTE, Instant, later
from fairway.state.columns import Bools, Ints
from fairway.state.groups import Group, Shape
from fairway.state.jobs import PHASE_CODE, placed_sums
from fairway.state.snapshot import Snapshot, Takings, Trial
from fairway.state.tables import CPU, NO_LIMIT

MOST_LOOKED = 256
"""Jobs that might shrink among which those who do are looked for, of the lowest classes first."""
MOST_SIZES = 16
"""Sizes that are considered for one job: all it may have, or as many spread evenly from its least to its most."""
_MAY_SHRINK = [PHASE_CODE[JobPhase.STARTING], PHASE_CODE[JobPhase.RUNNING]]


@dataclass(frozen=True, slots=True)
class Resize:
    """A running job goes on with this placement when ``after``, rows of jobs that leave some of its room, have stopped;
    it is always among them itself."""

    row: int
    placement: Placement
    reason: Grown | Shrunk
    after: tuple[int, ...]


def resizable(snap: Snapshot, leaving: set[int]) -> list[int]:
    """Rows of live jobs that may be resized, but for those that are stopping or in ``leaving``."""
    jobs = snap.jobs
    return [
        row
        for row in snap.flexible
        if row not in leaving and jobs.hold[row] is None and jobs.phase[row] in _MAY_SHRINK and jobs.job(row).resizable
    ]


def again(snap: Snapshot, policy: Policy, leaving: set[int]) -> Instant:
    """When to look at the next time, though nothing happens: after ``elastic.every``, or when the first job has been
    left alone for long enough; 0 where no job could change: those that change now are looked at when they start."""
    jobs = snap.jobs
    rows = [row for row in resizable(snap, leaving) if _could_change(snap, row)]
    if not rows:
        return Instant(0)
    settled = min(int(jobs.started_at[row]) or snap.now for row in rows) + policy.elastic.settle
    return Instant(max(later(snap.now, policy.elastic.every), settled))


def _could_change(snap: Snapshot, row: int) -> bool:
    """Whether a live job has fewer workers than it might, or more than it may turn out to have use for."""
    job, held = snap.jobs.job(row), len(snap.jobs.placement[row])
    least, most = job.roles[0].least, job.tasks
    return held < most or (held > least and curves.source(snap.measured, job) == "goodput")


def workers(snap: Snapshot, policy: Policy, rows: Sequence[int]) -> tuple[Workers, Ints]:
    """What sizing has to know of live jobs, in milliseconds. Sizes count in milli-GPUs, or in milli-cores for jobs
    without GPUs; also (R,) how many of those a worker takes."""
    jobs, at, wants = snap.jobs, np.array(rows, np.int64), policy.elastic
    held = np.array([len(jobs.placement[row]) for row in rows], np.int64)
    began = np.where(jobs.started_at[at] > 0, jobs.started_at[at], snap.now)
    fixed = snap.now - began < wants.settle
    found = [
        curves.useful(snap, policy, row, _sizes(snap, row), len(jobs.placement[row]), settled=not bool(new))
        for row, new in zip(rows, fixed, strict=True)
    ]
    steps = np.array([len(some) for some, _ in found], np.int64)
    sizes, speed = np.zeros((len(rows), int(steps.max())), np.int64), np.ones((len(rows), int(steps.max())))
    for index, (some, fast) in enumerate(found):
        sizes[index, : len(some)], speed[index, : len(some)] = some, fast
    last = ((sizes > 0) & (sizes <= held[:, None])).sum(axis=1) - 1  # what it has, or would do as well with
    now = speed[np.arange(len(rows)), last]
    span = forecast.running(snap.history, jobs, at, snap.now)
    known = span.known & (jobs.deadline[at] < NO_LIMIT)
    gpus: Ints = jobs.sums[at, 2]
    cores: Ints = jobs.sums[at, 0] * (gpus == 0)
    unit: Ints = (gpus + cores) // np.maximum(held, 1)
    return Workers(
        sizes * unit[:, None],
        speed,
        steps,
        span.p50 * now,
        np.where(known, jobs.deadline[at] - snap.now, np.inf),
        held * unit,
        np.full(len(rows), float(wants.restart)),
        fixed,
    ), unit


def _sizes(snap: Snapshot, row: int) -> list[int]:
    """Numbers of workers a job may have, ascending, the present one among them."""
    role, held = snap.jobs.job(row).roles[0], len(snap.jobs.placement[row])
    if role.count - role.least < MOST_SIZES:
        return list(range(role.least, role.count + 1))
    spread = np.linspace(role.least, role.count, MOST_SIZES).round().astype(np.int64)
    return sorted({held, *spread.tolist()})


# -- shrinking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Room:
    """``placement`` is free for a waiting job when the jobs of ``shrunk`` have stopped."""

    placement: Placement
    shrunk: tuple[Resize, ...]


class Shrinking:
    """Who could go on with fewer workers, for one decision. ``leaving`` are rows of jobs that its plan stops; it grows
    as the plan does. False when there is nobody."""

    def __init__(self, snap: Snapshot, trial: Trial, policy: Policy, leaving: set[int]) -> None:
        self._snap, self._trial, self._policy, self._leaving = snap, trial, policy, leaving
        self._rows = resizable(snap, leaving) if policy.elastic.shrink else []
        self._ranked: list[tuple[int, int, int]] | None = None
        self._leaves: dict[tuple[int, int], Takings] = {}
        """What a job gives up when it keeps so many workers, by (row, workers)."""
        self._hopeless: dict[Shape, int] = {}
        """The highest class in which a shape was looked for in vain: a lower one may take from fewer."""

    def __bool__(self) -> bool:
        return bool(self._rows)

    def find(self, group: Group, row: int) -> Room | None:
        """Room for the least start of a waiting job by fewer workers of others; None where that is not to be had. The
        trial is left as it was."""
        snap, trial, policy = self._snap, self._trial, self._policy
        if not self._rows or self._hopeless.get(group.shape, group.cls + 1) <= group.cls:
            return None
        least_cls = int(group.cls)
        able = [(other, least) for other, least, cls in self._floors() if cls >= least_cls]
        able = [(other, least) for other, least in able if other not in self._leaving][: policy.max_victims]
        if not able or self._room(group, dict(able)) is None:
            if over_limit(snap, trial, group.queue, group.shape.least_sums) is None:
                self._hopeless[group.shape] = group.cls
            return None
        low, high = 1, len(able)
        while low < high:
            middle = (low + high) // 2
            if self._room(group, dict(able[:middle])) is None:
                low = middle + 1
            else:
                high = middle
        given_up = self._there(group, dict(able[:high]))
        for other in reversed(list(given_up)):
            self._spare(group, given_up, other)
        placement = self._room(group, given_up)
        if placement is None:
            return None
        name = snap.jobs.id_of(row)
        return Room(placement, tuple(_shrunk(snap, other, kept, name) for other, kept in given_up.items()))

    def _floors(self) -> list[tuple[int, int, int]]:
        """(row, fewest workers, class) of those with more: the lowest class, and there who loses least, first."""
        if self._ranked is None:
            cls = {row: int(self._snap.jobs.cls[row]) for row in self._rows}
            some = sorted(self._rows, key=lambda row: -cls[row])[:MOST_LOOKED]
            floors = _floors(self._snap, self._policy, some)
            loss = {row: _loss(self._snap, self._policy, row, least) for row, least in floors.items()}
            order = sorted(floors, key=lambda row: (-cls[row], loss[row], row))
            self._ranked = [(row, floors[row], cls[row]) for row in order]
        return self._ranked

    def _there(self, group: Group, given_up: dict[int, int]) -> dict[int, int]:
        """Those only that leave something where the job then goes; all of them where they alone will not do."""
        placement = self._room(group, given_up) or ()
        nodes = {task.node for task in placement}
        some = {
            row: count for row, count in given_up.items() if nodes & {t.node for t in _dropped(self._snap, row, count)}
        }
        return some if some and self._room(group, some) is not None else given_up

    def _spare(self, group: Group, given_up: dict[int, int], other: int) -> None:
        """Let a job keep as many workers as it can; all of them, and it is left out."""
        low, high = given_up[other], len(self._snap.jobs.placement[other])
        while low < high:
            middle = (low + high + 1) // 2
            if self._room(group, {**given_up, other: middle}) is None:
                high = middle - 1
            else:
                low = middle
        if low == len(self._snap.jobs.placement[other]):
            del given_up[other]
        else:
            given_up[other] = low

    def _room(self, group: Group, kept: Mapping[int, int]) -> Placement | None:
        """Where the least start fits, within limits, when these jobs keep so many workers; the trial is as before."""
        snap, trial, least = self._snap, self._trial, group.shape.least_sums
        mark, over = trial.mark(), over_limit(snap, trial, group.queue, least) is not None
        if kept:
            trial.take_all(Takings.together([self._gives_up(row, count) for row, count in kept.items()]).reverse())
        if over:
            for row, count in kept.items():
                sums = placed_sums(snap.jobs.job(row), tuple(_dropped(snap, row, count)))
                trial.charge(int(snap.jobs.queue[row]), tuple(-amount for amount in sums))
            over = over_limit(snap, trial, group.queue, least) is not None
        outcome = None if over else place(snap, trial, self._policy, group.shape, least=True)
        trial.rollback(mark)
        return outcome.placement if isinstance(outcome, Fitted) else None

    def _gives_up(self, row: int, count: int) -> Takings:
        known = self._leaves.get((row, count))
        if known is None:
            known = Takings.of(self._snap, [(row, task) for task in _dropped(self._snap, row, count)])
            self._leaves[row, count] = known
        return known


def _floors(snap: Snapshot, policy: Policy, rows: list[int]) -> dict[int, int]:
    """The fewest workers that each job can do with: its least, or what its deadline needs. Only of those with more."""
    w, unit = workers(snap, policy, rows)
    share, floors = sizing.shares(w), dict[int, int]()
    for index, row in enumerate(rows):
        least = snap.jobs.job(row).roles[0].least
        if share[index] >= 0:
            least = max(least, int(w.sizes[index, share[index]]) // max(int(unit[index]), 1))
        if least < len(snap.jobs.placement[row]):
            floors[row] = least
    return floors


def _loss(snap: Snapshot, policy: Policy, row: int, floor: int) -> float:
    """Speed lost per worker given up, as a share of the speed of a full set."""
    full, held = snap.jobs.job(row).tasks, len(snap.jobs.placement[row])
    least, now, most = curves.speeds(snap, policy, row, [floor, held, full]).tolist()
    return (now - least) / max(now, most) / (held - floor)


def _leave(snap: Snapshot, trial: Trial, row: int, tasks: Sequence[TaskPlacement], sign: int = -1) -> None:
    """Give the room of some tasks of a live job back to the trial; ``sign=1`` takes it."""
    job = snap.jobs.job(row)
    trial.put(row, tasks, sign=sign)
    trial.charge(int(snap.jobs.queue[row]), tuple(sign * amount for amount in placed_sums(job, tuple(tasks))))


def _kept(snap: Snapshot, row: int, count: int) -> list[TaskPlacement]:
    """The tasks that stay: those on the nodes with most of the job's, so that whole nodes become free."""
    placement = snap.jobs.placement[row]
    on_node = Counter(task.node for task in placement)
    order = sorted(range(len(placement)), key=lambda at: (-on_node[placement[at].node], placement[at].node, at))
    return [placement[at] for at in sorted(order[:count])]


def _dropped(snap: Snapshot, row: int, count: int) -> list[TaskPlacement]:
    kept = {task.rank for task in _kept(snap, row, count)}
    return [task for task in snap.jobs.placement[row] if task.rank not in kept]


def _shrunk(snap: Snapshot, row: int, count: int, by: JobId) -> Resize:
    before = len(snap.jobs.placement[row])
    return Resize(row, _ranked(_kept(snap, row, count)), Shrunk(before, count, by), (row,))


def _ranked(tasks: Iterable[TaskPlacement]) -> Placement:
    return tuple(replace(task, rank=rank) for rank, task in enumerate(tasks))


# -- growing ----------------------------------------------------------------------------------------------------------


def grow(snap: Snapshot, trial: Trial, policy: Policy, leaving: set[int], *, idle: bool) -> list[Resize]:
    """Running jobs that get more workers, and those that make room where a deadline needs it; the trial is as before.

    Not ``idle``: somebody waits for room, and only deadlines count.
    """
    jobs = snap.jobs
    rows = [row for row in resizable(snap, leaving) if jobs.started_at[row] > 0]
    found: list[Resize] = []
    mark = trial.mark()
    for on_gpus in (True, False):
        some = [row for row in rows if (jobs.sums[row, 2] > 0) == on_gpus]
        if some and any(len(jobs.placement[row]) < jobs.job(row).tasks for row in some):
            found += _grow(snap, trial, policy, some, idle=idle)
            for one in found:  # they take CPU and memory too, which the others must not count on
                _leave(snap, trial, one.row, one.placement, sign=1)
    trial.rollback(mark)
    return found


def _grow(snap: Snapshot, trial: Trial, policy: Policy, rows: list[int], *, idle: bool) -> list[Resize]:
    w, unit = workers(snap, policy, rows)
    if not idle:
        w = w._replace(fixed=np.ones_like(w.fixed))
    able, on_gpus = snap.nodes.placeable[: snap.nodes.height], bool(snap.jobs.sums[rows[0], 2] > 0)
    free = trial.gpu_free[able] if on_gpus else trial.free[able, CPU]
    capacity = int(np.maximum(free, 0).sum()) + int(w.held.sum())
    given = elastic.allocate(w, capacity, float(MINUTE), margin=policy.elastic.margin)
    counts = given.given // np.maximum(unit, 1)
    change = {row: int(count) for row, count in zip(rows, counts, strict=True) if count}
    return _place(snap, trial, policy, change, {row for row, ok in zip(rows, given.saved, strict=True) if ok})


def _place(snap: Snapshot, trial: Trial, policy: Policy, counts: Mapping[int, int], saved: set[int]) -> list[Resize]:
    """Find room for every job that is to grow, its deadline or not, by what those that are to shrink give up."""
    mark, placement = trial.mark(), snap.jobs.placement
    fewer = {row: count for row, count in counts.items() if count < len(placement[row])}
    for row, count in fewer.items():
        _leave(snap, trial, row, _dropped(snap, row, count))
    grown: list[Resize] = []
    for row, count in sorted(counts.items(), key=lambda item: (item[0] not in saved, item[0])):
        if count > len(placement[row]):
            found = _larger(snap, trial, policy, row, count)
            if found is not None:
                grown.append(_grown(snap, policy, row, found, fewer))
    trial.rollback(mark)
    for_whom = {other: snap.jobs.id_of(resize.row) for resize in reversed(grown) for other in resize.after[1:]}
    return [_shrunk(snap, row, fewer[row], by) for row, by in sorted(for_whom.items())] + grown


def _larger(snap: Snapshot, trial: Trial, policy: Policy, row: int, count: int) -> Placement | None:
    """Room for a job with as many workers as fit, at most ``count`` and more than it has, taken off the trial."""
    jobs, now = snap.jobs, snap.jobs.placement[row]
    shape = snap.groups.group(int(jobs.group[row])).shape
    request = shape.roles[0][0]
    here = _same_executor(snap, now)
    mark = trial.mark()
    _leave(snap, trial, row, now)
    for some in range(count, len(now), -1):
        exact = replace(shape, roles=((request, some, some),))
        if over_limit(snap, trial, int(jobs.queue[row]), exact.sums) is None:
            outcome = place(snap, trial, policy, exact, only=here)
            if isinstance(outcome, Fitted):
                trial.charge(int(jobs.queue[row]), placed_sums(jobs.job(row), outcome.placement))
                return outcome.placement
    trial.rollback(mark)
    return None


def _same_executor(snap: Snapshot, placement: Placement) -> Bools:
    column = snap.nodes.executor[: snap.nodes.height]
    return column == column[snap.nodes.row_of[placement[0].node]]


def _grown(snap: Snapshot, policy: Policy, row: int, placement: Placement, fewer: Mapping[int, int]) -> Resize:
    w, unit = workers(snap, policy, [row])
    before, after = len(snap.jobs.placement[row]), len(placement)
    slow, fast = curves.speeds(snap, policy, row, [before, after]).tolist()
    saves = float(w.need[0]) * (1 / slow - 1 / fast) - policy.elastic.restart
    share = int(sizing.shares(w)[0])
    needed = share >= 0 and int(w.sizes[0, share]) > before * int(unit[0])
    nodes = {task.node for task in placement}
    after_whom = [other for other, count in fewer.items() if nodes & {t.node for t in _dropped(snap, other, count)}]
    known = curves.source(snap.measured, snap.jobs.job(row))
    why, by = "deadline" if needed else "idle", "" if known == "assumed" else known
    return Resize(row, placement, Grown(before, after, why, max(round(saves), 0), by), (row, *after_whom))
