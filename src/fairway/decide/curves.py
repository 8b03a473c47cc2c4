"""How fast an elastic job is on so many workers, from the best that is known of it; and the batch size it is told.

In this order: its *goodput*, where it reports its batch size and how fast its examples pass, and how noisy its
gradients are where it leaves the batch size to us; the power law *measured* from the steps it reports; the curve that
its user *declared*; what the policy *assumes* of all others (``elastic.scaling``).

Goodput is foretold from what a few sizes have measured, so no size is considered that is more than twice the largest of
those: the next one corrects the picture. A worker counts as one replica, however many devices it has. Fits and curves
are pure functions of what was measured, and kept: asked again, they cost nothing until the job reports something else.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import exp, log
from typing import Final, Literal

import numpy as np

from fairway.decide.goodput import Limits, Noise, Pace, tune
from fairway.decide.goodput_fit import Steps, fitted
from fairway.model.elastic import Batch
from fairway.model.job import Job
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.state.columns import Floats
from fairway.state.measured import Measurements, Run
from fairway.state.snapshot import Snapshot

Source = Literal["goodput", "measured", "declared", "assumed"]
Points = tuple[tuple[int, float], ...]
"""(workers, speed-up) as they were declared."""

CLEARLY: Final = 0.1
"""By this part must a larger size be faster, where measurements foretell it, to be grown to."""
MOST_DIVISIONS: Final = 64
"""Ways to divide a batch that are tried where its limits are tight."""
GRAIN: Final = 50
"""Measured numbers are taken to one part in so many: what differs by less is fitted, and tuned, once."""


def source(measured: Measurements, job: Job) -> Source:
    """What the speed-up of a job is taken from."""
    row = measured.row_of.get(job.id)
    if row is not None and measured.batch[row] and measured.kinds[row, 1]:
        return "goodput"
    if row is not None and measured.scaling[row]:
        return "measured"
    return "declared" if job.elastic.speedup else "assumed"


def speeds(snap: Snapshot, policy: Policy, row: int, sizes: Sequence[int]) -> Floats:
    """(L,) how fast a job is on so many workers, each at least 1; comparable among them only. Finite, above 0 where it
    can run at all."""
    job = snap.jobs.job(row)
    known = source(snap.measured, job)
    if known == "goodput":
        at = snap.measured.row_of[job.id]
        runs = _grained(snap.measured.runs(at))
        nodes = tuple(-(-size // _to_a_node(snap, row)) for size in sizes)
        return _goodput(runs, _noise(snap, at), _limits(snap, job, at), nodes, tuple(sizes))
    return _by_curve(*_curve(snap, policy, job, known), tuple(sizes))


def useful(
    snap: Snapshot, policy: Policy, row: int, sizes: Sequence[int], held: int, *, settled: bool
) -> tuple[list[int], Floats]:
    """The sizes worth having, ascending, and how fast the job is on them: more must be faster.

    What is foretold by goodput must be faster by ``CLEARLY``. The size that the job has is left out only when it is as
    clearly slower than a smaller one and has been held for long enough (``settled``); else it is kept, as fast as the
    best below it. So what is barely worth having, or barely not, is neither grown to nor given up.
    """
    job = snap.jobs.job(row)
    known = source(snap.measured, job)
    if known == "goodput":
        reach = max(2 * _tried(snap, row), held)
        return _useful(tuple(sizes), speeds(snap, policy, row, sizes), held, reach, settled)
    return _told(*_curve(snap, policy, job, known), tuple(sizes), held)


def _useful(
    sizes: tuple[int, ...], speed: Floats, held: int, reach: int, settled: bool, *, learned: bool = True
) -> tuple[list[int], Floats]:
    kept, fast, best = list[int](), list[float](), 0.0
    for size, its in zip(sizes, speed.tolist(), strict=True):
        stays = size == held and (its * (1 + CLEARLY) > best or not (learned and settled))
        if stays or (size <= reach and its > best * (1 + CLEARLY * learned)):
            best = max(best, its)
            kept.append(size)
            fast.append(best)
    return kept, np.array(fast)


def _curve(snap: Snapshot, policy: Policy, job: Job, known: Source) -> tuple[Points, int, float]:
    """(points, tasks, power) of a job whose speed-up is not foretold by goodput: the points that were declared, or none
    and a power of its share of ``tasks`` workers."""
    if known == "declared":
        return job.elastic.speedup, job.tasks, 0.0
    if known == "measured":
        return (), job.tasks, float(snap.measured.scaling[snap.measured.row_of[job.id]])
    return (), job.tasks, policy.elastic.scaling


def _by_curve(points: Points, tasks: int, power: float, sizes: tuple[int, ...]) -> Floats:
    return _declared(points, sizes) if points else _power_law(tasks, power, sizes)


@lru_cache(maxsize=4096)
def _told(points: Points, tasks: int, power: float, sizes: tuple[int, ...], held: int) -> tuple[list[int], Floats]:
    """The sizes worth having of every job with such a curve."""
    return _useful(sizes, _by_curve(points, tasks, power, sizes), held, max(sizes), True, learned=False)


def batch_for(snap: Snapshot, row: int, placement: Placement) -> Batch | None:
    """The batch size that a job starts with there: the best by its goodput, and what it was written for while nothing
    is measured. None when it chooses itself, or its limits allow none on so many workers."""
    job = snap.jobs.job(row)
    if job.elastic.batch is None or job.sizes is None:
        return None
    given = job.elastic.batch
    limits = Limits(given.first, given.most, given.local_least, given.local_most)
    workers, at = len(placement), snap.measured.row_of.get(job.id)
    if at is None or source(snap.measured, job) != "goodput" or not snap.measured.noise[at]:
        return _first(limits, workers)
    nodes = len({task.node for task in placement})
    return _best(_grained(snap.measured.runs(at)), _noise(snap, at), limits, nodes, workers)


# -- goodput ----------------------------------------------------------------------------------------------------------


def _tried(snap: Snapshot, row: int) -> int:
    """The most workers on which a job has measured its steps."""
    at = snap.measured.row_of[snap.jobs.id_of(row)]
    return int(snap.measured.kinds[at, 1::4].max())


def _to_a_node(snap: Snapshot, row: int) -> int:
    """How many workers of a live job a node like its first one holds."""
    jobs, nodes = snap.jobs, snap.nodes
    home = nodes.node(nodes.row_of[jobs.placement[row][0].node])
    request = jobs.job(row).roles[0].request
    if request.gpus:
        milli = request.gpus * jobs.placement[row][0].gpu_milli
        return max(home.gpus * 1000 // max(milli, 1), 1)
    return max(home.cpu_milli // max(request.cpu_milli, 1), 1)


def _limits(snap: Snapshot, job: Job, at: int) -> Limits:
    """What its manifest allows; a program that chooses its batch size itself keeps the one it reports, or just more
    where it cannot be divided evenly."""
    given = job.elastic.batch
    if given is None:
        batch = int(snap.measured.batch[at])
        return Limits(batch, batch + job.tasks, 1, batch)
    return Limits(given.first, given.most, given.local_least, given.local_most)


def _noise(snap: Snapshot, at: int) -> float:
    """The gradient noise scale, grained; 0 for not known."""
    return _grain(float(snap.measured.noise[at]))


def _grain(value: float) -> float:
    return exp(round(log(value) * GRAIN) / GRAIN) if value > 0 else 0.0


def _grained(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    return tuple(run._replace(step=_grain(run.step), compute=_grain(run.compute)) for run in runs)


@lru_cache(maxsize=4096)
def _pace(runs: tuple[Run, ...]) -> Pace:
    """What explains the measured steps best. Where nobody measured the exchange of gradients, it costs nothing."""
    nodes, workers, local, accumulate = (np.array([run[at] for run in runs], np.int64) for at in range(4))
    step, compute = (np.array([run[at] for run in runs]) for at in (4, 5))
    alone = (compute == 0) & (workers == 1)
    compute = np.where(alone, step / accumulate, np.where(compute > 0, compute, np.nan))
    if np.isnan(compute).all():
        compute = step / accumulate
    return fitted(Steps(nodes, workers, local, compute, step, accumulate - 1))


@lru_cache(maxsize=4096)
def _goodput(
    runs: tuple[Run, ...], noise: float, limits: Limits, nodes: tuple[int, ...], sizes: tuple[int, ...]
) -> Floats:
    """(L,) progress per second, in steps of the first batch."""
    first, gpus = Noise(1.0, noise / limits.first), np.array(sizes, np.int64)
    found = tune(_pace(runs), first, limits, np.array(nodes, np.int64), gpus).goodput
    able = np.flatnonzero(found > 0)
    if not able.size:
        found = gpus.astype(np.float64)
    else:  # on sizes that its limits leave out some workers have nothing to do
        found[: able[0]] = found[able[0]] * gpus[: able[0]] / gpus[able[0]]
        found = np.where(found > 0, found, np.maximum.accumulate(found))
    found.setflags(write=False)
    return found


@lru_cache(maxsize=4096)
def _best(runs: tuple[Run, ...], noise: float, limits: Limits, nodes: int, workers: int) -> Batch | None:
    first = Noise(1.0, noise / limits.first)
    tuned = tune(_pace(runs), first, limits, np.array([nodes]), np.array([workers]))
    if tuned.goodput[0] <= 0:
        return _first(limits, workers)
    local, accumulate = int(tuned.local[0]), int(tuned.accumulated[0]) + 1
    return Batch(local * accumulate * workers, local, accumulate)


@lru_cache(maxsize=4096)
def _first(limits: Limits, workers: int) -> Batch | None:
    """The batch that it was written for, or just more, with as little accumulation as its limits allow."""
    once = max(-(-limits.first // (workers * limits.local_most)), 1)
    by_times = ((-(-limits.first // (workers * times)), times) for times in range(once, once + MOST_DIVISIONS))
    locals_down = range(limits.local_most, max(limits.local_least - 1, limits.local_most - MOST_DIVISIONS), -1)
    by_local = ((local, -(-limits.first // (workers * local))) for local in locals_down)
    for needed, accumulate in (*by_times, *by_local):
        local = max(needed, limits.local_least)
        if local <= limits.local_most and local * accumulate * workers <= limits.most:
            return Batch(local * accumulate * workers, local, accumulate)
    return None


def _power_law(tasks: int, power: float, sizes: tuple[int, ...]) -> Floats:
    """(L,) speed on so many workers, in that of a full start."""
    return (np.array(sizes, np.float64) / tasks) ** power


# -- what was declared ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _declared(points: Points, sizes: tuple[int, ...]) -> Floats:
    """(L,) the curve through the points: a power law between two of them, and beyond the last the one before it."""
    workers, speed = np.log([point[0] for point in points]), np.log([point[1] for point in points])
    asked = np.log(np.array(sizes, np.float64))
    at = np.clip(np.searchsorted(workers, asked) - 1, 0, len(points) - 2)
    slope = np.diff(speed) / np.diff(workers)
    found: Floats = np.exp(speed[at] + slope[at] * (asked - workers[at]))
    found.setflags(write=False)
    return found
