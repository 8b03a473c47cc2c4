"""The loops of placing, compiled: numba and nothing else. Import this module inside the functions that need it.

Letters in shapes: N nodes, D devices of a node, T kinds of node, F flat resources, M classes of typical work in G
groups, L price vectors, R rows asked about. What the numbers mean is told in ``packing`` and ``worth``; every function
here has a slow, plain twin in the tests.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar, cast

import numpy as np
from numba import njit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from fairway.model.resources import WHOLE
from fairway.state.columns import Floats, Ints

if TYPE_CHECKING:
    from fairway.decide.packing import Nodes, Work
    from fairway.decide.worth import Worth

LEVELS: Final = 100
"""A device's free share is valued in so many steps."""

_F = TypeVar("_F", bound=Callable[..., object])


def _compiled(function: _F) -> _F:
    """The function as machine code, kept on disk from one process to the next."""
    return cast(_F, njit(cache=True)(function))


@_compiled
def level(milli: int) -> int:
    """The level nearest to a share of a device."""
    return (milli * LEVELS + WHOLE // 2) // WHOLE


@_compiled
def fits(row: int, nodes: "Nodes", flat: Ints, gpus: int, milli: int) -> bool:
    """Whether a task of ``flat`` (F,) and ``milli`` of each of ``gpus`` devices fits a node now."""
    for f in range(len(flat)):
        if nodes.free[row, f] < flat[f]:
            return False
    able = 0
    if gpus > 0:
        for d in range(nodes.gpus[row]):
            if nodes.devices[row, d] >= milli:
                able += 1
    return able >= gpus


@_compiled
def worth_trying(row: int, nodes: "Nodes", device: int, milli: int) -> bool:
    """Whether a share fits a device, and no earlier device of the node has exactly as much free."""
    for d in range(device):
        if nodes.devices[row, d] == nodes.devices[row, device]:
            return False
    return bool(nodes.devices[row, device] >= milli)


@_compiled
def fill_device(weights: Floats, sizes: Ints, out: Floats) -> None:
    """Write to ``out`` (LEVELS + 1,), for each level, the summed weight of all multisets of shares that fit in it.

    A multiset weighs the product of its members' ``weights`` (G,), the empty one 1; a share of size 0 is in none.
    """
    out[:] = 0.0
    out[0] = 1.0
    for g in range(len(sizes)):
        if sizes[g] > 0:
            for s in range(sizes[g], len(out)):
                out[s] += weights[g] * out[s - sizes[g]]
    for s in range(1, len(out)):
        out[s] += out[s - 1]


@_compiled
def log_sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b)) without overflow."""
    most, least = max(a, b), min(a, b)
    return most if least == -math.inf else most + math.log1p(math.exp(least - most))


@_compiled
def fill_node(weights: Floats, sizes: Ints, single: float, out: Floats) -> None:
    """The same for k idle devices, in logarithms: tasks of ``sizes`` > 1 devices, ``single`` for each device left."""
    out[:] = -math.inf
    out[0] = 0.0
    for g in range(len(sizes)):
        if sizes[g] > 1:
            for k in range(sizes[g], len(out)):
                out[k] = log_sum(out[k], weights[g] + out[k - sizes[g]])
    for k in range(1, len(out)):
        out[k] = log_sum(out[k], single + out[k - 1])


@_compiled
def copies_on_device(weight: float, size: int, filled: Floats) -> float:
    """How often a share is on a device, on average by weight: beside k copies there is whatever fits."""
    mean, power, left = 0.0, weight, LEVELS - size
    while size > 0 and left >= 0:
        mean += power * filled[left] / filled[LEVELS]
        power *= weight
        left -= size
    return mean


@_compiled
def copies_on_node(weight: float, size: int, filled: Floats, room: int) -> float:
    """The same for a task of several devices on a node with ``room`` of them, from logarithms."""
    mean, copies = 0.0, 1
    while size > 1 and copies * size <= room:
        mean += math.exp(copies * weight + filled[room - copies * size] - filled[room])
        copies += 1
    return mean


@_compiled
def used(values: Floats, gpus: Ints, sizes: Ints, nodes: Ints, heat: float, out: Floats) -> float:
    """Write to ``out`` (G,) how many tasks of each group an empty fleet holds on average, each worth ``values`` (G,).

    ``sizes`` is (G, T) in levels, ``nodes`` (T, most + 1) how many there are with k devices. Returns their whole worth.
    """
    device, node = np.empty(LEVELS + 1), np.empty(nodes.shape[1])
    out[:] = 0.0
    total = 0.0
    for t in range(len(nodes)):
        fill_device(np.exp(values / heat), np.where(gpus == 1, sizes[:, t], 0), device)
        fill_node(values / heat, np.where(sizes[:, t] > 0, gpus, 0), math.log(device[LEVELS]), node)
        shared = 0.0
        for k in range(1, nodes.shape[1]):
            total += nodes[t, k] * heat * node[k]
            left = float(k)
            for g in range(len(out)):
                if gpus[g] > 1 and sizes[g, t] > 0 and nodes[t, k] > 0:
                    copies = copies_on_node(values[g] / heat, gpus[g], node, k)
                    out[g] += nodes[t, k] * copies
                    left -= gpus[g] * copies
            shared += nodes[t, k] * left
        for g in range(len(out)):
            if gpus[g] == 1:
                out[g] += shared * copies_on_device(math.exp(values[g] / heat), sizes[g, t], device)
    return total


@_compiled
def net_values(values: Floats, group: Ints, part: Floats, flat: Ints, price: Floats, heat: float) -> Floats:
    """(G,) values less what a group's classes pay for flat resources at ``price`` (F,); cheap ones count for more."""
    weight = np.zeros(len(values))
    for m in range(len(group)):
        cost = 0.0
        for f in range(len(price)):
            cost += price[f] * flat[m, f]
        weight[group[m]] += part[m] * math.exp(-cost / heat)
    return values + heat * np.log(np.maximum(weight, 1e-300))


@_compiled
def tables(
    values: Floats,
    gpus: Ints,
    sizes: Ints,
    group: Ints,
    part: Floats,
    flat: Ints,
    prices: Floats,
    heat: float,
    most: int,
) -> tuple[Floats, Floats]:
    """(device, idle): what a device with a level free is worth, (T, L, LEVELS + 1), and k idle ones, (T, L, most + 1).

    ``values`` (G,) are net of discounts. Of the classes: ``group`` (M,), ``part`` (M,) of the group, ``flat`` (M, F).
    """
    kinds, lines = sizes.shape[1], len(prices)
    device, idle = np.zeros((kinds, lines, LEVELS + 1)), np.zeros((kinds, lines, most + 1))
    for line in range(lines):
        net = net_values(values, group, part, flat, prices[line], heat)
        for t in range(kinds):
            fill_device(np.exp(net / heat), np.where(gpus == 1, sizes[:, t], 0), device[t, line])
            device[t, line] = np.log(device[t, line])
            fill_node(net / heat, np.where(sizes[:, t] > 0, gpus, 0), device[t, line, LEVELS], idle[t, line])
    return heat * device, heat * idle


@_compiled
def line_worths(row: int, nodes: "Nodes", worth: "Worth", out: Floats) -> int:
    """Write to ``out`` (L,) what a node is worth at each price vector; returns how many of its devices are idle."""
    idle, kind = 0, nodes.kind[row]
    for d in range(nodes.gpus[row]):
        if nodes.devices[row, d] == WHOLE:
            idle += 1
    for line in range(len(out)):
        total = worth.idle[kind, line, idle]
        for f in range(nodes.free.shape[1]):
            total += worth.prices[line, f] * nodes.free[row, f]
        for d in range(nodes.gpus[row]):
            if 0 < nodes.devices[row, d] < WHOLE:
                total += worth.device[kind, line, level(nodes.devices[row, d])]
        out[line] = total
    return idle


@_compiled
def worth_after(
    kind: int, before: Floats, paid: Floats, worth: "Worth", idle: int, gpus: int, free: int, milli: int
) -> float:
    """What a node is worth when a task has come, from its worth ``before`` and what it has ``paid``, both (L,).

    A share takes ``milli`` of a device with ``free``; a task of whole devices (``milli`` 0) takes ``gpus`` of ``idle``.
    """
    least = math.inf
    for line in range(len(before)):
        total = before[line] - paid[line]
        if milli > 0 and free < WHOLE:
            total += worth.device[kind, line, level(free - milli)] - worth.device[kind, line, level(free)]
        elif milli > 0:
            total += worth.idle[kind, line, idle - 1] + worth.device[kind, line, level(free - milli)]
            total -= worth.idle[kind, line, idle]
        else:
            total += worth.idle[kind, line, idle - gpus] - worth.idle[kind, line, idle]
        least = min(least, total)
    return least


@_compiled
def score_worth(rows: Ints, nodes: "Nodes", flat: Ints, gpus: int, milli: Ints, worth: "Worth") -> tuple[Floats, Ints]:
    """(costs, picks), both (R,): the worth that each row would lose to a task, and the device that a share would get.

    ``flat`` (F,), ``gpus`` and ``milli`` (T,) are the task's. The cost is infinite where it does not fit; the pick is
    -1 where it shares no device. Costs are rounded to 1/1024 milli-GPU: sums that differ in their order are a tie.
    """
    costs, picks = np.full(len(rows), np.inf), np.full(len(rows), -1)
    before, paid = np.empty(len(worth.prices)), np.zeros(len(worth.prices))
    for line in range(len(paid)):
        for f in range(len(flat)):
            paid[line] += worth.prices[line, f] * flat[f]
    for i in range(len(rows)):
        row = int(rows[i])
        kind = int(nodes.kind[row])
        each = int(milli[kind])
        if not fits(row, nodes, flat, gpus, each):
            continue
        idle = line_worths(row, nodes, worth, before)
        if gpus != 1 or each == WHOLE:
            costs[i] = before.min() - worth_after(kind, before, paid, worth, idle, gpus, 0, 0)
        else:
            for d in range(nodes.gpus[row]):
                if worth_trying(row, nodes, d, each):
                    free = int(nodes.devices[row, d])
                    lost = before.min() - worth_after(kind, before, paid, worth, idle, gpus, free, each)
                    if lost < costs[i]:
                        costs[i], picks[i] = lost, d
        costs[i] = math.floor(costs[i] * 1024.0 + 0.5) / 1024.0
    return costs, picks


@_compiled
def fragmentation(free: Ints, devices: Ints, count: int, kind: int, work: "Work") -> float:
    """Milli-GPUs of a node (``free`` (F,), ``devices`` (D,)) that typical work cannot use, on average.

    Summed by cause as the paper's program does: a score that is rounded down is sensitive to the last bit.
    """
    total = devices[:count].sum()
    lacks_both, lacks_gpu, lacks_flat, plain, plain_lacks, no_access = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for m in range(len(work.share)):
        enough = True
        for f in range(len(free)):
            enough = enough and free[f] >= work.flat[m, f]
        able, unusable = 0, 0
        for d in range(count):
            if devices[d] >= work.milli[m, kind]:
                able += 1
            else:
                unusable += devices[d]
        if work.gpus[m] == 0 and enough:
            plain += work.share[m] * total
        elif work.gpus[m] == 0:
            plain_lacks += work.share[m] * total
        elif work.milli[m, kind] > WHOLE:
            no_access += work.share[m] * total
        elif able < work.gpus[m] and enough:
            lacks_gpu += work.share[m] * total
        elif able < work.gpus[m]:
            lacks_both += work.share[m] * total
        elif enough:
            lacks_gpu += work.share[m] * unusable
        else:
            lacks_flat += work.share[m] * total
    return lacks_both + lacks_gpu + lacks_flat + plain + plain_lacks + no_access


@_compiled
def take_idle(devices: Ints, count: int, gpus: int) -> None:
    """Use up the first ``gpus`` idle devices of a node (D,)."""
    for d in range(count):
        if gpus > 0 and devices[d] == WHOLE:
            devices[d] = 0
            gpus -= 1


@_compiled
def score_fragmentation(
    rows: Ints, nodes: "Nodes", flat: Ints, gpus: int, milli: Ints, work: "Work"
) -> tuple[Floats, Ints]:
    """(costs, picks), both (R,): FGD's score, negated, and the device that a share would get; as ``score_worth``.

    The score is int(100 x sigmoid((F before - F after) / 1000)); ties between devices go to the first.
    """
    costs, picks = np.full(len(rows), np.inf), np.full(len(rows), -1)
    after = np.empty(nodes.devices.shape[1], np.int64)
    for i in range(len(rows)):
        row = int(rows[i])
        kind, count = int(nodes.kind[row]), int(nodes.gpus[row])
        each = int(milli[kind])
        if not fits(row, nodes, flat, gpus, each):
            continue
        before = fragmentation(nodes.free[row], nodes.devices[row], count, kind, work)
        left = nodes.free[row] - flat
        shared = gpus == 1 and each < WHOLE
        for d in range(count if shared else 1):
            if shared and not worth_trying(row, nodes, d, each):
                continue
            after[:] = nodes.devices[row]
            if shared:
                after[d] -= each
            else:
                take_idle(after, count, gpus)
            changed = before - fragmentation(left, after, count, kind, work)
            score = math.floor(100.0 / (1.0 + math.exp(-changed / 1000.0)))
            if -score < costs[i]:
                costs[i], picks[i] = -score, d if shared else -1
    return costs, picks
