"""Moving running work to the accelerator type where the whole fleet gains more than the restarts cost.

What a job gains on a scarce type is what the one that is there now loses on another. So moves come in two kinds: a job
goes to devices of another type that are free, or two jobs change places. By ``placement.types`` the fleet gains

- ``max_min``: work, counted in device time at each job's own best speed, halved by every doubling of what it has
  attained (``hetero.levels``), for as long as the job is expected to run, a day at most;
- ``makespan``: the time by which the later one of those that move ends sooner; that is one of the last of all, which
  has to run for more than ``hetero.CRITICAL_PART`` of the time until the very last ends.

A change is made where that is ``placement.margin`` times what the restarts cost: the work since the last checkpoints
and ``preemption.restart``. It must really fit: both are placed on a trial. Jobs that keep no checkpoints, that have
just started, or that run at one speed on all types stay where they are: without a table of speeds nothing is looked at.

Letters in shapes: J jobs, T types.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairway.decide import forecast
from fairway.decide.gang import Fitted, place
from fairway.decide.hetero import CRITICAL_PART, levels
from fairway.decide.preempt import lost_work
from fairway.decide.typechoice import choosy, pace_by_kind
from fairway.model.phases import JobPhase
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE
from fairway.model.time import DAY, Instant, later
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial

MOST_JOBS = 256
"""Jobs that are looked at each time: those that could be faster by most."""
MOST_TRIED = 32
"""Changes that are tried out on the trial each time, those that gain most first."""


class Running(NamedTuple):
    """Jobs that may move. ``rows`` (J,); ``speed`` (J, T) of the whole job, 0 where it may not run; ``kind`` (J,) it is
    on; ``gpus`` (J,); ``work`` (J,) milliseconds left at speed 1; ``lost`` (J,) milliseconds that a move costs;
    ``weight`` (J,) of its work in the fleet's total."""

    rows: Ints
    speed: Floats
    kind: Ints
    gpus: Ints
    work: Floats
    lost: Floats
    weight: Floats


@dataclass(frozen=True, slots=True)
class Change:
    """Jobs that go on elsewhere, each on its placement, when all of them have stopped. ``gains`` the fleet so many
    milliseconds, less what it costs: of GPU time, or until the last ends."""

    rows: tuple[int, ...]
    placements: tuple[Placement, ...]
    kinds: tuple[str, ...]
    lost: tuple[int, ...]
    gains: int


def movable(snap: Snapshot, policy: Policy, leaving: set[int]) -> list[int]:
    """Rows of live jobs that may move to another type, but for those in ``leaving``: all of their GPUs are of one."""
    if not policy.placement.moves:
        return []
    jobs, kinds, found = snap.jobs, tuple(snap.nodes.kinds), list[int]()
    for row in snap.flexible:
        job, placement = jobs.job(row), jobs.placement[row]
        if row in leaving or jobs.hold[row] is not None or jobs.phase_of(row) is not JobPhase.RUNNING:
            continue
        whole = all(task.gpu_milli == WHOLE for task in placement)
        if whole and not job.where.apart and any(choosy(role.request, kinds) for role in job.roles):
            on = {int(snap.nodes.kind[snap.nodes.row_of[task.node]]) for task in placement}
            found += [row] if len(on) == 1 else []
    return found


def again(snap: Snapshot, policy: Policy, leaving: set[int]) -> Instant:
    """When to look at the next time, though nothing happens; 0 where every job has its best type."""
    jobs, kinds = snap.jobs, tuple(snap.nodes.kinds)
    began: list[int] = []
    for row in movable(snap, policy, leaving):
        speed = pace_by_kind(_shape(snap, row), kinds)
        if speed[_kind(snap, row)] < speed.max():
            began.append(int(jobs.started_at[row]))
    if not began:
        return Instant(0)
    return Instant(max(later(snap.now, policy.elastic.every), min(began) + policy.defrag.least_run))


def changes(snap: Snapshot, trial: Trial, policy: Policy, leaving: set[int], *, idle: bool) -> Iterator[Change]:
    """One after the other, those that gain most first; the caller takes each off the trial. Not ``idle``: somebody
    waits for room, and nobody moves to any but the devices of those that change places."""
    left, rows = policy.defrag.moves_per_hour - snap.moved, movable(snap, policy, leaving)
    running = _running(snap, policy, rows) if rows and left > 0 else None
    if running is None or not len(running.rows):
        return
    free = _free(snap, trial)
    taken: set[int] = set()
    tried = 0
    for gains, pair in _worthwhile(running, policy, free, idle=idle):
        if tried == MOST_TRIED:
            return
        if taken & {one for one, _ in pair} or len(pair) > left:
            continue
        tried += 1
        found = _tried(snap, trial, policy, running, pair, gains, idle=idle)
        if found is not None:
            taken |= {one for one, _ in pair}
            left -= len(pair)
            yield found


def _running(snap: Snapshot, policy: Policy, rows: Sequence[int]) -> Running:
    jobs, kinds = snap.jobs, tuple(snap.nodes.kinds)
    settled = [row for row in rows if snap.now - int(jobs.started_at[row]) >= policy.defrag.least_run]
    speed: Floats = np.array([pace_by_kind(_shape(snap, row), kinds) for row in settled]).reshape(-1, len(kinds))
    kind = np.array([_kind(snap, row) for row in settled], np.int64)
    at = np.arange(len(settled))
    # With a few types everybody may matter, as somebody who makes room; of very many jobs those that differ most.
    most = np.argsort(-(speed.max(axis=1, initial=0.0) / np.maximum(speed[at, kind], 1e-9)), kind="stable")[:MOST_JOBS]
    chosen = np.sort(most)
    picked = np.array(settled, np.int64)[chosen]
    speed, kind = speed[chosen], kind[chosen]
    here = speed[np.arange(len(picked)), kind]
    gpus: Ints = jobs.sums[picked, 2] // WHOLE
    held = jobs.sums[picked, 2] * (snap.now - jobs.placed_at[picked]) * here / np.maximum(speed.max(axis=1), 1e-9)
    attained: Floats = (jobs.spent[picked, 2] + held) / (WHOLE * 1000)
    return Running(
        picked,
        speed,
        kind,
        gpus,
        forecast.running(snap.history, jobs, picked, snap.now).p50 * here,
        np.array([lost_work(snap, policy, row).lost_ms + policy.preemption.restart for row in picked.tolist()], float),
        np.exp2(-levels(attained)),
    )


class Worth(NamedTuple):
    """What it is worth when each job goes to each kind. ``gain`` and ``cost`` (J, T), in milliseconds: under
    ``max_min`` of GPU time, which add up; under ``makespan`` ``gain`` is when it then ends, ``cost`` what its restart
    takes."""

    gain: Floats
    cost: Floats


def worth(policy: Policy, running: Running) -> Worth:
    """Of every job on every kind; minus infinity, or never, where it may not run."""
    speed, able = running.speed, running.speed > 0
    if policy.placement.types == "makespan":
        ends = np.where(able, running.work[:, None] / np.where(able, speed, 1.0), np.inf)
        return Worth(ends, np.broadcast_to(running.lost[:, None], speed.shape))
    here, best = speed[np.arange(len(speed)), running.kind], speed.max(axis=1)
    unit = (running.weight * running.gpus / best)[:, None]
    # Not by how fast it is now: then whoever has the slower type would always seem to gain more.
    horizon = np.minimum(running.work / best, DAY)[:, None]
    gain = np.where(able, unit * (speed - here[:, None]) * horizon, -np.inf)
    return Worth(gain, unit * speed * running.lost[:, None])


Pair = tuple[tuple[int, int], ...]
"""(place in ``Running``, the kind it goes to) of each job that moves."""


def _worthwhile(running: Running, policy: Policy, free: Ints, *, idle: bool) -> list[tuple[float, Pair]]:
    """(gain less cost, who goes to which kind) for the changes worth their restarts, the greatest first."""
    kind, gpus, each = running.kind, running.gpus, np.arange(len(running.kind))
    is_last, its = policy.placement.types == "makespan", worth(policy, running)
    here = running.speed[each, kind]
    faster = running.speed > here[:, None]
    if is_last:
        until = running.work / here
        faster &= (until >= CRITICAL_PART * until.max())[:, None]
    found: list[tuple[float, Pair]] = []
    if idle:
        gain = its.gain[each, kind][:, None] - its.gain if is_last else its.gain
        for one, target in _best(gain, its.cost, faster & (free[None, :] >= gpus[:, None]), policy):
            found.append((float(gain[one, target] - its.cost[one, target]), ((one, target),)))
    to, cost = its.gain[:, kind], its.cost[:, kind]
    if is_last:
        now = its.gain[each, kind]
        gain, cost = np.maximum(now[:, None], now) - np.maximum(to, to.T), np.maximum(cost, cost.T)
    else:
        gain, cost = to + to.T, cost + cost.T
    room = gpus[:, None] <= free[kind][None, :] + gpus[None, :]
    allowed = faster[:, kind] & room & room.T & np.isfinite(gain)
    allowed &= ~(allowed.T & (each[:, None] > each))  # each two once
    for one, other in _best(gain, cost, allowed, policy):
        pair = ((one, int(kind[other])), (other, int(kind[one])))
        found.append((float(gain[one, other] - cost[one, other]), pair))
    return sorted(found, key=lambda change: (-change[0], change[1]))


def _best(gain: Floats, cost: Floats, allowed: Bools, policy: Policy) -> list[tuple[int, int]]:
    """(row, column) where it is allowed and worth its cost, the greatest first; not more than could be tried."""
    rows, columns = np.nonzero(allowed & (gain > policy.placement.margin * cost))
    net = (gain - cost)[rows, columns]
    most = np.lexsort((columns, rows, -net))[: 4 * MOST_TRIED]
    return list(zip(rows[most].tolist(), columns[most].tolist(), strict=True))


def _tried(
    snap: Snapshot, trial: Trial, policy: Policy, running: Running, pair: Pair, gains: float,
    *, idle: bool,
) -> Change | None:  # fmt: skip
    """Try it out: all of them give their room back, then each is placed on its kind. The trial is rolled back."""
    jobs, mark = snap.jobs, trial.mark()
    rows = [int(running.rows[one]) for one, _ in pair]
    for row in rows:
        trial.put(row, jobs.placement[row], sign=-1)
    found: dict[int, Placement] = {}
    for one, kind in sorted(pair, key=lambda move: (-int(running.gpus[move[0]]), move[0])):
        row = int(running.rows[one])
        outcome = place(snap, trial, policy, _shape(snap, row), only=_where(snap, row, kind))
        if not isinstance(outcome, Fitted):
            break
        found[row] = outcome.placement
    trial.rollback(mark)
    if len(found) < len(rows):
        return None
    if not idle and not _devices(found.values()) <= _devices(jobs.placement[row] for row in rows):
        return None
    names = [name for name, _ in snap.nodes.kinds]
    lost = tuple(lost_work(snap, policy, row).lost_ms for row in rows)
    to = tuple(names[kind] for _, kind in pair)
    return Change(tuple(rows), tuple(found[row] for row in rows), to, lost, round(gains))


def _devices(placements: Iterable[Placement]) -> set[tuple[str, int]]:
    return {(task.node, device) for placement in placements for task in placement for device in task.devices}


def _kind(snap: Snapshot, row: int) -> int:
    """The kind of the devices that a live job has."""
    return int(snap.nodes.kind[snap.nodes.row_of[snap.jobs.placement[row][0].node]])


def _shape(snap: Snapshot, row: int) -> Shape:
    """What a live job has, exactly."""
    job, count = snap.jobs.job(row), Counter(task.role for task in snap.jobs.placement[row])
    roles = tuple((role.request, count[index], count[index]) for index, role in enumerate(job.roles))
    return Shape(roles, job.where)


def _where(snap: Snapshot, row: int, kind: int) -> Bools:
    """(N,) nodes of a kind that the executor of a live job has."""
    nodes, height = snap.nodes, snap.nodes.height
    home = nodes.row_of[snap.jobs.placement[row][0].node]
    return (nodes.kind[:height] == kind) & (nodes.executor[:height] == nodes.executor[home])


def _free(snap: Snapshot, trial: Trial) -> Ints:
    """(T,) whole devices of each kind that are free on nodes that take work."""
    nodes, height = snap.nodes, snap.nodes.height
    able = nodes.placeable[:height] & (nodes.gpu_count[:height] > 0)
    count = np.zeros(len(nodes.kinds), np.int64)
    np.add.at(count, nodes.kind[:height][able], np.maximum(trial.idle[able], 0))
    return count
