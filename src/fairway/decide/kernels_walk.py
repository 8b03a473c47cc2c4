"""The numba kernel that walks the line: queue by queue, job by job, each to the best node that fits.

Nothing else is in here. ``line`` prepares its columns and reads its answers; ``tests/decide`` holds a plain twin of
each function. Nodes are looked at in blocks of ``BLOCK`` rows: a block's summary says whether anything in it can fit,
and the fewest idle devices with which; blocks are visited from the tightest on, and a search ends when no better score
can come, or after ``cap`` nodes that fit.
"""

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]

from fairway.decide.kernels_share import refresh, turn
from fairway.decide.marks import DONE, NO_ROOM, OVER_LIMIT, PLACED, REFUSED, SLOW
from fairway.decide.search import BLOCK, MOST_IDLE
from fairway.model.resources import WHOLE


@njit(cache=True)
def summarise(block: int, nodes: Any, blocks: Any) -> None:
    """Recompute what a block offers.

    ``nodes`` is (placeable, free (N, 4), device_free (N, D), idle, share_max, gpu_free, gpu_type); ``blocks`` is
    (mask (B, T) of the idle counts there are, share (B, T), flat (B, 4), all over placeable nodes).
    """
    placeable, free, _, idle, share_max, _, gpu_type = nodes
    mask, share, flat = blocks
    mask[block, :] = 0
    share[block, :] = 0
    flat[block, :] = -1
    for n in range(block * BLOCK, min((block + 1) * BLOCK, len(idle))):
        if placeable[n]:
            kind = gpu_type[n]
            mask[block, kind] |= np.int64(1) << min(idle[n], MOST_IDLE)
            share[block, kind] = max(share[block, kind], share_max[n])
            for c in range(4):
                flat[block, c] = max(flat[block, c], free[n, c])


@njit(cache=True)
def summarise_all(nodes: Any, blocks: Any) -> None:
    """Recompute what every block offers."""
    for block in range(len(blocks[2])):
        summarise(block, nodes, blocks)


@njit(cache=True)
def _levels(flat: Any, whole: int, times: int, milli: Any, allowed: Any, blocks: Any, some: Any, level: Any) -> int:
    """Write the fewest idle devices of each block with which its summary says a node may fit; returns the largest."""
    mask, share, block_flat = blocks
    highest = -1
    for b in range(len(block_flat)):
        level[b] = MOST_IDLE + 1
        fits = some[b]
        for c in range(4):
            if flat[c] > 0 and block_flat[b, c] < flat[c] * times:
                fits = False
                break
        if not fits:
            continue
        have = np.int64(0)
        for t in range(len(allowed)):
            if allowed[t] and (milli[t] == 0 or share[b, t] >= milli[t]):
                have |= mask[b, t]
        if milli[0] == 0:
            have = (have >> whole) << whole
        if have == 0:
            continue
        low = 0
        while (have >> low) & 1 == 0:
            low += 1
        level[b] = low
        highest = max(highest, low)
    return highest


@njit(cache=True)
def search(
    flat: Any,
    gpus: int,
    times: int,
    milli: Any,
    allowed: Any,
    able: Any,
    nodes: Any,
    blocks: Any,
    weights: Any,
    cap: int,
    level: Any,
    seen_out: Any,
) -> int:
    """The node with the least left over after ``times`` tasks of ``flat`` (4,) and ``gpus`` devices; -1 for none.

    ``milli`` (T,) is what a task takes of one device of each type, 0 for whole devices; ``allowed`` (T,) are the types
    to look at, ``able`` ((N,), (B,)) the nodes that will do, and whether a block has any. ``weights`` is (per free
    milli-GPU, per MiB, per milli-CPU). ``level`` (B,) is scratch; ``seen_out`` (1,) gets how many nodes that fit were
    compared.
    """
    placeable, free, _, idle, share_max, gpu_free, gpu_type = nodes
    whole = gpus * times
    ours, some = able
    highest = _levels(flat, whole, times, milli, allowed, blocks, some, level)
    best, best_score, seen = -1, 1e300, 0
    for wanted in range(highest + 1):
        if milli[0] == 0 and best >= 0 and weights[0] * WHOLE * (wanted - whole) > best_score:
            break
        for b in range(len(level)):
            if level[b] != wanted:
                continue
            for n in range(b * BLOCK, min((b + 1) * BLOCK, len(idle))):
                kind = gpu_type[n]
                if not placeable[n] or not ours[n] or not allowed[kind]:
                    continue
                taken = milli[kind] if milli[kind] else whole * WHOLE
                short = share_max[n] < taken if milli[kind] else idle[n] < whole
                for c in range(4):
                    short |= flat[c] > 0 and free[n, c] < flat[c] * times
                if short:
                    continue
                left = (
                    weights[0] * (gpu_free[n] - taken)
                    + weights[1] * (free[n, 1] - flat[1] * times)
                    + weights[2] * (free[n, 0] - flat[0] * times)
                )
                seen += 1
                if left < best_score or (left == best_score and n < best):
                    best, best_score = n, left
            if seen >= cap:
                break
        if seen >= cap:
            break
    seen_out[0] = seen
    return best


@njit(cache=True)
def put(n: int, flat: Any, gpus: int, milli: int, nodes: Any, blocks: Any) -> Any:
    """Take one task off node ``n``; returns the devices it gets as a bit mask. It must fit."""
    free, device_free = nodes[1], nodes[2]
    for c in range(4):
        free[n, c] -= flat[c]
    devices = np.int64(0)
    if gpus and milli:
        tightest = -1
        for d in range(device_free.shape[1]):
            if device_free[n, d] >= milli and (tightest < 0 or device_free[n, d] < device_free[n, tightest]):
                tightest = d
        device_free[n, tightest] -= milli
        devices |= np.int64(1) << tightest
    elif gpus:
        wanted = gpus
        for d in range(device_free.shape[1]):
            if wanted and device_free[n, d] == WHOLE:
                device_free[n, d] = 0
                devices |= np.int64(1) << d
                wanted -= 1
    if gpus:
        _sum_up(n, nodes)
    summarise(n // BLOCK, nodes, blocks)
    return devices


@njit(cache=True)
def give_back(n: int, flat: Any, devices: int, milli: int, nodes: Any, blocks: Any) -> None:
    """The reverse of ``put``; ``milli`` is ``WHOLE`` for whole devices."""
    free, device_free = nodes[1], nodes[2]
    for c in range(4):
        free[n, c] += flat[c]
    for d in range(device_free.shape[1]):
        if (devices >> d) & 1:
            device_free[n, d] += milli
    _sum_up(n, nodes)
    summarise(n // BLOCK, nodes, blocks)


@njit(cache=True)
def _sum_up(n: int, nodes: Any) -> None:
    _, _, device_free, idle, share_max, gpu_free, _ = nodes
    count, most, total = 0, 0, 0
    for d in range(device_free.shape[1]):
        here = device_free[n, d]
        count += here == WHOLE
        most = max(most, here)
        total += here
    idle[n], share_max[n], gpu_free[n] = count, most, total


@njit(cache=True)
def place(
    shape: int, shapes: Any, nodes: Any, blocks: Any, weights: Any, cap: int, level: Any, out: Any, at: int, why: Any
) -> int:
    """All tasks of one shape, or none: how many were placed. ``out`` is (node, devices, milli) of tasks from ``at`` on.

    Many tasks go to the fastest type first, and there to as few nodes as can take them. ``shapes`` is (flat (S, 4),
    gpus, tasks, milli (S, T), speed (S, T), sums (S, 3), slow, site (S,), nodes that will do by site (W, N), whether a
    block has any (W, B)). ``why`` (4,) gets what the first node had left of milli-GPUs, MiB and milli-CPU, and how many
    nodes were compared.
    """
    seen = np.zeros(1, np.int64)
    flats, all_gpus, all_tasks, all_milli, speeds, _, _, site, masks, some = shapes
    able = (masks[site[shape]], some[site[shape]])
    flat, gpus, tasks, milli, speed = flats[shape], all_gpus[shape], all_tasks[shape], all_milli[shape], speeds[shape]
    out_node, out_devices, out_milli = out
    allowed = np.zeros(len(speed), np.bool_)
    shared = milli[0] > 0
    per_node = 1 if shared else nodes[2].shape[1] // gpus if gpus else tasks
    placed, tier = 0, speed.max()
    while placed < tasks and tier > 0:
        for t in range(len(speed)):
            allowed[t] = speed[t] == tier
        times = min(tasks, max(per_node, 1))
        while placed < tasks and times > 0:
            times = min(times, tasks - placed)
            n = search(flat, gpus, times, milli, allowed, able, nodes, blocks, weights, cap, level, seen)
            if n < 0:
                times -= 1
                continue
            for _ in range(times):
                share = milli[nodes[6][n]]
                out_devices[at + placed] = put(n, flat, gpus, share, nodes, blocks)
                out_node[at + placed] = n
                out_milli[at + placed] = share if shared else (WHOLE if gpus else 0)
                placed += 1
                if placed == 1:
                    why[0], why[1], why[2], why[3] = nodes[5][n], nodes[1][n, 1], nodes[1][n, 0], seen[0]
        slower = 0.0
        for t in range(len(speed)):
            if slower < speed[t] < tier:
                slower = speed[t]
        tier = slower
    if placed < tasks:
        for k in range(placed):
            give_back(out_node[at + k], flat, out_devices[at + k], out_milli[at + k], nodes, blocks)
    return placed


@njit(cache=True)
def over_limit(queue: int, sums: Any, queues: Any) -> int:
    """The nearest queue, from ``queue`` upwards, whose limit taking ``sums`` more would break; -1 for none.

    ``queues`` is (path (Q, depth) from the root down, used (Q, 3), limit (Q, 3)).
    """
    path, used, limit = queues
    for d in range(path.shape[1] - 1, -1, -1):
        q = path[queue, d]
        if q >= 0:
            for c in range(3):
                if sums[c] > 0 and used[q, c] + sums[c] > limit[q, c]:
                    return q
    return -1


@njit(cache=True)
def charge(queue: int, sums: Any, queues: Any) -> None:
    """Count use against a queue and every queue above it."""
    path, used, _ = queues
    for d in range(path.shape[1]):
        if path[queue, d] >= 0:
            for c in range(3):
                used[path[queue, d], c] += sums[c]


@njit(cache=True)
def walk(
    at: int, last: int, turns: Any, jobs: Any, shapes: Any, nodes: Any, blocks: Any, queues: Any, weights: Any,
    cap: int, marks: Any, out: Any, answers: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Place jobs, each when it is its turn, until one needs somebody else: (why it stopped, at which place in line, the
    entrant to pass as ``last``, together with the next place).

    ``turns`` is as ``kernel_share`` has it; ``jobs`` is (shape, queue, group, may preempt) in its order, (P,) each.
    ``marks`` is what need not be tried again and where in line it was first refused: (place of each shape without room
    (S,), place of each group over a limit (G,), whether a group cannot preempt either (G,)); places are -1 until then.
    ``answers``, by place in line, is (which of ``jobs`` stands there (P,), what became of it (P,), where its tasks end
    in ``out`` (P + 1,), the numbers of its first task (P, 4)).
    """
    line, tree, quotas, heads, keys = turns
    shape_of, queue_of, group_of, preempts = jobs
    no_room, over, hopeless = marks
    who, became, ends, numbers = answers
    level = np.zeros(len(blocks[2]), np.int64)
    sums, tasks, slow = shapes[5], shapes[2], shapes[6]
    if last >= 0:
        refresh(last, line, tree, quotas, heads, keys)
    while True:
        e = turn(line, tree, quotas, heads, keys)
        if e < 0:
            return DONE, at, e
        first = True
        while heads[0][e] < line[1][e]:
            j = heads[0][e]
            s, q, g = shape_of[j], queue_of[j], group_of[j]
            urgent = preempts[j] and not hopeless[g]
            refused = no_room[s] >= 0 and not urgent
            if not (first or refused or over[g] >= 0):
                break  # whoever is behind waits for a turn of its own, unless it is known to be in vain
            first = False
            who[at], ends[at + 1] = j, ends[at]
            heads[0][e] += 1
            at += 1
            if over[g] < 0 and not slow[s] and over_limit(q, sums[s], queues) >= 0:
                over[g] = at - 1
            if over[g] >= 0:
                became[at - 1] = OVER_LIMIT
                continue
            if not refused:
                if slow[s]:
                    return SLOW, at - 1, e
                if no_room[s] < 0:
                    start = ends[at]
                    if place(s, shapes, nodes, blocks, weights, cap, level, out, start, numbers[at - 1]) == tasks[s]:
                        charge(q, sums[s], queues)
                        became[at - 1] = PLACED
                        ends[at] += tasks[s]
                        continue
                    no_room[s] = at - 1
            became[at - 1] = NO_ROOM
            if urgent:
                return REFUSED, at - 1, e
        refresh(e, line, tree, quotas, heads, keys)
