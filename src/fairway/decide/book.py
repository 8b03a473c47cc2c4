"""Finding devices for what a queue books: those that will be free when it begins, or whose work may be asked to yield.

A device will do that answers for what is asked, is not somebody else's in any part of that time, and on which nobody
runs who would still run at the start, nine times of ten, and keeps no checkpoints. Of those the ones that cost others
nothing come first, on as few nodes as can be. What a booking has it keeps, as long as it is there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from fairway.decide import forecast, preempt
from fairway.decide.booked import leaves_in_time, may_yield
from fairway.model.booking import Booking, BookingShort, Devices
from fairway.model.ids import BookingId, JobId, ancestry
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE
from fairway.state.bookings import Booked, owns
from fairway.state.columns import Bools, Ints
from fairway.state.snapshot import Snapshot
from fairway.state.tables import NO_LIMIT

_FAR = 1 << 60
NAMED = 3
"""Jobs and bookings in the way that a refusal names."""


@dataclass(slots=True)
class _Choice:
    """What may be had. (N, D): ``able`` devices that will do, ``cost`` what others lose by it; ``free`` (N,) nodes on
    which nobody is in the way."""

    able: Bools
    cost: Ints
    free: Bools


@dataclass(slots=True)
class _Obstacles:
    """Why there is not more: devices (or nodes) that will do at all, those that other bookings have, and who stays."""

    matching: int
    booked: dict[BookingId, int] = field(default_factory=dict[BookingId, int])
    staying: dict[JobId, None] = field(default_factory=dict[JobId, None])


def find(
    snap: Snapshot, policy: Policy, wanted: Booked, others: Mapping[BookingId, Devices]
) -> tuple[Devices, BookingShort | None]:
    """Devices for a booking beside what ``others`` have, as many as there are, and why not more. Those that it has
    already stay its own where they still will do."""
    booking = wanted.booking
    over = _over_limit(snap, booking)
    if over is not None and not wanted.devices:
        return (), over
    choice, obstacles = _choice(snap, policy, booking, others)
    kept = _still(snap, choice, wanted)
    found = _nodes(snap, choice, booking, kept) if booking.nodes else _devices(snap, choice, booking, kept)
    have = len(found) if booking.nodes else sum(len(own) for _, own in found)
    if have >= (booking.nodes or booking.gpus):
        return found, None
    kind = "/".join(booking.types) or "GPU"
    largest = f"{have} whole nodes" if booking.nodes else f"{have} {kind}"
    return found, BookingShort(booking.need, largest, "; ".join(_because(snap, booking, obstacles)))


def _over_limit(snap: Snapshot, booking: Booking) -> BookingShort | None:
    for name in ancestry(booking.queue):
        row = snap.queues.row_of.get(name)
        most = NO_LIMIT if row is None else int(snap.queues.limit[row, 2])
        if booking.gpus * WHOLE > most:
            why = f"queue {name or '(root)'} may use {most / WHOLE:g} GPUs at most"
            return BookingShort(booking.need, f"{most // WHOLE} GPU", why)
    return None


def _choice(
    snap: Snapshot, policy: Policy, booking: Booking, others: Mapping[BookingId, Devices]
) -> tuple[_Choice, _Obstacles]:
    nodes, height = snap.nodes, snap.nodes.height
    width = nodes.device_free.shape[1]
    ok = nodes.places.allowed(booking.where.site, height) & nodes.placeable[:height]
    if booking.types:
        kinds = np.array([kind in booking.types for kind, _ in nodes.kinds] or [False], np.bool_)
        ok = ok & kinds[nodes.kind[:height]] & (nodes.gpu_count[:height] > 0)
    exists: Bools = np.less(np.arange(width, dtype=np.int64), nodes.gpu_count[:height].reshape(-1, 1))
    choice = _Choice(exists & ok.reshape(-1, 1), np.zeros((height, width), np.int64), ok.copy())
    obstacles = _Obstacles(int(ok.sum() if booking.nodes else choice.able.sum()))
    _leave_to_others(snap, booking, others, choice, obstacles)
    _look_at_work(snap, policy, booking, choice, obstacles)
    return choice, obstacles


def _leave_to_others(
    snap: Snapshot, booking: Booking, others: Mapping[BookingId, Devices], choice: _Choice, obstacles: _Obstacles
) -> None:
    """What somebody else has booked for a part of that time."""
    for name, devices in others.items():
        if not snap.bookings.table[name].booking.overlaps(booking):
            continue
        for node, own in devices:
            row = snap.nodes.row_of.get(node, -1)
            if row < 0:
                continue
            lost = int(choice.free[row]) if booking.nodes else int(choice.able[row, list(own)].sum())
            if lost:
                obstacles.booked[name] = obstacles.booked.get(name, 0) + lost
            choice.able[row, list(own)] = choice.free[row] = False


def _look_at_work(snap: Snapshot, policy: Policy, booking: Booking, choice: _Choice, obstacles: _Obstacles) -> None:
    """Who runs there, or has room held: it costs nothing if it ends in time, its work if it has to yield, and whoever
    neither ends nor yields is in the way."""
    for row, placement, end in _holders(snap, booking, choice):
        if end <= booking.start and leaves_in_time(snap, row, booking):
            cost = 1
        elif may_yield(snap, row) and leaves_in_time(snap, row, booking):
            cost = 2 + preempt.lost_work(snap, policy, row).lost
        else:
            cost = _FAR
        for task in placement:
            node, devices = snap.nodes.row_of[task.node], list(task.devices)
            if cost == _FAR:
                if choice.free[node] if booking.nodes else choice.able[node, devices].any():
                    obstacles.staying[snap.jobs.id_of(row)] = None
                choice.able[node, devices] = choice.free[node] = False
            elif devices:
                choice.cost[node, devices] += cost
            elif booking.nodes:
                choice.cost[node, 0] += cost


def _holders(snap: Snapshot, booking: Booking, choice: _Choice) -> Iterator[tuple[int, Placement, int]]:
    """(row, placement, when it ends nine times of ten) of jobs of others that are or will be there."""
    jobs, nodes = snap.jobs, snap.nodes
    there = np.flatnonzero(choice.able.any(axis=1) | choice.free)
    rows = dict.fromkeys(jobs.row_of[job] for node in there.tolist() for job in nodes.attempts[node])
    live = np.array([r for r in rows if not owns(snap.queues, int(jobs.queue[r]), booking)], np.int64)
    ends = forecast.instants(snap.now, forecast.running(snap.history, jobs, live, snap.now).p90)
    for row, end in zip(live.tolist(), ends.tolist(), strict=True):
        yield row, jobs.placement[row], end
    held = np.array([r for r in snap.held if not owns(snap.queues, int(jobs.queue[r]), booking)], np.int64)
    ends = forecast.instants(snap.now, forecast.pending(snap.history, jobs, held).p90)
    waiting: list[int] = held.tolist()
    for row, end in zip(waiting, ends.tolist(), strict=True):
        hold = jobs.hold[row]
        if hold is not None:
            yield row, hold.placement, end


def _still(snap: Snapshot, choice: _Choice, wanted: Booked) -> dict[int, list[int]]:
    """Devices that a booking has and that are still there, by node: whoever runs on them will be told to leave."""
    nodes, found = snap.nodes, dict[int, list[int]]()
    for name, own in wanted.devices:
        row = nodes.row_of.get(name, -1)
        if row >= 0 and nodes.placeable[row]:
            devices = [device for device in own if device < nodes.gpu_count[row]]
            if len(devices) == len(own) or not (wanted.booking.nodes or wanted.booking.per_node):
                found[row] = devices
                choice.able[row, devices] = choice.free[row] = False
    return found


def _nodes(snap: Snapshot, choice: _Choice, booking: Booking, kept: dict[int, list[int]]) -> Devices:
    """The whole nodes that cost others least; of equals the first."""
    count = snap.nodes.gpu_count
    missing = max(booking.nodes - len(kept), 0)
    rows = np.flatnonzero(choice.free)
    order = rows[np.lexsort((rows, choice.cost[rows].sum(axis=1)))][:missing]
    chosen = {**kept, **{row: list(range(int(count[row]))) for row in order.tolist()}}
    return _named(snap, chosen)


def _devices(snap: Snapshot, choice: _Choice, booking: Booking, kept: dict[int, list[int]]) -> Devices:
    """Devices, on the nodes of one executor where that has enough: no gang spans two."""
    missing = max(booking.gpus - sum(map(len, kept.values())), 0)
    column, best = snap.nodes.executor[: snap.nodes.height], dict[int, list[int]]()
    fewest = _FAR
    for _, code in sorted(snap.nodes.executors.items()):
        found = _among(choice, column == code, booking, missing)
        cost = sum(int(choice.cost[row, own].sum()) for row, own in found.items())
        if sum(map(len, found.values())) >= missing and cost < fewest:
            best, fewest = found, cost
    if not best and missing:
        best = _among(choice, np.ones(len(column), np.bool_), booking, missing)
    chosen = {row: list(own) for row, own in kept.items()}
    for row, own in best.items():
        chosen[row] = sorted([*chosen.get(row, []), *own])
    return _named(snap, chosen)


def _among(choice: _Choice, here: Bools, booking: Booking, missing: int) -> dict[int, list[int]]:
    """So many devices of these nodes, by row."""
    able = choice.able & here.reshape(-1, 1)
    if not booking.per_node:
        cheap = _filled(able & (choice.cost <= 1), choice.cost, missing)
        rest = missing - sum(map(len, cheap.values()))
        if rest:
            for row, own in cheap.items():
                able[row, own] = False
            for row, own in _cheapest(able, choice.cost, rest).items():
                cheap[row] = sorted([*cheap.get(row, []), *own])
        return cheap
    each = booking.per_node
    count = able.sum(axis=1)
    rows = np.flatnonzero(count >= each)
    price = np.sort(np.where(able[rows], choice.cost[rows], _FAR), axis=1)[:, :each].sum(axis=1)
    order = rows[np.lexsort((rows, count[rows], price))][: missing // each]
    return {row: _first(able[row], choice.cost[row], each) for row in order.tolist()}


def _filled(able: Bools, cost: Ints, missing: int) -> dict[int, list[int]]:
    """Node by node, those with most to give first; the last one that is needed has as little beyond as can be."""
    count = able.sum(axis=1)
    chosen: dict[int, list[int]] = {}
    left = count.copy()
    for row in np.lexsort((np.arange(len(count)), -count)).tolist():
        if missing <= 0 or not count[row]:
            break
        if count[row] >= missing:
            enough = np.flatnonzero(left >= missing)
            row = int(enough[left[enough].argmin()])
        own = _first(able[row], cost[row], min(missing, int(count[row])))
        chosen[row], left[row] = own, 0
        missing -= len(own)
    return chosen


def _cheapest(able: Bools, cost: Ints, missing: int) -> dict[int, list[int]]:
    """The devices that cost others least, those of a node together."""
    node, device = np.nonzero(able)
    total = np.where(able, cost, 0).sum(axis=1) // np.maximum(able.sum(axis=1), 1)
    order = np.lexsort((device, node, total[node]))[:missing]
    chosen: dict[int, list[int]] = {}
    for row, own in zip(node[order].tolist(), device[order].tolist(), strict=True):
        chosen.setdefault(row, []).append(own)
    return chosen


def _first(able: Bools, cost: Ints, many: int) -> list[int]:
    """So many devices of one node, the cheapest first."""
    devices = np.flatnonzero(able)
    return sorted(devices[np.lexsort((devices, cost[devices]))][:many].tolist())


def _named(snap: Snapshot, chosen: dict[int, list[int]]) -> Devices:
    return tuple((snap.nodes.id_of(row), tuple(own)) for row, own in sorted(chosen.items()))


def _because(snap: Snapshot, booking: Booking, obstacles: _Obstacles) -> Iterator[str]:
    unit = "nodes" if booking.nodes else "/".join(booking.types) or "GPUs"
    asks = f" that answer for {booking.where}" if str(booking.where) else ""
    yield f"there are {obstacles.matching} {unit} in all{asks}"
    for name, count in list(obstacles.booked.items())[:NAMED]:
        other = snap.bookings.table[name].booking
        yield f"{count} are booked by {name} (queue {other.queue}, {other.span})"
    staying = list(obstacles.staying)
    if staying:
        more = f" and {len(staying) - NAMED} more" if len(staying) > NAMED else ""
        yield f"{', '.join(staying[:NAMED])}{more} may run beyond the start and cannot be asked to yield"
    if booking.per_node:
        yield f"only nodes with {booking.per_node} count"
