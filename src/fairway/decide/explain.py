"""Why a job does not start, in numbers: what it needs, the largest there is, what is short, who holds it."""

import numpy as np

from fairway.decide import fit
from fairway.decide.gang import Short
from fairway.model.ids import JobId
from fairway.model.reasons import NeverFits, NoRoom
from fairway.model.resources import FLAT, WHOLE, Request
from fairway.state.columns import Bools
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial

_UNITS = {"cpu_milli": "CPU", "memory_mib": "MiB", "disk_mib": "MiB disk", "network_mbps": "Mbit/s"}


def no_room(snap: Snapshot, trial: Trial, shape: Shape, short: Short) -> NoRoom | NeverFits:
    """The reason for a job that was tried on a trial and found ``short``."""
    never = never_fits(snap, shape)
    if never is not None:
        return never
    request = _hardest(snap, trial, shape)
    capacity = fit.free_capacity(snap, trial)
    row = _nearest(snap, capacity, request)
    tasks = sum(count for _, _, count in shape.roles)
    if row is None:
        return NoRoom(str(shape), "nothing: no such node is up", _kind(request), short.placed, tasks)
    return NoRoom(
        str(shape),
        _describe(snap, capacity, row, request),
        _blocker(snap, capacity, request),
        short.placed,
        tasks,
        _holders(snap, row),
    )


def never_fits(snap: Snapshot, shape: Shape) -> NeverFits | None:
    """Why a job could not start even if every known node were up and empty; None when it could."""
    whole = fit.whole_capacity(snap)
    rooms = [(request, least, fit.room(snap.nodes, whole, request)) for request, _, least in shape.roles]
    for request, least, room in rooms:
        if int(np.minimum(room, least).sum()) < least:
            row = _nearest(snap, whole, request)
            largest = "no node" if row is None else _describe(snap, whole, row, request)
            if row is not None and room.any():
                largest = f"room for {int(room.sum())} such tasks on all nodes together"
                return NeverFits(str(shape), largest, "nodes")
            return NeverFits(str(shape), largest, _kind(request) if row is None else _blocker(snap, whole, request))
    return None


def _hardest(snap: Snapshot, trial: Trial, shape: Shape) -> Request:
    """The role's request with room on the fewest nodes."""
    capacity = fit.free_capacity(snap, trial)
    counts = [int(fit.fits(snap.nodes, capacity, request).sum()) for request, _, _ in shape.roles]
    return shape.roles[counts.index(min(counts))][0]


def _accepted(snap: Snapshot, capacity: fit.Capacity, request: Request) -> Bools:
    accepted = capacity.allowed & (fit.speeds(snap.nodes, request) > 0)
    return accepted & (snap.nodes.gpu_count[: snap.nodes.height] > 0) if request.gpus else accepted


def _met(snap: Snapshot, capacity: fit.Capacity, request: Request) -> dict[str, Bools]:
    """For each resource asked for: which nodes have enough of it."""
    met = {
        name: capacity.flat[:, i] >= need for i, (name, need) in enumerate(zip(FLAT, request.flat, strict=True)) if need
    }
    if request.fractional:
        met["gpus"] = capacity.share_max >= fit.milli_per_device(snap.nodes, request)
    elif request.gpus:
        met["gpus"] = capacity.idle >= request.gpus
    return met


def _nearest(snap: Snapshot, capacity: fit.Capacity, request: Request) -> int | None:
    """The accepted node that meets most of the request, and of those the one with most GPUs, then CPU, to give."""
    accepted = _accepted(snap, capacity, request)
    if not accepted.any():
        return None
    met = sum((ok.astype(np.int64) for ok in _met(snap, capacity, request).values()), np.zeros(len(accepted), np.int64))
    rank = np.lexsort((-capacity.flat[:, 0], -capacity.share_max, -capacity.idle, -met, ~accepted))
    return int(rank[0])


def _blocker(snap: Snapshot, capacity: fit.Capacity, request: Request) -> str:
    """The resource that the fewest accepted nodes have enough of."""
    accepted = _accepted(snap, capacity, request)
    met = _met(snap, capacity, request)
    return min(met, key=lambda name: int((met[name] & accepted).sum()), default="nodes")


def _kind(request: Request) -> str:
    return "/".join(a.type for a in request.accelerators) or ("gpus" if request.gpus else "nodes")


def _describe(snap: Snapshot, capacity: fit.Capacity, row: int, request: Request) -> str:
    """What one node has to give of what the request asks for."""
    parts: list[str] = []
    if request.gpus:
        node = snap.nodes.node(row)
        if request.fractional:
            parts.append(f"{int(capacity.share_max[row]) / WHOLE:g} of a {node.gpu_type or 'GPU'}")
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
