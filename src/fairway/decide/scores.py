"""The scores that the policy chooses from by name: which of the nodes that fit a task goes to.

A score gives every node asked about one or more keys; the smallest first key wins, then the second, and ties go to the
first row. ``best_fit`` and ``pack`` are weighted sums of what is left over (``score``), which the compiled walk knows
too; the others are walked plainly.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from fairway.decide import fit, score
from fairway.decide.mix import board_of
from fairway.decide.search import Found, best_node
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE, Request
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import CPU, MEMORY, NETWORK


class Scene(NamedTuple):
    """What a score looks at: ``times`` equal tasks that could go to each of ``rows`` (R,), and fit there."""

    snap: Snapshot
    trial: Trial
    policy: Policy
    request: Request
    rows: Ints
    times: int


class Scored(NamedTuple):
    """``keys``, (R,) each, of which the reason tells number ``told``; ``picks`` (R,) is the device that a share would
    get, None for the tightest."""

    keys: tuple[Floats, ...]
    told: int = 0
    picks: Ints | None = None


Score = Callable[[Scene], Scored | None]
"""None where it does not know enough yet: then it is best fit."""


def spread(scene: Scene) -> Scored:
    """The node that is least used when the task has come, by its most used resource. Tasks without GPUs go to nodes
    without GPUs first."""
    used = _used(scene, (CPU, MEMORY))
    gpus = scene.snap.nodes.gpu_count[scene.rows]
    left = scene.trial.gpu_free[scene.rows] - _gpu_milli(scene)
    used = np.maximum(used, np.where(gpus > 0, 1 - left / np.maximum(gpus * WHOLE, 1), 0.0))
    other = np.zeros(len(used)) if scene.request.gpus else (gpus > 0).astype(np.float64)
    return Scored((other, used), told=1)


def fastest(scene: Scene) -> Scored:
    """Of the nodes of the fastest type, the one where least else runs: by its most used of CPU, memory and network."""
    return Scored((_used(scene, (CPU, MEMORY, NETWORK)), _best_fit(scene)))


def cheapest(scene: Scene) -> Scored:
    """The least price for the same work, in dollars an hour: the node's price times the part of it that the task takes,
    by its speed there.

    The part is that of the resource of which it takes most. Of equal prices, and where none is known, the best fit.
    """
    nodes, rows, request = scene.snap.nodes, scene.rows, scene.request
    part = _gpu_milli(scene) / np.maximum(nodes.gpu_count[rows] * WHOLE, 1)
    for column, need in ((CPU, request.cpu_milli), (MEMORY, request.memory_mib)):
        part = np.maximum(part, need * scene.times / np.maximum(nodes.total[rows, column], 1))
    price = nodes.hourly[rows] * part / fit.speeds(nodes, request)[rows] / scene.times
    return Scored((np.round(price) / 1e6, _best_fit(scene)))


def fragmentation(scene: Scene) -> Scored | None:
    """What typical work loses: ``worth.least_worth``, with the mix of what was submitted; None until it is known."""
    board = board_of(scene.snap, scene.trial)
    if board is None:
        return None
    costs, picks = board.scores(scene.request, scene.times)
    shared = picks[scene.rows] if scene.request.fractional else None
    return Scored((costs[scene.rows], _best_fit(scene)), picks=shared)


NAMED: dict[str, Score] = {score.__name__: score for score in (spread, fastest, cheapest, fragmentation)}
"""Every score that is not a weighted sum."""


def linear(policy: Policy) -> bool:
    """Whether the policy's score is a weighted sum of what is left over."""
    return policy.placement.score not in NAMED


def tiers(snap: Snapshot, trial: Trial, policy: Policy, request: Request) -> Iterable[Bools]:
    """(N,) the nodes to try together, the better ones first: those of the types that a task likes best before others
    (``typechoice``; the fastest, if nothing else is known), or all at once where price and speed decide together."""
    if policy.placement.score == "cheapest":
        return [fit.speeds(snap.nodes, request) > 0]
    return fit.tiers(snap.nodes, request, trial.liking.get(request))


def best(
    snap: Snapshot, trial: Trial, policy: Policy, request: Request, wanted: int, typed: Bools, able: Bools
) -> Found | None:
    """The best node for as many of ``wanted`` equal tasks as it can take, by the policy's score; with ``spread`` for
    one of them. ``typed`` and ``able`` are as in ``search.best_node``."""
    name = policy.placement.score
    if name in NAMED:
        capacity = fit.free_capacity(snap, trial, typed & able)
        times, rows = _candidates(snap, capacity, request, 1 if name == "spread" else wanted)
        if not len(rows):
            return None
        scored = NAMED[name](Scene(snap, trial, policy, request, rows, times))
        if scored is not None:
            at = _first(scored.keys)
            device = -1 if scored.picks is None else int(scored.picks[at])
            return Found(int(rows[at]), times, len(rows), device, name, float(scored.keys[scored.told][at]))
    return best_node(snap, trial, request, wanted, typed, able, score.scale(snap, policy))


def _candidates(snap: Snapshot, capacity: fit.Capacity, request: Request, wanted: int) -> tuple[int, Ints]:
    """How many tasks go to one node, and the nodes that can take so many."""
    if wanted == 1 or request.fractional:
        return 1, np.flatnonzero(fit.fits(snap.nodes, capacity, request))
    room = fit.room(snap.nodes, capacity, request)
    times = min(int(room.max(initial=0)), wanted)
    return times, np.flatnonzero(room >= times) if times else np.empty(0, np.int64)


def _first(keys: tuple[Floats, ...]) -> int:
    at = np.arange(len(keys[0]))
    for key in keys:
        at = at[key[at] == key[at].min()]
    return int(at[0])


def _gpu_milli(scene: Scene) -> Ints:
    """(R,) milli-GPUs that the tasks take on each node."""
    request = scene.request
    if not request.gpus:
        return np.zeros(len(scene.rows), np.int64)
    return fit.milli_per_device(scene.snap.nodes, request)[scene.rows] * (request.gpus * scene.times)


def _best_fit(scene: Scene) -> Floats:
    left = score.leftovers(scene.snap, scene.trial, scene.request, scene.rows, scene.times)
    return score.best_fit(left, score.scale(scene.snap, scene.policy))


def _used(scene: Scene, columns: tuple[int, ...]) -> Floats:
    """(R,) the most used of these flat resources when the tasks have come, as a part of what the node has."""
    used = np.zeros(len(scene.rows))
    for column in columns:
        total = scene.snap.nodes.total[scene.rows, column]
        left = scene.trial.free[scene.rows, column] - scene.request.flat[column] * scene.times
        used = np.maximum(used, np.where(total > 0, 1 - left / np.maximum(total, 1), 0.0))
    return used
