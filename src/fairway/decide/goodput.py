"""Elastic jobs that choose their own batch size: how fast each would learn on so many GPUs, and who gets how many.

*Goodput* (Pollux, Qiao et al., OSDI'21, sections 2 and 3) is throughput times statistical efficiency. A step of
``accumulated`` + 1 local batches takes a time that a few parameters describe (``Pace``), which are fitted to the steps
a job has measured (``goodput_fit``); a larger batch makes less progress per example, by how noisy the gradients are.
Progress is counted in steps of the job's first batch size.

``tune`` gives a job's goodput over sizes, with the batch chosen anew for each; ``divide`` hands out GPUs by what one
more adds to the sum of speed-ups, with a mild favour for jobs that have attained little; ``seat`` puts them on nodes.

Letters in shapes: J jobs, L sizes, B batch sizes, N nodes.
"""

from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

import numpy as np

from fairway.state.columns import Bools, Floats, Ints

BATCHES: Final = 50
"""Batch sizes that are tried between the smallest and the largest, in geometric steps."""
FAVOUR: Final = 0.2
"""How fast the weight of a job falls with the service it has attained. At 0 all weigh the same; much more, and large
jobs pay for small ones with more than those gain, since speed-ups level off."""
QUANTUM_S: Final = 600.0
"""GPU-seconds of attained service that count for little."""
FORESEEN_S: Final = 300.0
"""A job is expected to run for at least so many seconds more."""
KEEP: Final = 0.05
"""A job is resized only for at least so much of what it has, beside what its restart costs."""


class Pace(NamedTuple):
    """Seconds of a step: computing a local batch takes ``compute`` + ``example`` each; exchanging gradients within a
    node ``local`` + ``local_more`` for every replica beyond two, across nodes ``remote`` + ``remote_more``; ``overlap``
    of 1 is one after the other, of 10 hardly more than the longer one."""

    compute: float
    example: float
    remote: float
    remote_more: float
    local: float
    local_more: float
    overlap: float


class Noise(NamedTuple):
    """Squared norm and variance of the gradient at the first batch size, as the job measures them now."""

    square: float
    variance: float


class Limits(NamedTuple):
    """Batch sizes that a job allows: ``first`` and ``most`` in all, ``local_least`` and ``local_most`` on one GPU."""

    first: int
    most: int
    local_least: int
    local_most: int


class Tuned(NamedTuple):
    """The best batch for each of some sizes (L,): progress per second, examples on a GPU at once, and how many such
    local batches are added up before a step, less one."""

    goodput: Floats
    local: Ints
    accumulated: Ints


def compute_time(pace: Pace, local: Ints) -> Floats:
    """Seconds to compute one local batch."""
    return pace.compute + pace.example * local.astype(np.float64)


def step_time(pace: Pace, nodes: Ints, gpus: Ints, local: Ints) -> Floats:
    """Seconds of a step that does not accumulate. Pollux, section 3.2, equations 9 to 11."""
    beyond = np.maximum(gpus - 2, 0)
    within = np.where(gpus > 1, pace.local + pace.local_more * beyond, 0.0)
    exchange = np.where(nodes > 1, pace.remote + pace.remote_more * beyond, within)
    longer = np.maximum(compute_time(pace, local), exchange)
    shorter = np.minimum(compute_time(pace, local), exchange)
    ratio: Floats = (1 + (shorter / longer) ** pace.overlap) ** (1 / pace.overlap)
    return longer * ratio


def gain(noise: Noise, scale: Floats) -> Floats:
    """Progress of one step on ``scale`` times the first batch size, in steps of the first. Pollux, equation 7."""
    below = noise.variance / scale + noise.square
    return np.divide(noise.variance + noise.square, below, out=np.ones_like(scale), where=below > 0)


@lru_cache(maxsize=4096)
def candidates(limits: Limits, sizes: tuple[int, ...]) -> tuple[Ints, Ints, Bools]:
    """(local (B, L), accumulated (B, L), allowed (B, L)): batches to try on each number of GPUs.

    One GPU that goes beyond the first batch size accumulates at least once: gradient noise is measured between batches.
    """
    gpus = np.array(sizes, np.int64)
    least = np.maximum(limits.first, limits.local_least * gpus).astype(np.float64)
    total = np.geomspace(np.minimum(least, limits.most), limits.most, BATCHES)
    share = total / gpus
    accumulated = np.ceil(share / limits.local_most - 1e-8).astype(np.int64) - 1
    alone = (gpus == 1) & (share > limits.first + 1e-8)
    accumulated = np.where(alone, np.maximum(accumulated, 1), accumulated)
    local = np.ceil(share / (accumulated + 1) - 1e-8).astype(np.int64)
    # Rounding up must not go beyond the largest batch.
    local = np.minimum(local, limits.most // (gpus * (accumulated + 1)))
    allowed = (local >= limits.local_least) & (local <= limits.local_most)
    return local, accumulated, allowed & (local * gpus * (accumulated + 1) >= limits.first)


def tune(pace: Pace, noise: Noise, limits: Limits, nodes: Ints, gpus: Ints) -> Tuned:
    """The best batch for each size. ``nodes`` and ``gpus`` (L,), at least 1. Goodput 0 where no batch is allowed."""
    local, accumulated, allowed = candidates(limits, tuple(gpus.tolist()))
    seconds = step_time(pace, nodes, gpus, local) + accumulated * compute_time(pace, local)
    scale = np.maximum(local * gpus * (accumulated + 1) / limits.first, 1e-9)
    goodput = np.where(allowed, gain(noise, scale) / seconds, 0.0)
    at = goodput.argmax(axis=0), np.arange(len(gpus))
    return Tuned(goodput[at], local[at], accumulated[at])


def favours(attained: Floats) -> Floats:
    """(J,) weights of jobs by the GPU-seconds that they have attained; 1 for one that has none."""
    return (1 + attained / QUANTUM_S) ** -FAVOUR


def restart_cost(age: Floats, restarts: Ints, pause: float) -> Floats:
    """(J,) the part of its time that a job loses if it restarts once more, taking what is left for its age or
    ``FORESEEN_S``, whichever is more, and counting what it has lost already (after Pollux, section 4.2.1).

    ``age`` and ``pause``: seconds since it was submitted, and of one restart.
    """
    left = np.maximum(age, FORESEEN_S)
    return 1 - np.maximum(left - restarts * pause, 0.0) / (left + pause)


@dataclass(frozen=True, slots=True)
class Asking:
    """Jobs that share ``gpus`` GPUs. ``sizes`` (L,): numbers of GPUs a job may have, increasing; ``speed`` (J, L): its
    goodput with so many, in units of its own, 0 where it cannot; ``weight`` (J,); ``held`` (J,): what it has now, 0 for
    none; ``lost`` (J,): the part of its foreseeable time on a new size that a restart costs."""

    sizes: Ints
    speed: Floats
    weight: Floats
    held: Ints
    lost: Floats
    gpus: int


def divide(asking: Asking) -> Ints:
    """(J,) GPUs of each job: what makes the weighted sum of speed-ups high, by marginal gain per GPU.

    A speed-up is over the least size a job can run with. Steps of a job's curve that bend upwards are taken together.
    A job that would be resized for too little keeps what it has.
    """
    first = _smallest(asking.speed)
    speedup = np.divide(asking.speed, first[:, None], out=np.zeros_like(asking.speed), where=first[:, None] > 0)
    staying = np.equal(asking.sizes[None, :], asking.held[:, None])
    moved = (1 - asking.lost) / np.where(asking.held > 0, 1 + KEEP, 1.0)
    value = speedup * np.where(staying, 1.0, moved[:, None]) * asking.weight[:, None]
    given = np.zeros(len(asking.held), np.int64)
    left = asking.gpus
    for _, job, size in sorted(_steps(asking.sizes, value), key=lambda step: (-step[0], step[1], step[2])):
        more = size - int(given[job])
        if 0 < more <= left:
            given[job] = size
            left -= more
    return given


def _smallest(speed: Floats) -> Floats:
    """(J,) the speed at the least size that has any."""
    at = (speed > 0).argmax(axis=1)
    return speed[np.arange(len(speed)), at]


def _steps(sizes: Ints, value: Floats) -> list[tuple[float, int, int]]:
    """(gain per GPU, job, size) along each job's upper hull from nothing: gains fall from step to step."""
    steps: list[tuple[float, int, int]] = []
    numbers = [0, *sizes.tolist()]
    for job, row in enumerate(value.tolist()):
        heights = [0.0, *row]
        at = 0
        while at < len(sizes):
            slopes = [(heights[k] - heights[at]) / (numbers[k] - numbers[at]) for k in range(at + 1, len(numbers))]
            best = max(range(len(slopes)), key=lambda k: (slopes[k], k))
            if slopes[best] <= 0:
                break
            at += best + 1
            steps.append((slopes[best], job, numbers[at]))
    return steps


def seat(given: Ints, seats: Ints, room: Ints) -> Ints:
    """(J, N) GPUs of each job on each node. ``given`` (J,); ``seats`` (J, N): where jobs sit now; ``room`` (N,).

    A job whose number stays keeps its seats. The others, largest first, take whole nodes, then the rest on one node,
    so that a job spans no more nodes than it has to. Where there is none with enough room left, smaller jobs make it:
    as few GPUs of them as will do, and they look for seats in turn.
    """
    same = seats.sum(axis=1) == given
    placed = seats * same[:, None]
    waiting = [(-int(given[job]), job) for job in np.flatnonzero(~same & (given > 0)).tolist()]
    heapify(waiting)
    free = room - placed.sum(axis=0)
    while waiting:
        _, job = heappop(waiting)
        rest = int(given[job])
        while rest > 0:
            part = min(rest, int(room.max()))
            node, movers = _make_room(placed, free, room, part, seats[job])
            for mover in movers:
                free += placed[mover]
                placed[mover] = 0
                heappush(waiting, (-int(given[mover]), mover))
            part = min(part, int(free[node]))
            if not part:
                break
            placed[job, node] += part
            free[node] -= part
            rest -= part
    return placed


def _make_room(placed: Ints, free: Ints, room: Ints, part: int, before: Ints) -> tuple[int, list[int]]:
    """(node, jobs to move off it) for ``part`` GPUs of a job: the tightest node that has them, rather one where the job
    sat ``before`` (N,); else the one that the fewest GPUs of smaller jobs have to leave; else the emptiest."""
    enough = np.flatnonzero(free >= part)
    if enough.size:
        order = free[enough] - np.where(before[enough] > 0, 0.5, 0.0)
        return int(enough[order.argmin()]), []
    total = placed.sum(axis=1)
    best: tuple[int, int, list[int]] | None = None
    for node in np.flatnonzero(room >= part).tolist():
        there = np.flatnonzero((placed[:, node] > 0) & (total < part))
        lacking, movers = part - int(free[node]), list[int]()
        for job in there[np.argsort(total[there], kind="stable")].tolist():
            if lacking > 0:
                movers.append(job)
                lacking -= int(placed[job, node])
        cost = int(total[movers].sum())
        if lacking <= 0 and (best is None or cost < best[0]):
            best = cost, node, movers
    return (int(free.argmax()), []) if best is None else best[1:]
