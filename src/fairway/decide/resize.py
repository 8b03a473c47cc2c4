"""Which running jobs get more workers or fewer, and where: ``elastic`` says how many, placing on a trial proves it.

A job may be resized when it keeps checkpoints and has one role that may shrink. It is told to stop, keeps its room by a
hold of its own, and starts there as its next attempt. It shrinks for a job that finds no room (``shrink``), and grows
where nobody waits for room, or where its deadline needs it.
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
from fairway.state.groups import Shape
from fairway.state.jobs import PHASES, placed_sums
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import CPU, NO_LIMIT

MOST_SIZES = 16
"""Sizes that are considered for one job: all it may have, or as many spread evenly from its least to its most."""
_MAY_SHRINK = np.array([phase in (JobPhase.STARTING, JobPhase.RUNNING) for phase in PHASES], np.bool_)


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
    jobs, rows, shapes = snap.jobs, np.array(snap.flexible, np.int64), snap.groups.shapes.shapes
    able = _MAY_SHRINK[jobs.phase[rows]] & jobs.checkpoints[rows] & (jobs.estimate[rows] >= 0)  # no service's replica
    rows = rows[able]
    of: list[int] = snap.groups.shape[jobs.group[rows]].tolist()
    sized = {shape: _sized(shapes[shape]) for shape in set(of)}
    return [
        row
        for row, shape in zip(rows.tolist(), of, strict=True)
        if sized[shape] and row not in leaving and jobs.hold[row] is None
    ]


def _sized(shape: Shape) -> bool:
    """Whether such jobs may run with fewer tasks of their only role."""
    return len(shape.roles) == 1 and shape.elastic


def again(snap: Snapshot, policy: Policy, leaving: set[int]) -> Instant:
    """When to look at the next time, though nothing happens: after ``elastic.every``, or when the first job has been
    left alone for long enough; 0 where no job could change: those that change now are looked at when they start."""
    jobs = snap.jobs
    rows = np.array(resizable(snap, leaving), np.int64)
    began = np.where(jobs.started_at[rows] > 0, jobs.started_at[rows], snap.now)
    order = began.argsort(kind="stable")
    first = next((at for at in order.tolist() if _could_change(snap, int(rows[at]))), None)
    if first is None:
        return Instant(0)
    return Instant(max(later(snap.now, policy.elastic.every), int(began[first]) + policy.elastic.settle))


def _could_change(snap: Snapshot, row: int) -> bool:
    """Whether a live job has fewer workers than it might, or more than it may turn out to have use for."""
    job, held = snap.jobs.job(row), len(snap.jobs.placement[row])
    least, most = job.roles[0].least, job.tasks
    learns = held > least and bool(snap.measured.row_of)
    return held < most or (learns and curves.source(snap.measured, job) == "goodput")


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


def dropped(snap: Snapshot, row: int, count: int) -> list[TaskPlacement]:
    """The tasks that a live job gives up when it keeps so many."""
    kept = {task.rank for task in _kept(snap, row, count)}
    return [task for task in snap.jobs.placement[row] if task.rank not in kept]


def shrunk(snap: Snapshot, row: int, count: int, by: JobId) -> Resize:
    """A live job goes on with so many of its workers, for another."""
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
    if not idle and not (jobs.deadline[rows] < NO_LIMIT).any():
        return []
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
    held = [len(snap.jobs.placement[row]) for row in rows]
    change = {row: count for row, count, now in zip(rows, counts.tolist(), held, strict=True) if count not in (0, now)}
    return _place(snap, trial, policy, change, {row for row, ok in zip(rows, given.saved, strict=True) if ok})


def _place(snap: Snapshot, trial: Trial, policy: Policy, counts: Mapping[int, int], saved: set[int]) -> list[Resize]:
    """Find room for every job that is to grow, its deadline or not, by what those that are to shrink give up."""
    mark, placement = trial.mark(), snap.jobs.placement
    fewer = {row: count for row, count in counts.items() if count < len(placement[row])}
    for row, count in fewer.items():
        _leave(snap, trial, row, dropped(snap, row, count))
    grown: list[Resize] = []
    for row, count in sorted(counts.items(), key=lambda item: (item[0] not in saved, item[0])):
        if count > len(placement[row]):
            found = _larger(snap, trial, policy, row, count)
            if found is not None:
                grown.append(_grown(snap, policy, row, found, fewer))
    trial.rollback(mark)
    for_whom = {other: snap.jobs.id_of(resize.row) for resize in reversed(grown) for other in resize.after[1:]}
    return [shrunk(snap, row, fewer[row], by) for row, by in sorted(for_whom.items())] + grown


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
    after_whom = [other for other, count in fewer.items() if nodes & {t.node for t in dropped(snap, other, count)}]
    known = curves.source(snap.measured, snap.jobs.job(row))
    why, by = "deadline" if needed else "idle", "" if known == "assumed" else known
    return Resize(row, placement, Grown(before, after, why, max(round(saves), 0), by), (row, *after_whom))
