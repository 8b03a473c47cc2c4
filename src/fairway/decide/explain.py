"""Why a job does not start, in numbers: what it needs, the largest there is, what is short, who holds it."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from fairway.decide import fit, near
from fairway.decide.admit import over_limit
from fairway.decide.line import Line
from fairway.decide.marks import NO_ROOM
from fairway.model.ids import JobId
from fairway.model.reasons import NeverFits, NoRoom, Refusal
from fairway.model.resources import FLAT, WHOLE, Request
from fairway.model.where import ANYWHERE
from fairway.state.columns import Bools, Ints
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial

_UNITS = {"cpu_milli": "CPU", "memory_mib": "MiB", "disk_mib": "MiB disk", "network_mbps": "Mbit/s"}


MOST_EXPLAINED = 4
"""Shapes whose numbers are brought up to date in one decision; every shape without a reason gets one."""


Unless = Callable[[Shape], Refusal | None]
"""A better reason than the lack of room, for a shape; None where there is none."""


def refusals(snap: Snapshot, trial: Trial, line: Line, unless: Unless) -> Iterator[tuple[int, Refusal]]:
    """(place in line, reason) of what is to be told: of every shape that found no room and every group that met a
    limit, where that says something new. The first job in line speaks for all."""
    groups, told = snap.groups, set[int]()
    places = sorted(line.no_room[line.no_room >= 0].tolist())
    turn = snap.now // 1000
    for index, at in enumerate(places):
        row = int(line.groups[at])
        known = groups.shapes.reason[groups.keys[row][0]]
        due = (index + turn) % max(len(places), MOST_EXPLAINED) < MOST_EXPLAINED
        if known is None or isinstance(known, NeverFits) or due:
            shape = groups.group(row).shape
            reason = unless(shape) or no_room(snap, trial, shape)
            if reason != known:
                told.add(row)
                yield at, reason
    for at, row in _no_longer_limited(snap, line):
        if row not in told:
            yield at, groups.shapes.reason[groups.keys[row][0]] or no_room(snap, trial, groups.group(row).shape)
    for row in np.flatnonzero(line.over >= 0).tolist():
        group = groups.group(row)
        reason = over_limit(snap, trial, group.queue, group.shape.least_sums)
        if reason is None and groups.reason(row) is None:  # by now its owner uses what was kept
            yield int(line.over[row]), no_room(snap, trial, group.shape)
        elif reason is not None and reason != groups.limit_reason[row]:
            yield int(line.over[row]), reason


def _no_longer_limited(snap: Snapshot, line: Line) -> Iterator[tuple[int, int]]:
    """(place of its first job, group) of groups that a limit held back before, and now the lack of room."""
    if np.count_nonzero(snap.groups.limited):
        places = np.flatnonzero((line.answers == NO_ROOM) & snap.groups.limited[line.groups])
        rows, firsts = np.unique(line.groups[places], return_index=True)
        yield from zip(places[firsts].tolist(), rows.tolist(), strict=True)


def no_room(snap: Snapshot, trial: Trial, shape: Shape) -> NoRoom | NeverFits:
    """The reason for a job that was tried on a trial and did not fit."""
    never = never_fits(snap, shape)
    if never is not None:
        return never
    able, together = near.allowed(snap, shape, trial), shape.where.together
    capacity = fit.free_capacity(snap, trial, able)
    request = _hardest(snap, capacity, shape)
    row = _nearest(snap, capacity, request)
    tasks = sum(least for _, _, least in shape.roles)
    wanted = near.rooms(snap, trial, shape, able, least=True)
    placed, domain = min(sum(int(np.minimum(room, least).sum()) for room, least in wanted), tasks), ""
    if together is not None and together.required and tasks > 1:
        placed, domain = near.most_room(snap, wanted, together.level)
    apart = _kept_apart(snap, trial, shape, request, able)
    if row is None:
        largest = "nothing: no such node is up" if not apart else "nothing"
        return NoRoom(str(shape), largest, _kind(request), placed, tasks, domain=domain, apart=apart)
    return NoRoom(
        str(shape),
        _describe(snap, capacity, row, request),
        _blocker(snap, capacity, request),
        placed,
        tasks,
        _holders(snap, row),
        domain=domain,
        apart=apart,
    )


def _kept_apart(snap: Snapshot, trial: Trial, shape: Shape, request: Request, able: Bools) -> str:
    """Whom a job keeps apart from, where a task would have found room with them."""
    if not shape.where.apart or fit.fits(snap.nodes, fit.free_capacity(snap, trial, able), request).any():
        return ""
    capacity = fit.free_capacity(snap, trial, near.allowed(snap, shape))
    return ", ".join(map(str, shape.where.apart)) if fit.fits(snap.nodes, capacity, request).any() else ""


def never_fits(snap: Snapshot, shape: Shape) -> NeverFits | None:
    """Why a job could not start even if every known node were up and empty; None when it could. Where one constraint
    alone leaves out the nodes that could hold it, it is named."""
    return snap.nodes.places.keep((never_fits, shape), lambda: _never_fits(snap, shape))


def _never_fits(snap: Snapshot, shape: Shape) -> NeverFits | None:
    never = _never(snap, shape)
    if never is None:
        return None
    for name, where in shape.where.without():
        if _never(snap, replace(shape, where=where)) is None:
            return replace(never, but_for=name)
    freed = replace(shape, where=replace(ANYWHERE, tolerates=("*",), spot=True))
    if shape.where.site != ANYWHERE and _never(snap, freed) is None:
        return replace(never, but_for="all that it asks of nodes")
    return never


def _never(snap: Snapshot, shape: Shape) -> NeverFits | None:
    whole = fit.whole_capacity(snap, near.allowed(snap, shape))
    rooms = [(request, least, fit.room(snap.nodes, whole, request)) for request, _, least in shape.roles]
    for request, least, room in rooms:
        if int(np.minimum(room, least).sum()) < least:
            row = _nearest(snap, whole, request)
            largest = "no node" if row is None else _describe(snap, whole, row, request)
            if row is not None and room.any():
                largest = f"room for {int(room.sum())} such tasks on all nodes together"
                return NeverFits(str(shape), largest, "nodes")
            return NeverFits(str(shape), largest, _kind(request) if row is None else _blocker(snap, whole, request))
    return _never_in_one_domain(snap, shape, [(room, least) for _, least, room in rooms])


def _never_in_one_domain(snap: Snapshot, shape: Shape, wanted: list[tuple[Ints, int]]) -> NeverFits | None:
    """A gang never spans two executors, so one of them must have nodes enough for all of it; and so must one domain of
    the level in which it has to stand together."""
    tasks, together = sum(least for _, least in wanted), shape.where.together
    if tasks < 2:
        return None
    best, where = -1, ""
    for executor, code in snap.nodes.executors.items():
        own = snap.nodes.executor[: snap.nodes.height] == code
        placed = sum(min(int(room[own].sum()), least) for room, least in wanted)
        if placed > best:
            best, where = placed, f"on the nodes of {executor}"
    short_of = "nodes of one executor"
    if best == tasks and together is not None and together.required:
        best, domain = near.most_room(snap, wanted, together.level)
        where, short_of = f"in {domain}", f"nodes of one {together.level}"
    if best == tasks:
        return None
    return NeverFits(str(shape), f"room for {best} of its {tasks} tasks {where}", short_of)


def _hardest(snap: Snapshot, capacity: fit.Capacity, shape: Shape) -> Request:
    """The role's request with room on the fewest nodes."""
    counts = [int(fit.fits(snap.nodes, capacity, request).sum()) for request, _, _ in shape.roles]
    return shape.roles[counts.index(min(counts))][0]


def _accepted(snap: Snapshot, capacity: fit.Capacity, request: Request) -> Bools:
    accepted = capacity.allowed & (fit.speeds(snap.nodes, request) > 0)
    return accepted & (snap.nodes.gpu_count[: snap.nodes.height] > 0) if request.gpus else accepted


def _nearest(snap: Snapshot, capacity: fit.Capacity, request: Request) -> int | None:
    """The accepted node that meets most of the request, and of those the one with most GPUs, then CPU, to give."""
    accepted = _accepted(snap, capacity, request)
    if not accepted.any():
        return None
    rooms = _room_by_resource(snap, capacity, request).values()
    met = sum(((room > 0).astype(np.int64) for room in rooms), np.zeros(len(accepted), np.int64))
    best = np.flatnonzero(accepted)
    for most in (met, capacity.idle, capacity.share_max, capacity.flat[:, 0]):
        here = most[best]
        best = best[here == here.max()]
    return int(best[0])


def _blocker(snap: Snapshot, capacity: fit.Capacity, request: Request) -> str:
    """The resource that alone would let the fewest such tasks in on all accepted nodes together."""
    accepted = _accepted(snap, capacity, request)
    tasks = {name: int(count[accepted].sum()) for name, count in _room_by_resource(snap, capacity, request).items()}
    return min(tasks, key=tasks.__getitem__, default="nodes")


def _room_by_resource(snap: Snapshot, capacity: fit.Capacity, request: Request) -> dict[str, Ints]:
    """For each resource asked for, GPUs first: (N,) how many such tasks it alone would let in on each node."""
    found: dict[str, Ints] = {}
    if request.fractional:
        milli = fit.milli_per_device(snap.nodes, request)
        found["gpus"] = (np.maximum(capacity.device_free, 0) // milli.reshape(-1, 1)).sum(axis=1)
    elif request.gpus:
        found["gpus"] = capacity.idle // request.gpus
    for column, (name, need) in enumerate(zip(FLAT, request.flat, strict=True)):
        if need:
            found[name] = np.maximum(capacity.flat[:, column], 0) // need
    return found


def _kind(request: Request) -> str:
    return "/".join(a.type for a in request.accelerators) or ("gpus" if request.gpus else "nodes")


def _describe(snap: Snapshot, capacity: fit.Capacity, row: int, request: Request) -> str:
    """What one node has to give of what the request asks for."""
    parts: list[str] = []
    if request.gpus:
        node = snap.nodes.node(row)
        if request.fractional:
            share, kind = int(capacity.share_max[row]), node.gpu_type or "GPU"
            by_memory = f"{share * node.gpu_memory_mib // WHOLE}MiB" if request.gpu_memory_mib else f"{share / WHOLE:g}"
            parts.append(f"{by_memory} of one {kind}")
        else:
            parts.append(f"{int(capacity.idle[row])} {node.gpu_type or 'GPU'}")
    for column, (name, need) in enumerate(zip(FLAT, request.flat, strict=True)):
        if need:
            # Below zero where held room is still being emptied.
            free = max(int(capacity.flat[row, column]), 0)
            parts.append(f"{free / 1000:g} CPU" if name == "cpu_milli" else f"{free} {_UNITS[name]}")
    return f"{' + '.join(parts) or 'nothing'} on {snap.nodes.id_of(row)}"


def _holders(snap: Snapshot, row: int, most: int = 3) -> tuple[JobId, ...]:
    """Jobs that hold the most GPUs, then CPUs, of a node."""
    jobs = snap.jobs
    held = sorted(
        snap.nodes.attempts[row],
        key=lambda job: (*(-int(x) for x in jobs.sums[jobs.row_of[job], [2, 0]]), jobs.ordinal[jobs.row_of[job]]),
    )
    return tuple(held[:most])
