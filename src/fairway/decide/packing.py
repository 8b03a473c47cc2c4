"""Scores of the nodes that one task could go to, as pure functions over columns.

A score gives every row asked about a cost, infinite where the task does not fit, and the device that a share would get
there. The smallest cost wins and ties go to the first row. The scores that the literature compares are here; Fairway's
own is ``worth.least_worth``.

Sources: the public simulator of FGD (Weng et al., "Beware of Fragmentation", USENIX ATC'23) for how exactly each score
rounds; Tetris (SIGCOMM'14) for ``dot_product``; Gandiva (OSDI'18) for ``clustering``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fairway.model.resources import WHOLE
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.tables import CPU

NO_WAY = WHOLE + 1
"""Milli-GPUs per device of a kind of node that the task does not accept."""
MOST_CPU, MOST_GPU = 128_000, 8_000
"""CPU and milli-GPUs of the largest node that the published scores are normalised by."""


class Nodes(NamedTuple):
    """The columns of nodes that a score reads; they may be a trial's own arrays.

    ``free`` (N, F) flat resources, ``devices`` (N, D) free milli-GPUs (0 beyond the last), ``gpus`` (N,) how many there
    are, ``kind`` (N,) what sort of node it is: whatever tells apart which tasks it takes and what share they need.
    """

    free: Ints
    devices: Ints
    gpus: Ints
    kind: Ints


@dataclass(frozen=True, slots=True)
class Need:
    """What one task takes: flat resources, and ``milli[kind]`` of each of ``gpus`` devices.

    ``NO_WAY`` is for kinds where it may not run. Whole devices are ``WHOLE`` each; only a single device can be shared.
    Equal needs are one class of work.
    """

    flat: tuple[int, ...]
    gpus: int
    milli: tuple[int, ...]
    flats: Ints = field(init=False, repr=False, compare=False)
    millis: Ints = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "flats", np.array(self.flat, np.int64))
        object.__setattr__(self, "millis", np.array(self.milli, np.int64))


class Work(NamedTuple):
    """Typical work by class: ``flat`` (M, F), ``gpus`` (M,) and ``milli`` (M, T) of one task, ``share`` (M,) of all."""

    flat: Ints
    gpus: Ints
    milli: Ints
    share: Floats


Scored = tuple[Floats, Ints]
"""(costs, picks), both (R,)."""
Score = Callable[[Nodes, Ints, Need], Scored]


def typical_work(classes: Sequence[tuple[Need, int]], cover: float = 0.95) -> Work:
    """The most frequent classes (need, how many) that together are ``cover`` of all; equal counts keep their order."""
    ordered = sorted(classes, key=lambda item: -item[1])
    total = sum(count for _, count in ordered)
    kept: list[tuple[Need, int]] = []
    covered = 0
    for need, count in ordered:
        if covered >= cover * total:
            break
        kept.append((need, count))
        covered += count
    share = [(count / total) / (covered / total) for _, count in kept]
    return Work(
        np.array([need.flat for need, _ in kept], np.int64),
        np.array([need.gpus for need, _ in kept], np.int64),
        np.array([need.milli for need, _ in kept], np.int64),
        np.array(share, np.float64),
    )


def fragmentation(work: Work, nodes: Nodes, rows: Ints, need: Need) -> Scored:
    """FGD: the node whose unusable idle GPUs grow the least, in steps of 1 of 100."""
    from fairway.decide import kernels

    return kernels.score_fragmentation(rows, nodes, need.flats, need.gpus, need.millis, work)


def best_fit(nodes: Nodes, rows: Ints, need: Need) -> Scored:
    """The node with the least CPU and GPU left over: -int(100 x (1 - .5 x CPU left - .5 x GPU left))."""
    fits = fitting(nodes, rows, need)
    taken = need.gpus * need.millis[nodes.kind[rows]]
    left = 0.5 * (nodes.free[rows, CPU] - need.flat[CPU]) / MOST_CPU
    left += 0.5 * (_gpu_free(nodes, rows) - taken) / MOST_GPU
    return _scored((1 - left) * 100, fits), _tightest(nodes, rows, need)


def dot_product(nodes: Nodes, rows: Ints, need: Need) -> Scored:
    """The node whose free resources are least aligned with the task: -int(100 x (1 - dot / 2))."""
    fits = fitting(nodes, rows, need)
    taken = need.gpus * need.millis[nodes.kind[rows]]
    dot = nodes.free[rows, CPU] / MOST_CPU * (need.flat[CPU] / MOST_CPU)
    dot = dot + _gpu_free(nodes, rows) / MOST_GPU * (taken / MOST_GPU)
    return _scored(100 * (1 - dot / 2), fits), _tightest(nodes, rows, need)


def clustering(running: Ints, nodes: Nodes, rows: Ints, need: Need) -> Scored:
    """Like with like. ``running`` (N, D + 1): tasks on each node that share a device, or have 1, 2 ... whole ones.

    First nodes with only such tasks, then with such among others, then empty ones, then the rest; fuller ones first.
    """
    fits = fitting(nodes, rows, need)
    if not need.gpus:
        return _scored(np.zeros(len(rows)), fits), _tightest(nodes, rows, need)
    shared = need.gpus == 1 and need.millis[nodes.kind[rows]] < WHOLE
    same = running[rows, np.where(shared, 0, need.gpus)] > 0
    sorts = np.count_nonzero(running[rows], axis=1)
    tier = np.where(same, np.where(sorts == 1, 75, 50), np.where(sorts == 0, 25, 0))
    full = 25 * (MOST_GPU - _gpu_free(nodes, rows)) // MOST_GPU
    return _scored(full + tier, fits), _tightest(nodes, rows, need)


def gpu_packing(nodes: Nodes, rows: Ints, need: Need) -> Scored:
    """Started devices first, full ones before others; then idle ones of started nodes; then idle nodes, small first."""
    fits = fitting(nodes, rows, need)
    if not need.gpus:
        return _scored(np.zeros(len(rows)), fits), _tightest(nodes, rows, need)
    chosen = np.sort(_able(nodes, rows, need), axis=1)[:, : need.gpus]
    opened = np.count_nonzero(chosen == WHOLE, axis=1)
    idle = np.count_nonzero(nodes.devices[rows] == WHOLE, axis=1)
    left: Ints = chosen * 100 // WHOLE
    score: Ints = np.maximum(100 - left.sum(axis=1) // 10, 50)
    score = np.where(opened > 0, np.maximum(50 - opened, 33), score)
    score = np.where(idle == nodes.gpus[rows], np.maximum(33 - idle, idle), score)
    return _scored(score, fits), _tightest(nodes, rows, need)


def random_fit(rng: np.random.Generator, nodes: Nodes, rows: Ints, need: Need) -> Scored:
    """Any node that fits, and any device there."""
    fits = fitting(nodes, rows, need)
    drawn = np.where(_able(nodes, rows, need) <= WHOLE, rng.random(nodes.devices[rows].shape), 2.0)
    shared = (need.gpus == 1) & (need.millis[nodes.kind[rows]] < WHOLE)
    return np.where(fits, rng.random(len(rows)), np.inf), np.where(shared, drawn.argmin(axis=1), -1)


def fitting(nodes: Nodes, rows: Ints, need: Need) -> Bools:
    """(R,) whether the task fits now."""
    milli = need.millis[nodes.kind[rows]]
    able = np.count_nonzero(nodes.devices[rows] >= milli[:, None], axis=1) if need.gpus else np.zeros(len(rows))
    return (nodes.free[rows] >= need.flats).all(axis=1) & (able >= need.gpus)


def _gpu_free(nodes: Nodes, rows: Ints) -> Ints:
    return nodes.devices[rows].sum(axis=1)


def _scored(score: Floats | Ints, fits: Bools) -> Floats:
    """Costs from published scores, of which more is better: rounded down, negated, infinite where it does not fit."""
    return np.where(fits, -np.floor(score), np.inf)


def _tightest(nodes: Nodes, rows: Ints, need: Need) -> Ints:
    """The device with the least free that is enough for a share; -1 for tasks that share none."""
    milli = need.millis[nodes.kind[rows]]
    return np.where((need.gpus == 1) & (milli < WHOLE), _able(nodes, rows, need).argmin(axis=1), -1)


def _able(nodes: Nodes, rows: Ints, need: Need) -> Ints:
    """(R, D) free milli-GPUs of the devices that could take a part of the task; ``NO_WAY`` for the others."""
    devices = nodes.devices[rows]
    return np.where(devices >= need.millis[nodes.kind[rows]][:, None], devices, NO_WAY)
