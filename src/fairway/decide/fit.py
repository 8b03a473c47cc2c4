"""Where a task could go: how many equal tasks each node has room for, and which devices one would get.

Every array is (N,), one entry per node row. ``Capacity`` is either what is free in a trial or what nodes have in all.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from fairway.model.frozen import frozen
from fairway.model.resources import WHOLE, Request
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import NodeTable

PLENTY = 1 << 20
"""More tasks than any node holds: the room for a task that needs nothing."""
SPARSE = 8
"""Where only one node in so many may have room, the others are not looked at."""
LARGE = 256
"""Nodes from which on it pays to see first which of them may have room at all."""
_EVERY = slice(None)


@frozen
class Capacity:
    """Room of every node. Shapes: ``flat`` (N, 4), the rest (N,)."""

    flat: Ints
    idle: Ints
    share_max: Ints
    device_free: Ints
    allowed: Bools

    def at(self, rows: Ints | slice) -> "Capacity":
        """Of these nodes alone."""
        return Capacity(
            self.flat[rows], self.idle[rows], self.share_max[rows], self.device_free[rows], self.allowed[rows]
        )


def free_capacity(snap: Snapshot, trial: Trial, allowed: Bools | None = None) -> Capacity:
    """What is free in a trial on nodes that take work, optionally only on ``allowed`` ones."""
    placeable = snap.nodes.placeable[: snap.nodes.height]
    return Capacity(
        trial.free,
        trial.idle,
        trial.share_max,
        trial.device_free,
        placeable if allowed is None else placeable & allowed,
    )


def whole_capacity(snap: Snapshot, allowed: Bools | None = None) -> Capacity:
    """What every known node, or every ``allowed`` one, has when empty, whether it is up or not. Not to be written."""
    whole = snap.nodes.places.keep(whole_capacity, lambda: _whole_capacity(snap.nodes))
    return whole if allowed is None else replace(whole, allowed=allowed)


def _whole_capacity(nodes: NodeTable) -> Capacity:
    height = nodes.height
    count = nodes.gpu_count[:height]
    indices = np.arange(nodes.device_free.shape[1], dtype=np.int64)
    devices = np.less(indices, count.reshape(-1, 1)).astype(np.int64) * WHOLE
    able = np.ones(height, np.bool_)
    return Capacity(nodes.total[:height], count, np.where(count > 0, WHOLE, 0), devices, able)


Kinds = tuple[tuple[str, int], ...]


@lru_cache(maxsize=4096)
def speed_by_kind(request: Request, kinds: Kinds) -> Floats:
    """(T,) relative speed on each kind of device; 0 where the kind will not do. 1 for tasks without GPUs."""
    if not request.gpus:
        return np.ones(len(kinds), np.float64)
    return np.array([request.speed_on(name) if request.accepts(name) else 0.0 for name, _ in kinds], np.float64)


@lru_cache(maxsize=4096)
def share_by_kind(request: Request, kinds: Kinds) -> Ints:
    """(T,) milli-GPUs taken of one device of each kind; 0 for tasks that take whole devices, or none."""
    if not request.fractional:
        return np.zeros(len(kinds), np.int64)
    return np.array([request.milli_on(memory) for _, memory in kinds], np.int64)


def speeds(nodes: NodeTable, request: Request, rows: Ints | slice = _EVERY) -> Floats:
    """Relative speed of a task on each node, or on those of ``rows``; 0 where its device type will not do. 1 for tasks
    without GPUs."""
    kinds = nodes.kind[: nodes.height][rows]
    if not request.gpus or not request.accelerators:
        return np.ones(len(kinds), np.float64)
    return speed_by_kind(request, tuple(nodes.kinds))[kinds]


def tiers(nodes: NodeTable, request: Request, liking: Floats | None = None) -> Iterator[Bools]:
    """(N,) the nodes with devices of one speed, for each speed that a task may run at, the fastest first; or the same
    by how it likes each kind, ``liking`` (T,)."""
    if not request.gpus or not request.accelerators:
        yield np.ones(nodes.height, np.bool_)
        return
    by_kind = speed_by_kind(request, tuple(nodes.kinds)) if liking is None else liking
    for tier in sorted({*by_kind.tolist()} - {0.0}, reverse=True):
        yield (by_kind == tier)[nodes.kind[: nodes.height]]


def milli_per_device(nodes: NodeTable, request: Request, rows: Ints | slice = _EVERY) -> Ints:
    """Milli-GPUs that a task takes of each device it gets, by node, or on those of ``rows``; over ``WHOLE`` where it
    cannot fit."""
    memory = nodes.gpu_memory[: nodes.height][rows]
    if not request.gpu_memory_mib:
        return np.full(len(memory), request.gpu_milli, np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        need = -(-request.gpu_memory_mib * WHOLE // memory)
    return np.where(memory > 0, need, WHOLE + 1)


def room(nodes: NodeTable, capacity: Capacity, request: Request) -> Ints:
    """How many such tasks each node could take at once; 0 where none."""
    rows = _worth_a_look(capacity, request)
    if isinstance(rows, slice):
        return room_on(nodes, capacity, request, rows)
    count = np.zeros(nodes.height, np.int64)
    count[rows] = room_on(nodes, capacity.at(rows), request, rows)
    return count


def room_on(nodes: NodeTable, capacity: Capacity, request: Request, rows: Ints | slice) -> Ints:
    """``room`` of ``rows`` alone, whose ``capacity`` this is."""
    count = np.full(len(capacity.idle), PLENTY, np.int64)
    for column, need in enumerate(request.flat):
        if need:
            np.minimum(count, capacity.flat[:, column] // need, out=count)
    if request.gpus:
        if request.fractional:
            milli = milli_per_device(nodes, request, rows)
            np.minimum(count, (np.maximum(capacity.device_free, 0) // milli[:, None]).sum(axis=1), out=count)
        else:
            np.minimum(count, capacity.idle // request.gpus, out=count)
        if request.accelerators:
            count[speeds(nodes, request, rows) == 0] = 0
    count[~capacity.allowed] = 0
    return np.maximum(count, 0, out=count)


def fits(nodes: NodeTable, capacity: Capacity, request: Request) -> Bools:
    """Whether each node could take one such task: ``room() > 0``, at less cost."""
    rows = _worth_a_look(capacity, request)
    if isinstance(rows, slice):
        return _fits(nodes, capacity, request, rows)
    ok = np.zeros(nodes.height, np.bool_)
    ok[rows] = _fits(nodes, capacity.at(rows), request, rows)
    return ok


def _fits(nodes: NodeTable, capacity: Capacity, request: Request, rows: Ints | slice) -> Bools:
    ok = capacity.allowed.copy()
    for column, need in enumerate(request.flat):
        if need:
            ok &= capacity.flat[:, column] >= need
    if request.gpus:
        if request.fractional:
            ok &= capacity.share_max >= milli_per_device(nodes, request, rows)
        else:
            ok &= capacity.idle >= request.gpus
        if request.accelerators:
            ok &= speeds(nodes, request, rows) > 0
    return ok


def _worth_a_look(capacity: Capacity, request: Request) -> Ints | slice:
    """Rows of the nodes that are allowed and may have room, by the one number that mostly decides it; all where these
    are many."""
    could = capacity.allowed
    if len(could) < LARGE:
        return _EVERY
    if request.gpus and not request.fractional:
        could = could & (capacity.idle >= request.gpus)
    elif request.cpu_milli:
        could = could & (capacity.flat[:, 0] >= request.cpu_milli)
    return _EVERY if np.count_nonzero(could) * SPARSE > len(could) else could.nonzero()[0]


def pick_devices(device_free: Ints, request: Request, milli: int) -> tuple[int, ...]:
    """The devices of one node that a task gets: the first idle ones, or the tightest with enough left.

    ``device_free`` is (D,), one node's row. The task must fit.
    """
    if not request.gpus:
        return ()
    if request.fractional:
        return (int(np.where(device_free >= milli, device_free, PLENTY).argmin()),)
    free: list[int] = device_free.tolist()
    return tuple([device for device, left in enumerate(free) if left == WHOLE][: request.gpus])
