"""The node a task goes to, plainly: of the nodes that fit, the one with the least left over.

On a cluster of more than ``LOOK_AT`` nodes that fit, not all are compared. Nodes are taken in blocks of ``BLOCK`` rows,
those blocks first in which a node with the fewest idle devices may fit, until enough have been seen. ``kernels_walk``
does the same without looking at every node; both find the same node.
"""

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
    """A node's row, how many tasks it takes at once, and how many nodes were compared."""

    row: int
    times: int
    candidates: int


def best_node(
    snap: Snapshot, trial: Trial, request: Request, wanted: int, typed: Bools, able: Bools, scale: Floats
) -> Found | None:
    """The best node for as many of ``wanted`` equal tasks as any node can take; a share of a device goes one by one.

    ``typed`` (N,) are the nodes of types to look at, all of one speed, ``able`` (N,) those that will do otherwise.
    ``scale`` is of ``score.scale``.
    """
    capacity = fit.free_capacity(snap, trial, typed & able)
    if wanted == 1 or request.fractional:
        times, rows = 1, np.flatnonzero(fit.fits(snap.nodes, capacity, request))
    else:
        room = fit.room(snap.nodes, capacity, request)
        times = min(int(room.max(initial=0)), wanted)
        rows = np.flatnonzero(room >= times) if times else np.empty(0, np.int64)
    if not len(rows):
        return None
    scores = score.best_fit(score.leftovers(snap, trial, request, rows, times), scale)
    if len(rows) > LOOK_AT:
        near = _near(snap, trial, request, times, typed, rows, scores, float(scale[0]))
        rows, scores = rows[near], scores[near]
    return Found(int(rows[scores.argmin()]), times, len(rows))


def _near(
    snap: Snapshot,
    trial: Trial,
    request: Request,
    times: int,
    typed: Bools,
    rows: Ints,
    scores: Floats,
    per_milli: float,
) -> Bools:
    """(R,) which of ``rows`` are compared: whole blocks, the tightest first, until ``LOOK_AT`` are seen."""
    level = _levels(snap, trial, request, times, typed)[rows // BLOCK]
    whole = 0 if request.fractional else request.gpus * times
    near, best = np.zeros(len(rows), np.bool_), np.inf
    for wanted in np.unique(level).tolist():
        if not request.fractional and per_milli * WHOLE * (wanted - whole) > best:
            break
        here = np.flatnonzero(level == wanted)
        blocks, first = np.unique(rows[here] // BLOCK, return_index=True)
        seen = int(near.sum()) + np.append(first[1:], len(here))
        enough = int(np.searchsorted(seen, LOOK_AT))
        here = here if enough == len(blocks) else here[: np.append(first, len(here))[enough + 1]]
        near[here] = True
        best = min(best, float(scores[here].min()))
        if enough < len(blocks):
            break
    return near


def _levels(snap: Snapshot, trial: Trial, request: Request, times: int, typed: Bools) -> Ints:
    """(B,) the fewest idle devices of a node of each block that has a type, and whole devices enough, to fit."""
    nodes, height = snap.nodes, snap.nodes.height
    block, kinds = np.arange(height) // BLOCK, max(len(nodes.kinds), 1)
    could = nodes.placeable[:height] & typed
    if request.fractional:
        of = block * kinds + nodes.kind[:height]
        some = np.zeros((height // BLOCK + 1) * kinds, np.bool_)
        some[of[could & (trial.share_max >= fit.milli_per_device(nodes, request))]] = True
        could &= some[of]
    else:
        could &= trial.idle >= request.gpus * times
    level = np.full(height // BLOCK + 1, MOST_IDLE + 1, np.int64)
    np.minimum.at(level, block[could], np.minimum(trial.idle[could], MOST_IDLE))
    return level
