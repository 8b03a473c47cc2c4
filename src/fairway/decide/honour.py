"""The stages of a decision that are about bookings: devices are found for them, others leave in time, and what has
begun is used first by those for whom it is booked."""

from collections.abc import Iterator

import numpy as np

from fairway.decide import book, preempt
from fairway.decide.admit import over_limit
from fairway.decide.booked import BookedRoom
from fairway.decide.cycle import Cycle, keep_company, place_slowly, start, stop_and_hold, take
from fairway.decide.explain import Unless, no_room
from fairway.decide.gang import Fitted
from fairway.decide.line import Line
from fairway.decide.marks import SLOW
from fairway.decide.victims import Victim
from fairway.model.booking import BookedFor, Devices, KeptForLarge, KeptForQueue, YieldsToLarge
from fairway.model.ids import BookingId
from fairway.model.phases import Cause
from fairway.model.plan import Action, Book, Overbooked, Start, Stop
from fairway.model.reasons import Refusal, StopReason
from fairway.state.bookings import compiled
from fairway.state.columns import Bools
from fairway.state.groups import Group, Shape

MOST_EXPLAINED = 32
"""Kinds of requests of which it is asked in one decision whether a booking keeps them out."""


def keep_bookings(cycle: Cycle) -> None:
    """Find devices for what is booked and has none, or has lost some; tell others to leave what begins soon; and keep
    everybody out who has no business there."""
    if cycle.booked is None:
        return
    columns = dict(cycle.snap.bookings.columns(cycle.snap.nodes))
    table, looked = cycle.snap.bookings.table, list[BookingId]()
    others: dict[BookingId, Devices] = {name: each.devices for name, each in table.items() if each.stands}
    for name, wanted in table.items():
        if not wanted.look:
            continue
        del others[name]
        found, short = book.find(cycle.snap, cycle.policy, wanted, others)
        if short is not None and not wanted.accepted:
            cycle.actions.append(Overbooked(name, short))
            columns.pop(name, None)
            continue
        cycle.actions.append(Book(name, found))
        others[name], columns[name] = found, compiled(wanted.booking, found, cycle.snap.nodes)
        looked.append(name)
    if cycle.snap.bookings.due:
        cycle.booked = BookedRoom(cycle.snap, cycle.trial, cycle.policy, columns)
    for name in looked:
        _drain(cycle, cycle.booked, name)
    cycle.booked.close()


def _drain(cycle: Cycle, room: BookedRoom, name: BookingId) -> None:
    booking = cycle.snap.bookings.table[name].booking
    for row in room.to_stop(name):
        if row in cycle.victims:
            continue
        lost = preempt.lost_work(cycle.snap, cycle.policy, row).lost_ms
        reason = BookedFor(name, booking.queue, booking.start, lost, int(cycle.snap.jobs.sums[row, 2]))
        cycle.actions.append(Stop(cycle.snap.jobs.attempt_id(row), Cause.PREEMPTED, reason))
        cycle.victims.add(row)


def use_bookings(cycle: Cycle) -> None:
    """Of what has begun each job of its queue takes its place before any other room, in the order of the line."""
    room, snap = cycle.booked, cycle.snap
    if room is None:
        return
    for queue, names in room.started().items():
        below = np.any(snap.queues.path == queue, axis=1)[snap.jobs.queue[: snap.jobs.height]]
        below[list(cycle.settled())] = False
        if not below[snap.jobs.in_line[: snap.jobs.height]].any():
            continue
        _walk_own(cycle, room, names, below)


def _walk_own(cycle: Cycle, room: BookedRoom, names: list[BookingId], below: Bools) -> None:
    """Start whoever finds room there, up to the first in line that does not: it may find some together with other room,
    so nobody behind it takes what is there before it has had its turn in everybody's line."""
    snap = cycle.snap
    inner = Cycle(snap, room.only(names), cycle.policy, cycle.disciplines, [], set(cycle.victims))
    line = Line(snap, inner.trial, cycle.policy, cycle.disciplines, among=below)
    found: dict[int, Start] = {}
    for why, at in line.walk():
        group, row = snap.groups.group(int(line.groups[at])), int(line.rows[at])
        slowly = place_slowly(inner, group, row) if why == SLOW else ()
        starts = [each for each in slowly if isinstance(each, Start)]
        if starts:
            found[at] = starts[0]
            line.helped(at)
        else:
            line.refuse(at, over_limit(snap, inner.trial, group.queue, group.shape.least_sums) is not None)
    places = {row: at for at, row in enumerate(line.rows.tolist())}
    for each in line.starts() or ():
        found[places[snap.jobs.row_of[each.attempt.job]]] = each
    for at, placement, why in line.placed():
        found[at] = start(inner, int(line.rows[at]), placement, why)
    refused = line.refused()
    first = int(refused[0]) if len(refused) else len(places)
    room.close(frozenset())  # and closed again behind them: of CPU and memory less is kept then
    for at in sorted(at for at in found if at < first):
        row = int(line.rows[at])
        take(cycle, row, found[at].placement)
        keep_company(cycle, row, found[at].placement)
        cycle.actions.append(found[at])
    room.close()


def in_own_room(cycle: Cycle, group: Group, row: int) -> list[Action]:
    """Start a queued job that found no other room in what its queue has booked, or have guests leave it; nothing when
    neither helps. What is its own stays open for whatever is tried next, until it is closed."""
    room = cycle.booked
    if room is None or not room.groups[cycle.snap.jobs.group[row]]:
        return []
    room.open_for(group.queue, group.shape)
    found = place_slowly(cycle, group, row)
    guests = [] if found else room.guests(group.queue, group.shape, cycle.victims)
    if not guests or over_limit(cycle.snap, cycle.trial, group.queue, group.shape.least_sums):
        return found
    losses = [preempt.lost_work(cycle.snap, cycle.policy, guest) for guest in guests]
    losses.sort(key=lambda victim: (victim.lost, -int(cycle.snap.jobs.ordinal[victim.row])))
    search = preempt.Search(cycle.snap, cycle.trial, cycle.policy, group, cycle.victims, len(losses))
    leaving = search.cheapest(losses)
    if leaving is None:
        return []
    jobs = cycle.snap.jobs

    def reason(victim: Victim) -> StopReason:
        booking = room.taken_by(victim.row, group.queue)
        held, by = int(jobs.sums[victim.row, 2]), jobs.id_of(row)
        if booking is None:
            return YieldsToLarge(by, cycle.policy.backfill.large.gpus, victim.lost_ms, held)
        return BookedFor(booking.id, booking.queue, booking.start, victim.lost_ms, held, by)

    return stop_and_hold(cycle, row, leaving, reason)


def not_settled(cycle: Cycle) -> Bools | None:
    """(J,) the jobs for which this plan has found nothing yet; None while none has been looked for."""
    if cycle.booked is None:
        return None
    others = np.ones(cycle.snap.jobs.height, np.bool_)
    others[list(cycle.settled())] = False
    return others


def lent(cycle: Cycle, line: Line) -> Iterator[tuple[int, Fitted]]:
    """(place in line, where) of those who found no room but may use what is booked until it is needed."""
    if cycle.booked is None:
        return
    refused = line.refused()
    for index, fitted in cycle.booked.lend(line.rows[refused]):
        at = int(refused[index])
        line.backfilled(at)
        yield at, fitted


def unless(cycle: Cycle, otherwise: Unless) -> Unless:
    """A better reason for a shape as ``otherwise`` has it, and the nodes that are kept for such jobs open to it."""
    room = cycle.booked
    if room is None:
        return otherwise

    def why(shape: Shape) -> Refusal | None:
        room.close(room.others_than(shape))
        return otherwise(shape)

    return why


def kept_out(cycle: Cycle, line: Line, told: set[int]) -> Iterator[tuple[int, Refusal]]:
    """(place in line, reason) of the first job of each group that bookings keep out, where that is news, and of those
    that they keep out no longer. ``told`` are groups that this decision tells another reason."""
    room, groups = cycle.booked, cycle.snap.groups
    if room is None:
        return
    room.close()
    places = line.refused()
    rows, first = np.unique(line.groups[places], return_index=True)
    known: dict[tuple[frozenset[BookingId], Shape], Refusal | None] = {}
    turn = cycle.snap.now // 1000 % max(len(rows), 1)
    found: list[int] = np.roll(rows, -turn).tolist()
    for row, at in zip(found, np.roll(places[first], -turn).tolist(), strict=True):
        group = groups.group(row)
        key = room.foreign(group.queue, group.shape), group.shape
        if key not in known:
            if len(known) >= MOST_EXPLAINED:
                return
            known[key] = room.unless_kept(group.queue, group.shape)
        why, before = known[key], groups.limit_reason[row]
        if why is not None and (why != before or row in told):
            yield at, why
        elif why is None and isinstance(before, KeptForQueue | KeptForLarge) and row not in told:
            shape = groups.shapes.reason[int(groups.shape[row])]
            yield at, shape or no_room(cycle.snap, cycle.trial, group.shape)
