"""The numba kernel that walks the line: queue by queue, job by job, each to the best node that fits.

Nothing else is in here. ``line`` prepares its columns and reads its answers; ``tests/decide`` holds a plain twin of
each function. Nodes are looked at in blocks of ``BLOCK`` rows: a block's summary says whether anything in it can fit,
and the fewest idle devices with which; blocks are visited from the tightest on, and a search ends when no better score
can come, or after ``cap`` nodes that fit.
"""

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]

from fairway.decide.kernels_limits import charge, kept_back, over_limit
from fairway.decide.kernels_share import refresh, turn
from fairway.decide.marks import DONE, NO_ROOM, OVER_LIMIT, PLACED, REFUSED, SLOW
from fairway.decide.search import BLOCK, MOST_IDLE
from fairway.model.resources import WHOLE


@njit(cache=True)
def summarise(block: int, nodes: Any, blocks: Any) -> None:
    """Recompute what a block of nodes offers, and the area of blocks it is in.

    ``nodes`` is (placeable, free (N, 4), device_free (N, D), idle, share_max, gpu_free, kind); ``blocks`` is
    (mask (B, T) of the idle counts there are, share (B, T), flat (B, 8), all over placeable nodes, but the last four of
    ``flat`` over those with an idle device), then the same three of areas of ``BLOCK`` blocks each.
    """
    _summarise_block(block, nodes, blocks)
    _summarise_area(block // BLOCK, blocks)


@njit(cache=True)
def _summarise_block(block: int, nodes: Any, blocks: Any) -> None:
    placeable, free, _, idle, share_max, _, kinds = nodes
    mask, share, flat = blocks[0], blocks[1], blocks[2]
    mask[block, :] = 0
    share[block, :] = 0
    flat[block, :] = -1
    for n in range(block * BLOCK, min((block + 1) * BLOCK, len(idle))):
        if placeable[n]:
            kind = kinds[n]
            mask[block, kind] |= np.int64(1) << min(idle[n], MOST_IDLE)
            share[block, kind] = max(share[block, kind], share_max[n])
            for c in range(4):
                flat[block, c] = max(flat[block, c], free[n, c])
                if idle[n] > 0:
                    flat[block, 4 + c] = max(flat[block, 4 + c], free[n, c])


@njit(cache=True)
def _summarise_area(area: int, blocks: Any) -> None:
    mask, share, flat, area_mask, area_share, area_flat = blocks
    area_mask[area, :] = 0
    area_share[area, :] = 0
    area_flat[area, :] = -1
    for b in range(area * BLOCK, min((area + 1) * BLOCK, len(flat))):
        for t in range(mask.shape[1]):
            area_mask[area, t] |= mask[b, t]
            area_share[area, t] = max(area_share[area, t], share[b, t])
        for c in range(8):
            area_flat[area, c] = max(area_flat[area, c], flat[b, c])


@njit(cache=True)
def summarise_all(nodes: Any, blocks: Any) -> None:
    """Recompute what every block offers."""
    for block in range(len(blocks[2])):
        _summarise_block(block, nodes, blocks)
    for area in range(len(blocks[5])):
        _summarise_area(area, blocks)


@njit(cache=True)
def _counts(
    row: int, mask: Any, share: Any, flats: Any, flat: Any, whole: int, times: int, milli: Any, allowed: Any
) -> Any:
    """The idle counts, as a bit mask, of nodes that may fit somewhere in a block or an area; 0 for none."""
    first = 4 if whole > 0 and milli[0] == 0 else 0
    for c in range(4):
        if flat[c] > 0 and flats[row, first + c] < flat[c] * times:
            return np.int64(0)
    have = np.int64(0)
    for t in range(len(allowed)):
        if allowed[t] and (milli[t] == 0 or share[row, t] >= milli[t]):
            have |= mask[row, t]
    if milli[0] == 0:
        have = (have >> whole) << whole
    return have


@njit(cache=True)
def _best_of(
    block: int, flat: Any, whole: int, times: int, milli: Any, allowed: Any, ours: Any, nodes: Any, scale: Any,
    so_far: Any,
) -> Any:  # fmt: skip
    """``so_far`` (best node or -1, its score, nodes that fit and were compared) with the nodes of a block looked at."""
    placeable, free, _, idle, share_max, gpu_free, kinds = nodes
    best, best_score, seen = so_far
    for n in range(block * BLOCK, min((block + 1) * BLOCK, len(idle))):
        kind = kinds[n]
        if not placeable[n] or not ours[n] or not allowed[kind]:
            continue
        taken = milli[kind] if milli[kind] else whole * WHOLE
        short = share_max[n] < taken if milli[kind] else idle[n] < whole
        for c in range(4):
            short |= flat[c] > 0 and free[n, c] < flat[c] * times
        if short:
            continue
        left = (
            scale[0] * (gpu_free[n] - taken)
            + scale[1] * (free[n, 1] - flat[1] * times)
            + scale[2] * (free[n, 0] - flat[0] * times)
        )
        seen += 1
        if left < best_score or (left == best_score and n < best):
            best, best_score = n, left
    return best, best_score, seen


@njit(cache=True)
def search(
    flat: Any, gpus: int, times: int, milli: Any, allowed: Any, able: Any, nodes: Any, blocks: Any, scale: Any, cap: int
) -> Any:
    """(node, nodes compared): the node with the least left over after ``times`` tasks of ``flat`` (4,) and ``gpus``
    devices; -1 for none.

    ``milli`` (T,) is what a task takes of one device of each kind, 0 for whole devices; ``allowed`` (T,) are the kinds
    to look at, ``able`` ((N,), (B,)) the nodes that will do, and whether a block has any. ``scale`` is what a
    milli-GPU, a MiB and a milli-CPU left over count. Blocks are looked at by the fewest idle devices with which a node
    in them may fit, until ``cap`` nodes have been compared or no better can come.
    """
    mask, share, flats, area_mask, area_share, area_flats = blocks
    ours, some = able
    whole = gpus * times
    any_have = np.int64(0)
    for a in range(len(area_flats)):
        any_have |= _counts(a, area_mask, area_share, area_flats, flat, whole, times, milli, allowed)
    so_far = (-1, 1e300, 0)
    wanted = 0
    while any_have >> wanted:
        if not (any_have >> wanted) & 1:
            wanted += 1
            continue
        if milli[0] == 0 and so_far[0] >= 0 and scale[0] * WHOLE * (wanted - whole) > so_far[1]:
            break
        for a in range(len(area_flats)):
            have = _counts(a, area_mask, area_share, area_flats, flat, whole, times, milli, allowed)
            if not (have >> wanted) & 1:
                continue
            for b in range(a * BLOCK, min((a + 1) * BLOCK, len(flats))):
                have = _counts(b, mask, share, flats, flat, whole, times, milli, allowed)
                # Only where this is the lowest count there is: with a higher one the block has had its turn.
                if some[b] and (have >> wanted) & 1 and have & ((np.int64(1) << wanted) - 1) == 0:
                    so_far = _best_of(b, flat, whole, times, milli, allowed, ours, nodes, scale, so_far)
                    if so_far[2] >= cap:
                        return so_far[0], so_far[2]
        wanted += 1
    return so_far[0], so_far[2]


@njit(cache=True)
def put(n: int, flat: Any, gpus: int, milli: int, nodes: Any) -> Any:
    """Take one task off node ``n``; returns its devices as a bit mask. It must fit; its block is not summarised."""
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
        total += max(here, 0)
    idle[n], share_max[n], gpu_free[n] = count, most, total


@njit(cache=True)
def _tell(n: int, nodes: Any, seen: float, why: Any) -> None:
    """Write what node ``n`` has left of milli-GPUs, MiB and milli-CPU, and how many nodes were compared."""
    why[0], why[1], why[2], why[3] = nodes[5][n], nodes[1][n, 1], nodes[1][n, 0], seen


@njit(cache=True)
def place_again(n: int, shape: int, shapes: Any, nodes: Any, out: Any, at: int, seen: float, why: Any) -> bool:
    """One more task on the node that was the best for the one before, if it fits: no other can have become better."""
    flat, gpus, milli = shapes[0][shape], shapes[1][shape], shapes[3][shape][nodes[6][n]]
    if gpus and (nodes[4][n] < milli if milli else nodes[3][n] < gpus):
        return False
    for c in range(4):
        if flat[c] > 0 and nodes[1][n, c] < flat[c]:
            return False
    out[0][at], out[1][at] = n, put(n, flat, gpus, milli, nodes)
    out[2][at] = milli if milli else (WHOLE if gpus else 0)
    _tell(n, nodes, seen, why)
    return True


@njit(cache=True)
def place(shape: int, shapes: Any, nodes: Any, blocks: Any, scale: Any, cap: int, out: Any, at: int, why: Any) -> int:
    """All tasks of one shape, or none: how many were placed. ``out`` is (node, devices, milli) of tasks from ``at`` on.

    Many tasks go to the fastest type first, and there to as few nodes as can take them. ``shapes`` is (flat (S, 4),
    gpus, tasks, milli (S, T), speed (S, T), sums (S, 3), slow, site (S,), nodes that will do by site (W, N), whether a
    block has any (W, B)). ``why`` (4,) gets what the first node had left of milli-GPUs, MiB and milli-CPU, and how many
    nodes were compared.
    """
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
            n, seen = search(flat, gpus, times, milli, allowed, able, nodes, blocks, scale, cap)
            if n < 0:
                times -= 1
                continue
            for _ in range(times):
                share = milli[nodes[6][n]]
                out_devices[at + placed] = put(n, flat, gpus, share, nodes)
                out_node[at + placed] = n
                out_milli[at + placed] = share if shared else (WHOLE if gpus else 0)
                placed += 1
                if placed == 1:
                    _tell(n, nodes, seen, why)
            summarise(n // BLOCK, nodes, blocks)
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
def walk(
    at: int, last: int, turns: Any, jobs: Any, shapes: Any, nodes: Any, blocks: Any, queues: Any, scale: Any,
    cap: int, marks: Any, out: Any, answers: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Place jobs, each when it is its turn, until one needs somebody else: (why it stopped, at which place in line, the
    entrant to pass as ``last``, together with the next place).

    ``turns`` is as ``kernels_share`` has it; ``jobs`` is (shape, queue, group, may preempt) in its order, (P,) each.
    ``marks`` is what need not be tried again and where in line it was first refused: (place of each shape without room
    (S,), place of each group over a limit (G,), whether a group cannot preempt either (G,)); places are -1 until then.
    ``answers``, by place in line, is (which of ``jobs`` stands there (P,), what became of it (P,), where its tasks end
    in ``out`` (P + 1,), the numbers of its first task (P, 4)).
    """
    line, tree, quotas, heads, keys = turns
    shape_of, queue_of, group_of, preempts = jobs
    no_room, over, hopeless = marks
    who, became, ends, numbers = answers
    sums, tasks, slow = shapes[5], shapes[2], shapes[6]
    before = -1  # place in line of the job placed just before, when it has one task
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
                    _catch_up(before, ends, nodes, blocks, out)
                    return SLOW, at - 1, e
                if no_room[s] < 0:
                    job = (at - 1, before, before >= 0 and shape_of[who[before]] == s, s, q)
                    fate = _place_next(job, shapes, nodes, blocks, queues, scale, cap, out, ends, numbers)
                    before = at - 1 if fate == PLACED and tasks[s] == 1 else -1
                    if fate == PLACED:
                        became[at - 1], ends[at] = PLACED, ends[at] + tasks[s]
                        continue
                    no_room[s] = at - 1 if fate == NO_ROOM else -1
                    over[g] = at - 1 if fate == OVER_LIMIT and not urgent else -1
            became[at - 1] = NO_ROOM if no_room[s] >= 0 else OVER_LIMIT
            if urgent:
                _catch_up(before, ends, nodes, blocks, out)
                return REFUSED, at - 1, e
        refresh(e, line, tree, quotas, heads, keys)


@njit(cache=True)
def _place_next(
    job: Any, shapes: Any, nodes: Any, blocks: Any, queues: Any, scale: Any, cap: int, out: Any, ends: Any, numbers: Any
) -> int:
    """What becomes of a job (place in line, place of the one before, whether they are equal, shape, queue).

    It goes where the one before went, if equal and it fits there, else where a search says, and its queue is charged;
    nothing is changed where it finds no room, or only room that other queues keep for themselves.
    """
    at, before, same, s, q = job
    kept = kept_back(q, shapes[5][s], queues)
    first, tasks, why = ends[at + 1], shapes[2][s], numbers[at]
    if same and not kept and place_again(out[0][ends[before]], s, shapes, nodes, out, first, numbers[before, 3], why):
        charge(q, shapes[5][s], queues)
        return PLACED
    _catch_up(before, ends, nodes, blocks, out)
    if place(s, shapes, nodes, blocks, scale, cap, out, first, why) < tasks:
        return NO_ROOM
    if kept:
        for k in range(first, first + tasks):
            give_back(out[0][k], shapes[0][s], out[1][k], out[2][k], nodes, blocks)
        return OVER_LIMIT
    charge(q, shapes[5][s], queues)
    return PLACED


@njit(cache=True)
def _catch_up(before: int, ends: Any, nodes: Any, blocks: Any, out: Any) -> None:
    """Summarise the block that the job at ``before`` was placed in, which waits for the next search."""
    if before >= 0:
        summarise(out[0][ends[before]] // BLOCK, nodes, blocks)
