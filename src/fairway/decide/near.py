"""Which nodes a shape may use, and which domains of the fleet could hold all of it.

All arrays are (N,), one entry per node row, unless said otherwise.
"""

from collections.abc import Iterator

import numpy as np

from fairway.decide import fit
from fairway.model.policy import Policy
from fairway.model.resources import Request
from fairway.model.where import Level, Together
from fairway.state.columns import Bools, Ints
from fairway.state.groups import Shape
from fairway.state.places import LEVELS
from fairway.state.snapshot import Snapshot, Trial


def allowed(snap: Snapshot, shape: Shape, trial: Trial | None = None) -> Bools:
    """Nodes that answer for what a shape asks of them, and are away from whom it keeps apart from; of those, only the
    work that a ``trial`` knows of counts."""
    places, height = snap.nodes.places, snap.nodes.height
    able = places.allowed(shape.where, height)
    if trial is None or not shape.where.apart:
        return able
    able = able.copy()
    for apart in shape.where.apart:
        rows = [*snap.nodes.company.rows(apart), *trial.company.rows(apart)]
        if rows:
            domains = places.domains(apart.level, height)
            able &= ~np.isin(domains, domains[rows])
    return able


def together_of(policy: Policy, shape: Shape) -> Together | None:
    """Where a job's tasks are to stand: as it says, else as the policy wishes; None for a single task."""
    if shape.single:
        return None
    wish = policy.placement.together
    return shape.where.together or (Together(wish, required=False) if wish else None)


def rooms(snap: Snapshot, trial: Trial, shape: Shape, able: Bools, *, least: bool) -> list[tuple[Ints, int]]:
    """(tasks that each node has room for, tasks wanted) of every role, each as if it were alone."""
    capacity = fit.free_capacity(snap, trial, able)
    return [
        (fit.room(snap.nodes, capacity, request), minimum if least else count)
        for request, count, minimum in shape.roles
    ]


MOST_TRIED = 8
"""Domains of a level that a gang of several roles tries before it looks at wider ones."""


def domains_to_try(
    snap: Snapshot, trial: Trial, shape: Shape, able: Bools, together: Together, *, least: bool
) -> Iterator[tuple[Level, str, Bools]]:
    """(level, name, its nodes) of domains with room for every role by itself, the smallest level first and the tightest
    of each first; wider ones than asked for only where that is a wish.

    What may shrink is tried in full first; if no domain of the level asked for has room for that, where most fits.
    """
    full = rooms(snap, trial, shape, able, least=least)
    some = rooms(snap, trial, shape, able, least=True) if shape.elastic and not least else full
    if any(int(room.sum()) < tasks for room, tasks in some):
        return  # not even all domains together
    for level in LEVELS[: LEVELS.index(together.level) + 1] if together.required else LEVELS:
        yield from _holding(snap, full, level)  # the caller rolls back what did not fit: the rooms stay true
        if level is together.level and some is not full:
            yield from _holding(snap, some, level, roomiest=True)


def _holding(
    snap: Snapshot, wanted: list[tuple[Ints, int]], level: Level, *, roomiest: bool = False
) -> Iterator[tuple[Level, str, Bools]]:
    places = snap.nodes.places
    domains, count = places.domains(level, snap.nodes.height), places.domain_count(level)
    spare, able = np.zeros(count, np.int64), np.ones(count, np.bool_)
    for room, tasks in wanted:
        inside = sum_by(domains, room, count)
        able &= inside >= tasks
        spare += inside - tasks
    found = np.flatnonzero(able)
    if not len(found):
        return
    first = _first_rows(domains, count)[found]
    order = np.lexsort((first, -spare[found] if roomiest else spare[found]))
    for code in found[order][:MOST_TRIED].tolist():
        yield level, places.domain_name(level, code), domains == code


def could_host(snap: Snapshot, shape: Shape) -> Bools:
    """Nodes that take work and could hold a task of a shape if they were empty."""
    able = snap.nodes.places.keep((could_host, shape), lambda: _could_host(snap, shape))
    return able & snap.nodes.placeable[: snap.nodes.height]


def _could_host(snap: Snapshot, shape: Shape) -> Bools:
    whole = fit.whole_capacity(snap, allowed(snap, shape))
    able = np.zeros(snap.nodes.height, np.bool_)
    for request, _, _ in shape.roles:
        able |= fit.fits(snap.nodes, whole, request)
    return able


def could_hold(snap: Snapshot, trial: Trial, shape: Shape, level: Level, leaving: Ints | None = None) -> Iterator[Ints]:
    """The domains of a level that could hold the least of a gang if they were empty, as rows of nodes: ``MOST_TRIED``
    of them, those first in which most tasks find room now. With ``leaving`` (N,), milli-GPUs, only as much of each node
    is empty as is free now or has that coming."""
    able = allowed(snap, shape, trial) & snap.nodes.placeable[: snap.nodes.height]
    places = snap.nodes.places
    domains, count = places.domains(level, snap.nodes.height), places.domain_count(level)
    could, now = np.ones(count, np.bool_), np.zeros(count, np.int64)
    for (request, _, minimum), (room, _) in zip(shape.roles, rooms(snap, trial, shape, able, least=True), strict=True):
        most = None if leaving is None or not request.gpus else most_in(snap, trial, request, leaving)
        whole = fit.whole_capacity(snap, able if most is None else able & (most > 0))
        then = fit.room(snap.nodes, whole, request)
        could &= sum_by(domains, then if most is None else np.minimum(then, most), count) >= minimum
        if not could.any():
            return iter(())
        now += np.minimum(sum_by(domains, room, count), minimum)
    found = np.flatnonzero(could)
    order = np.lexsort((_first_rows(domains, count)[found], -now[found])) if len(found) else found
    return (np.flatnonzero(able & (domains == code)) for code in found[order][:MOST_TRIED].tolist())


def most_in(snap: Snapshot, trial: Trial, request: Request, leaving: Ints) -> Ints:
    """(N,) so many tasks at most would find devices on each node once those milli-GPUs (N,) are free, too."""
    return (trial.gpu_free + leaving) // np.maximum(fit.milli_per_device(snap.nodes, request) * request.gpus, 1)


def _first_rows(domains: Ints, count: int) -> Ints:
    """(count,) the first node of each domain: what breaks ties does not depend on how codes were given out."""
    first = np.full(count, len(domains), np.int64)
    first[domains[::-1]] = np.arange(len(domains))[::-1]
    return first


def most_room(snap: Snapshot, wanted: list[tuple[Ints, int]], level: Level) -> tuple[int, str]:
    """(tasks that find room there, name) of the domain of a level with the most room for a job; the first of equals."""
    places = snap.nodes.places
    domains, count = places.domains(level, snap.nodes.height), places.domain_count(level)
    placed = np.zeros(count, np.int64)
    for room, tasks in wanted:
        placed += np.minimum(sum_by(domains, room, count), tasks)
    if not len(domains):
        return 0, ""
    best = int(domains[placed[domains].argmax()])
    return int(placed[best]), places.domain_name(level, best)


def sum_by(domains: Ints, values: Ints, count: int) -> Ints:
    """(count,) the sum of values over each domain."""
    return np.bincount(domains, weights=values, minlength=count).astype(np.int64)
