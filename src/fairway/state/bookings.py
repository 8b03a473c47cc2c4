"""Devices that queues have booked: what was asked for, what was found, and what the clock does to it.

A booking is asked for by a fact; the next decision finds devices for it, or says why there are none (``Book``,
``Overbooked``). From then on one timer at a time stands for it: when others there are told to stop, its start, its end,
and when it may have stood idle for too long.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fairway.model.booking import Booking, BookingShort, Devices
from fairway.model.facts import BookingRemoved, BookingSet
from fairway.model.ids import BookingId, NodeId
from fairway.model.plan import Book, OneAction, Overbooked, Start
from fairway.model.policy import Large
from fairway.model.queue import Queue
from fairway.model.time import MINUTE, Instant, later
from fairway.model.where import Level, Selector, Where
from fairway.state.columns import Bools, Ints
from fairway.state.tables import NodeTable, QueueTable

if TYPE_CHECKING:
    from fairway.state.cluster import ClusterState


_LONG_AGO = Instant(0)


@dataclass(slots=True)
class Booked:
    """A booking and what became of it, as the state has it and a checkpoint keeps it.

    ``accepted``: devices were found for it, though some may have been lost since. ``look``: the next decision is to
    look at it. ``used_at``: when one of its queue's jobs was last known to run there. ``next_at``: its timer.
    """

    booking: Booking
    devices: Devices = ()
    accepted: bool = False
    refused: BookingShort | None = None
    look: bool = True
    used_at: Instant = _LONG_AGO
    next_at: Instant = _LONG_AGO

    @property
    def stands(self) -> bool:
        """Whether it was not refused."""
        return self.refused is None

    @property
    def missing(self) -> int:
        """Nodes, or devices, that it asks for and has not got, or has no more."""
        if self.booking.nodes:
            return self.booking.nodes - len(self.devices)
        return self.booking.gpus - sum(len(devices) for _, devices in self.devices)


class Columns(NamedTuple):
    """What a booking has: ``node`` and ``device`` (K,) are its devices, ``rows`` (U,) its nodes, and ``whole`` (U,)
    says which are its own with all that they have."""

    node: Ints
    device: Ints
    rows: Ints
    whole: Bools


@dataclass(slots=True)
class Bookings:
    """Every booking by name, in the order in which they were asked for."""

    table: dict[BookingId, Booked] = field(default_factory=dict[BookingId, Booked])
    version: int = 0
    """How often something here has changed that views or columns show."""
    _columns: tuple[tuple[int, int], dict[BookingId, Columns]] | None = None
    _large: tuple[tuple[Large, int, int], Ints] | None = None
    seen_large: Ints | None = None
    """Derived: the nodes that were kept for large jobs when everybody had last been woken for it."""

    def __bool__(self) -> bool:
        return bool(self.table)

    @property
    def due(self) -> bool:
        """Whether a decision is to look at one of them."""
        return bool(self.table) and any(each.look for each in self.table.values())

    def expects(self, booking: BookingId, at: int) -> bool:
        """Whether a booking's timer still means something."""
        found = self.table.get(booking)
        return found is not None and found.next_at == at

    def large(self, nodes: NodeTable, rule: Large) -> Ints:
        """Rows of the nodes that are kept for large jobs, less those that are booked; chosen again only when a node or
        a booking has changed."""
        key = (rule, self.version, nodes.version)
        if self._large is None or self._large[0] != key:
            rows = _kept_for_large(nodes, rule)
            booked = [each.rows for each in self.columns(nodes).values()]
            self._large = key, np.setdiff1d(rows, np.concatenate(booked)) if booked else rows
        return self._large[1]

    def columns(self, nodes: NodeTable) -> dict[BookingId, Columns]:
        """What stands, as columns; compiled again only when a booking or a node has changed."""
        key = (self.version, nodes.version)
        if self._columns is None or self._columns[0] != key:
            standing = (each for each in self.table.values() if each.stands)
            self._columns = key, {each.booking.id: compiled(each.booking, each.devices, nodes) for each in standing}
        return self._columns[1]


def _kept_for_large(nodes: NodeTable, rule: Large) -> Ints:
    """The largest of the nodes that answer, those of a rack together; of equals the first."""
    height = nodes.height
    able = nodes.gpu_count[:height] > 0
    if rule.label:
        key, _, value = rule.label.partition("=")
        where = Where(labels=(Selector(key, (value,) if value else ()),), tolerates=("*",), spot=True)
        able = able & nodes.places.allowed(where, height)
    rows = np.flatnonzero(able)
    rack = nodes.places.domains(Level.RACK, height)[rows]
    order = np.lexsort((rows, rack, -nodes.gpu_count[rows]))
    return np.sort(rows[order][: ceil(rule.share * len(rows))])


def compiled(booking: Booking, devices: Devices, nodes: NodeTable) -> Columns:
    """What a booking has, as columns; what nodes no longer have is left out."""
    there = [(nodes.row_of[name], own) for name, own in devices if name in nodes.row_of]
    pairs = [(row, device) for row, own in there for device in own if device < nodes.gpu_count[row]]
    rows = np.array([row for row, _ in there], np.int64)
    whole = np.full(len(there), booking.nodes > 0, np.bool_)
    column = np.array(pairs, np.int64).reshape(-1, 2)
    return Columns(column[:, 0], column[:, 1], rows, whole)


def owners(queues: QueueTable, booking: Booking) -> Bools:
    """(Q,) the queue of a booking and those below it."""
    row = queues.row_of.get(booking.queue, -2)
    return np.any(queues.path == row, axis=1)


def owns(queues: QueueTable, queue: int, booking: Booking) -> bool:
    """Whether a queue is that of a booking, or below it."""
    return queues.row_of.get(booking.queue, -2) in queues.above[queue]


# -- facts and rulings ----------------------------------------------------------------------------------------------


def set_booking(state: "ClusterState", fact: BookingSet) -> None:
    """Somebody wants devices; whoever has a booking of that name keeps it as it is."""
    booking, before = fact.booking, state.bookings.table.get(fact.booking.id)
    if (before is not None and before.refused is None) or booking.end <= state.now:
        return
    if booking.queue not in state.queues.row_of:
        state.put_queue(Queue(booking.queue))
    state.bookings.table.pop(booking.id, None)
    state.bookings.table[booking.id] = Booked(booking)
    state.bookings.version += 1
    _note_hosts(state)
    _arm(state, booking.id)


def remove_booking(state: "ClusterState", fact: BookingRemoved) -> None:
    """Nobody wants it any more."""
    _drop(state, fact.booking)


def book(state: "ClusterState", action: Book) -> None:
    """Devices were found; those that it had before and has no more are everybody's."""
    found = state.bookings.table.get(action.booking)
    if found is None:
        return
    news = not found.accepted or found.devices != action.devices
    found.look, found.accepted = False, True
    if news:
        _wake(state, found.devices)
        state.lighter.add(state.queues.row_of[found.booking.queue])  # its jobs may ask guests to leave
        found.devices = action.devices
        state.bookings.version += 1
    _arm(state, action.booking)


def overbook(state: "ClusterState", action: Overbooked) -> None:
    """It cannot be; it is kept until its end, or until it is removed, so that whoever asked can read why."""
    found = state.bookings.table.get(action.booking)
    if found is None:
        return
    found.look, found.refused = False, action.reason
    state.bookings.version += 1
    _note_hosts(state)
    _arm(state, action.booking)


RULES = {Book: book, Overbooked: overbook}
FACTS = {BookingSet: set_booking, BookingRemoved: remove_booking}


def _note_hosts(state: "ClusterState") -> None:
    """Which queues have booked room that others may use."""
    hosts = np.zeros(state.queues.height, np.bool_)
    for found in state.bookings.table.values():
        if found.booking.flexible and found.stands:
            hosts |= owners(state.queues, found.booking)
    state.queues.hosts[: state.queues.height] = hosts


def come_to(state: "ClusterState", name: BookingId) -> None:
    """A booking's timer has come."""
    found = state.bookings.table[name]
    booking, now = found.booking, state.now
    if booking.end <= now or _idle_for_long(state, found):
        _drop(state, name)
        return
    if found.stands:
        found.look |= now >= booking.drains or found.missing > 0
        _wake(state, found.devices)  # the rules for others change: who yields may come in, or nobody more
    _arm(state, name)


def node_changed(state: "ClusterState", node: NodeId) -> None:
    """A node is lost, or takes no more work: what is booked there has to be found elsewhere."""
    for found in state.bookings.table.values():
        found.look |= found.stands and any(name == node for name, _ in found.devices)


def left(state: "ClusterState", row: int) -> None:
    """An attempt is about to give its room back: what its queue had booked there was in use until now."""
    queue, placement = int(state.jobs.queue[row]), state.jobs.placement[row]
    for found in state.bookings.table.values():
        if found.booking.idle_for is not None and owns(state.queues, queue, found.booking):
            here = {name for name, _ in found.devices}
            if any(task.node in here for task in placement):
                found.used_at = state.now


def taken(state: "ClusterState", actions: Iterable[OneAction]) -> None:
    """Some have started: of booked devices that are in use, CPU and memory are kept no longer."""
    booked = {name for found in state.bookings.table.values() if not found.booking.nodes for name, _ in found.devices}
    started = (action for action in actions if isinstance(action, Start))
    names = {task.node for action in started for task in action.placement if task.devices and task.node in booked}
    state.roomier.update(dict.fromkeys(sorted(state.nodes.row_of[name] for name in names)))


def in_use(state: "ClusterState", found: Booked) -> bool:
    """Whether a job of its queue runs on a node of a booking."""
    jobs, nodes = state.jobs, state.nodes
    return any(
        owns(state.queues, int(jobs.queue[jobs.row_of[job]]), found.booking)
        for name, _ in found.devices
        if name in nodes.row_of
        for job in nodes.attempts[nodes.row_of[name]]
    )


def _idle_for_long(state: "ClusterState", found: Booked) -> bool:
    booking = found.booking
    if booking.idle_for is None or not found.stands or state.now < _idle_until(found):
        return False
    if in_use(state, found):
        found.used_at = state.now
        return False
    return True


def _idle_until(found: Booked) -> Instant:
    """When it has stood idle for too long, if nothing runs there until then."""
    since = max(found.booking.start, found.used_at)
    return later(Instant(since), found.booking.idle_for) if found.booking.idle_for is not None else found.booking.end


def _drop(state: "ClusterState", name: BookingId) -> None:
    found = state.bookings.table.pop(name, None)
    if found is None:
        return
    state.bookings.version += 1
    _note_hosts(state)
    _wake(state, found.devices)
    for other in state.bookings.table.values():
        other.look |= other.stands and other.missing > 0


def _wake(state: "ClusterState", devices: Devices) -> None:
    """Whoever was refused may find room on these nodes."""
    _open_up(state, [state.nodes.row_of[name] for name, _ in devices if name in state.nodes.row_of])


def _open_up(state: "ClusterState", nodes: Sequence[int]) -> None:
    """Nodes are open to others. Who finds no free room there may find somebody who can go on with less."""
    state.roomier.update(dict.fromkeys(nodes))
    if nodes and state.flexible:
        state.groups.wake(np.ones(state.groups.height, np.bool_))


def _arm(state: "ClusterState", name: BookingId) -> None:
    """Set the next timer of a booking."""
    found = state.bookings.table[name]
    booking, now = found.booking, state.now
    times = [booking.end]
    if found.stands:
        times += [booking.drains, booking.start, _idle_until(found)]
        times += [later(now, MINUTE)] if found.missing > 0 else []
    found.next_at = min(at for at in times if at > now)
    state.set_timer(found.next_at, "booking", name)


def load_bookings(state: "ClusterState", kept: tuple[Booked, ...]) -> None:
    """Take over what a checkpoint kept."""
    for each in kept:
        state.bookings.table[each.booking.id] = each
        state.set_timer(each.next_at, "booking", each.booking.id)
    state.bookings.version += 1
    _note_hosts(state)
    if state.groups.large_from:
        note_large(state)


def note_large(state: "ClusterState") -> None:
    """Nodes are kept for large jobs no longer, as others came: whoever was refused may find room there."""
    rows = state.bookings.large(state.nodes, state.policy.backfill.large)
    before, state.bookings.seen_large = state.bookings.seen_large, rows
    if before is not None and before is not rows:
        _open_up(state, np.setdiff1d(before, rows).tolist())


def clashes(state: "ClusterState") -> list[str]:
    """What does not hold: a device that two bookings have at a time, or one has twice; a queue that is not there."""
    wrong: list[str] = []
    seen: dict[tuple[NodeId, int], list[Booking]] = {}
    for name, found in state.bookings.table.items():
        booking = found.booking
        if booking.queue not in state.queues.row_of:
            wrong.append(f"booking {name}: there is no queue {booking.queue}")
        for node, devices in found.devices:
            for device in devices or (-1,):
                others = seen.setdefault((node, device), [])
                clash = [other.id for other in others if other.overlaps(booking)]
                if clash:
                    wrong.append(f"booking {name}: {node}[{device}] is {clash[0]}'s too")
                others.append(booking)
    return wrong
