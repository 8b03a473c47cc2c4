"""The node a task goes to, plainly: of the nodes that fit, the one with the least left over.

On a cluster of more than ``LOOK_AT`` nodes that fit, not all are compared. Nodes are taken in blocks of ``BLOCK`` rows,
those blocks first in which a node with the fewest idle devices may fit, until enough have been seen. ``kernels_walk``
does the same without looking at every node; both find the same node.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fairway.decide import fit, score
from fairway.model.resources import WHOLE, Request
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.snapshot import Snapshot, Trial

BLOCK = 64
LOOK_AT = 256
"""Nodes that fit which are compared before the best of them is taken; all of a small cluster."""
MOST_IDLE = 62
"""More idle devices than this count as this many."""


class Found(NamedTuple):
    """A node's row, how many tasks it takes at once, and how many nodes were compared.

    ``device`` is the one that a share gets, -1 for the tightest; ``score`` names what chose it if that was no weighted
    sum, and ``value`` is what it said.
    """

    row: int
    times: int
    candidates: int
    device: int = -1
    score: str = ""
    value: float = 0.0


def best_node(
    snap: Snapshot, trial: Trial, request: Request, wanted: int, typed: Bools, able: Bools, scale: Sequence[float]
) -> Found | None:
    """The best node for as many of ``wanted`` equal tasks as any node can take; a share of a device goes one by one.

    ``typed`` (N,) are the nodes of types to look at, all of one speed, ``able`` (N,) those that will do otherwise.
    ``scale`` is of ``score.scale``.
    """
    capacity = fit.free_capacity(snap, trial, typed & able)
    if wanted == 1 or request.fractional:
        times, rows = 1, fit.fits(snap.nodes, capacity, request).nonzero()[0]
    else:
        room = fit.room(snap.nodes, capacity, request)
        times = min(int(room.max(initial=0)), wanted)
        rows = np.flatnonzero(room >= times) if times else np.empty(0, np.int64)
    return _best_of(snap, trial, request, times, rows, typed, scale)


def best_with_room(
    snap: Snapshot, trial: Trial, request: Request, wanted: int, typed: Bools, room: Ints, scale: Sequence[float]
) -> Found | None:
    """``best_node``, for whole devices, where it is known that each node has ``room`` (N,) for so many tasks."""
    times = min(int(room.max(initial=0, where=typed)), wanted)
    rows = np.flatnonzero((room >= times) & typed) if times else np.empty(0, np.int64)
    return _best_of(snap, trial, request, times, rows, typed, scale)


def _best_of(
    snap: Snapshot, trial: Trial, request: Request, times: int, rows: Ints, typed: Bools, scale: Sequence[float]
) -> Found | None:
    if not len(rows):
        return None
    scores = score.best_fit(score.leftovers(snap, trial, request, rows, times), scale)
    if len(rows) <= LOOK_AT:
        return Found(int(rows[scores.argmin()]), times, len(rows))
    best, seen = _nearest(rows, scores, _levels(snap, trial, request, times, typed), request, times, scale[0])
    return Found(int(rows[best]), times, seen)


def _nearest(
    rows: Ints, scores: Floats, level: Ints, request: Request, times: int, per_milli: float
) -> tuple[int, int]:
    """(index of the best score, how many were compared): whole blocks, the tightest first, until ``LOOK_AT`` are seen.

    ``rows`` (R,) ascend, ``scores`` (R,) are theirs, and ``level`` (B,) is of ``_levels``.
    """
    block = rows // BLOCK
    firsts = np.array([0, *((block[1:] != block[:-1]).nonzero()[0] + 1).tolist()], np.int64)
    levels, least = level[block[firsts]], np.minimum.reduceat(scores, firsts)
    order, tight = np.argsort(levels, kind="stable").tolist(), levels.tolist()
    ends, lowest = [*firsts[1:].tolist(), len(rows)], least.tolist()
    whole = 0 if request.fractional else request.gpus * times
    seen, best, last, chosen = 0, math.inf, -1, list[int]()
    for index in order:
        # A level begins, and none of it can be better than what was found: every idle device more is left over.
        if tight[index] > last and not request.fractional and per_milli * WHOLE * (tight[index] - whole) > best:
            break
        last = tight[index]
        chosen.append(index)
        seen += ends[index] - int(firsts[index])
        best = min(best, lowest[index])
        if seen >= LOOK_AT:
            break
    where = min(chosen, key=lambda index: (lowest[index], index))
    first = int(firsts[where])
    return first + int(scores[first : ends[where]].argmin()), seen


def _levels(snap: Snapshot, trial: Trial, request: Request, times: int, typed: Bools) -> Ints:
    """(B,) the fewest idle devices of a node of each block that has a type, and whole devices enough, to fit."""
    nodes, height = snap.nodes, snap.nodes.height
    could = nodes.placeable[:height] & typed
    if request.fractional:
        block, kinds = np.arange(height) // BLOCK, max(len(nodes.kinds), 1)
        of = block * kinds + nodes.kind[:height]
        some = np.zeros((height // BLOCK + 1) * kinds, np.bool_)
        some[of[could & (trial.share_max >= fit.milli_per_device(nodes, request))]] = True
        could &= some[of]
    else:
        could &= trial.idle >= request.gpus * times
    idle = np.where(could, np.minimum(trial.idle, MOST_IDLE), MOST_IDLE + 1)
    return np.minimum.reduceat(idle, np.arange(0, height, BLOCK))
