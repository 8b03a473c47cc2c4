"""Which of the types that a job accepts it should have, when what one gains there is what others lose.

By itself a job gets the fastest type with room. Under ``placement.types`` of ``max_min`` or ``makespan`` types have
prices (``typemarket``), found once per decision from the devices that are free and from all that waits in line, and a
job gets the type that leaves it most beyond the price: so a scarce type goes to whom it speeds up most. Who comes first
stays with the line, and whoever finds no room there takes the next best type. What runs is moved by ``retype``.
"""

from collections.abc import Mapping

import numpy as np

from fairway.decide import fit, forecast
from fairway.decide.typemarket import share, welfare
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE, Request
from fairway.state.columns import Floats, Ints
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial

MOST_SHAPES = 256
"""Shapes, those of which most waits, that prices are found from."""
ALIKE = 50
"""Types whose advantage differs by less than one part in so many of a job's best speed are as good as each other."""

Liking = Mapping[Request, Floats]
"""(T,) by request: how a task likes each kind of device, 0 where it may not run; the larger the better."""


def liking(snap: Snapshot, trial: Trial, policy: Policy, rows: Ints, shapes: Ints) -> Liking:
    """How the tasks of all shapes in line like each kind of device; empty where the fastest is always the best.

    ``rows`` and ``shapes`` (P,): jobs in line and their shapes.
    """
    if policy.placement.types == "fastest" or len(snap.nodes.kinds) < 2 or not len(rows):
        return {}
    nodes, kinds = snap.nodes, tuple(snap.nodes.kinds)
    waiting = np.bincount(shapes, minlength=len(snap.groups.shapes.shapes)).astype(np.int64)
    known = snap.groups.shapes.shapes
    most: list[int] = np.argsort(-waiting, kind="stable")[:MOST_SHAPES].tolist()
    lots: list[int] = [row for row in most if waiting[row] and any(r.gpus for r, _, _ in known[row].roles)]
    if not any(choosy(request, kinds) for row in lots for request, _, _ in known[row].roles):
        return {}
    able = nodes.placeable[: nodes.height] & (nodes.gpu_count[: nodes.height] > 0)
    count = np.zeros(len(kinds), np.int64)
    np.add.at(count, nodes.kind[: nodes.height][able], np.maximum(trial.gpu_free[able], 0))
    speed: Floats = np.array([pace_by_kind(known[row], kinds) for row in lots])
    gang = np.array([_milli(known[row], kinds) for row in lots], np.int64)
    best = np.maximum(speed.max(axis=1), 1e-12)
    if policy.placement.types == "makespan":
        shares = share(speed, gang, count, _work(snap, rows, shapes, lots) * best, waiting[lots])
        gain = _planned(shares.time) + _cheapness(shares.prices / np.maximum(count, 1), speed) / ALIKE
    else:
        worth = speed / best[:, None] * gang[:, None]
        gain = speed / best[:, None] - welfare(worth, gang, count, waiting[lots])
    # No kind that will do is liked as little as one that will not.
    least: Floats = np.min(gain, axis=1, keepdims=True)
    steps = np.floor((gain - least) * ALIKE + 0.5) + 1.0
    found: dict[Request, Floats] = {}
    for row, likes in zip(lots, steps, strict=True):
        for request, _, _ in known[row].roles:
            if choosy(request, kinds):
                found.setdefault(request, likes * (fit.speed_by_kind(request, kinds) > 0))
    return found


def choosy(request: Request, kinds: fit.Kinds) -> bool:
    """Whether a task runs on several kinds of device, not all at one speed."""
    speeds = {*fit.speed_by_kind(request, kinds).tolist()} - {0.0}
    return bool(request.gpus and request.accelerators) and len(speeds) > 1


def _planned(time: Floats) -> Floats:
    """(S, T) of the time that a job is to run, the part that it is to have each kind for."""
    total = time.sum(axis=1, keepdims=True)
    return np.divide(time, total, out=np.zeros_like(time), where=total > 0)


def _cheapness(prices: Floats, speed: Floats) -> Floats:
    """(S, T) from 0 to 1, the kind where the same work costs least."""
    value = speed / np.maximum(prices, 1e-3 * max(float(prices.max()), 1e-300))
    return value / np.maximum(value.max(axis=1, keepdims=True), 1e-300)


def pace_by_kind(shape: Shape, kinds: fit.Kinds) -> Floats:
    """(T,) the pace of a job whose tasks all have one kind of device: that of its slowest role."""
    return np.min([fit.speed_by_kind(request, kinds) for request, _, _ in shape.roles if request.gpus], axis=0)


def _milli(shape: Shape, kinds: fit.Kinds) -> int:
    """Milli-GPUs of a full start, of the kind that needs fewest."""
    total = 0
    for request, count, _ in shape.roles:
        each = fit.share_by_kind(request, kinds) if request.fractional else np.array([WHOLE])
        total += request.gpus * count * int(each.min())
    return max(total, 1)


def _work(snap: Snapshot, rows: Ints, shapes: Ints, lots: list[int]) -> Floats:
    """(S,) mean run time that the jobs of each shape are expected to have, in milliseconds at their best speed."""
    lasts = forecast.pending(snap.history, snap.jobs, rows).p50
    total = np.bincount(shapes, lasts, len(snap.groups.shapes.shapes))
    return total[lots] / np.maximum(np.bincount(shapes, minlength=len(total))[lots], 1)
