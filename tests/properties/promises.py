"""What is promised at every moment, whatever has happened: the books, gangs, reasons. The others have modules of their
own: ``loops``, ``reclaiming``, ``starving``.

1. *No oversubscription*: on every node the tasks of live attempts, together with room that is held and not being
   emptied, add up to no more than the node has, device by device; every queue uses at most its limit.
5. *Gang atomicity*: of every role of a live attempt, between ``least`` and ``count`` tasks are placed, with ranks from
   0 without a gap, on nodes of one executor, each where the job's ``where`` allows it, on devices as it asked for.
6. *One reason*: a job that waits has exactly one reason, with its tier, and one that runs has none; and the reason is
   true: who "never fits" fits nowhere on empty nodes, who has "no room now" cannot be placed in what is free, who is
   "over quota" would go beyond a limit or has spent a rolling quota.
"""

from collections.abc import Iterator, Sequence

from fairway.engine.readmodel import ReadModel
from fairway.engine.status import JobStatus
from fairway.model.ids import JobId, ancestry
from fairway.model.phases import JobPhase
from fairway.model.plan import Hold, Placement, Plan, Start, TaskPlacement
from fairway.model.reasons import Yielding
from fairway.model.resources import WHOLE
from fairway.model.where import domain_of, permits
from fairway.testing.builders import Rehearsal
from tests.properties.books import Books, Entry, empty, fits, named, shuns

TIERS = ("invalid", "never fits", "over quota", "waiting", "no room now", "yielding")


def now_wrong(it: Rehearsal, books: Books) -> Iterator[str]:
    """Promises 1 and 5."""
    yield from _crowded(it, books)
    yield from _over_limit(it, books)
    for entry in books.entries.values():
        yield from _broken_gang(books, entry, entry.placement)
        if entry.hold is not None:
            yield from _broken_gang(books, entry, entry.hold.placement)


def _crowded(it: Rehearsal, books: Books) -> Iterator[str]:
    """A node that shrank under its work is let be."""
    nodes = list(books.nodes(taking=False))
    for live in (True, False):
        # Who was told to stop gives room to who holds it: both together may be more than there is, each alone not.
        for box in books.boxes(nodes, stopping=live, holds=not live):
            if box.node.id not in it.shrunk and min(*box.flat, *box.devices, 0) < 0:
                what = "live attempts" if live else "live attempts and held room"
                yield f"1: node {box.node.id}: {what} leave {box.flat}, devices {box.devices}"


def _over_limit(it: Rehearsal, books: Books) -> Iterator[str]:
    """A queue whose limit was lowered below its use is let be until its use falls."""
    for name, sums in books.used(holds=False).items():
        limit = books.queue(name).limit
        most = (limit.cpu_milli, limit.memory_mib, limit.gpu_milli)
        if name not in it.lowered and any(m is not None and has > m for has, m in zip(sums, most, strict=True)):
            yield f"1: queue {name or '(root)'} uses {sums} of {most}"


def in_booked(books: Books) -> Iterator[str]:
    """Promise 1 for what queues have booked: from its start on nobody else takes any of it, but in what is lent
    meanwhile. Once everything is decided."""
    for booked in books.state.bookings.table.values():
        booking = booked.booking
        if booking.flexible or not booking.start <= books.now < booking.end:
            continue
        devices = {name: set(some) for name, some in booked.devices}
        for entry in books.entries.values():
            owner = booking.queue in ancestry(entry.job.queue)
            for task in entry.placement if entry.stays and not owner else ():
                if not any(entry.job.roles[task.role].request.flat) and not task.devices:
                    continue  # it asks for nothing, and takes nothing
                if task.node in devices and (booking.nodes or devices[task.node] & set(task.devices)):
                    yield f"1: job {entry.id} runs on {task}, which {booking.queue} has booked as {booking.id}"


def _broken_gang(books: Books, entry: Entry, placement: Placement) -> Iterator[str]:
    job = entry.job
    if not placement:
        if entry.phase.live:
            yield f"5: job {job.id} is {entry.phase} without a task"
        return
    if [task.rank for task in placement] != list(range(len(placement))):
        yield f"5: job {job.id}: ranks {placement}"
    for index, role in enumerate(job.roles):
        count = sum(task.role == index for task in placement)
        if not role.least <= count <= role.count:
            yield f"5: job {job.id}: {count} of {role.least} to {role.count} tasks of role {role.name}"
    nodes = {node.id: node for node in books.known_nodes()}
    if len({nodes[task.node].executor for task in placement}) > 1:
        yield f"5: job {job.id} spans executors: {placement}"
    for task in placement:
        request, node = job.roles[task.role].request, nodes[task.node]
        as_asked = len(set(task.devices)) == len(task.devices) == request.gpus
        as_asked &= not request.gpus or (
            task.gpu_milli == request.milli_on(node.gpu_memory_mib) <= WHOLE and request.accepts(node.gpu_type)
        )
        if not as_asked and task.node not in books.state.news.nodes:
            yield f"5: job {job.id}: {task} on {node} is not what it asked for: {request}"


def wrong_starts(books: Books, plan: Plan) -> Iterator[str]:
    """Promise 5 as of the decision: only on nodes that take work, that the job allows, together and apart as it says.
    ``books`` are those before the plan was believed.

    Whoever starts on room held for it was judged when that was held; one that goes on where it was stays beside those
    that came later."""
    for action in plan.each():
        if isinstance(action, Hold):
            entry = books.entries[action.job]
            here = {task.node for task in entry.placement}
            yield from _misplaced(books, entry, [task for task in action.placement if task.node not in here])
        elif isinstance(action, Start) and books.entries[action.attempt.job].hold is None:
            yield from _misplaced(books, books.entries[action.attempt.job], action.placement)


def _misplaced(books: Books, entry: Entry, placement: Sequence[TaskPlacement]) -> Iterator[str]:
    job, nodes = entry.job, {node.id: node for node in books.nodes()}
    for task in placement:
        if task.node not in nodes or not permits(job.where, nodes[task.node]):
            yield f"5: job {job.id} is placed on {task.node}, which does not take it"
            return
    on = [nodes[task.node] for task in placement]
    together = job.where.together
    if together and together.required and len({domain_of(node, together.level) for node in on}) > 1:
        yield f"5: job {job.id} is placed on {[node.id for node in on]}, which is not {together}"
    company = books.company(gone=[job.id])
    for apart in named(job):
        here = {domain_of(node, apart.level) for node in on}
        if any(shuns(apart, other) and domain_of(at, apart.level) in here for other, at in company):
            yield f"5: job {job.id} is placed beside whom it keeps apart from: {apart}"


# -- reasons ------------------------------------------------------------------------------------------------------


def shown(model: ReadModel, books: Books) -> list[JobStatus]:
    """Every job that has not ended, as faces show it."""
    found = [model.job(name) for name in books.entries]
    return [status for status in found if status is not None]


def wrong_reasons(books: Books, statuses: list[JobStatus]) -> Iterator[str]:
    """Promise 6, once everything is decided."""
    for status in statuses:
        waits = not status.phase.live
        if waits != bool(status.reason) and status.phase is not JobPhase.STOPPING:
            yield f"6: job {status.id} is {status.phase} because of {status.reason!r}"
        elif waits and status.tier not in TIERS:
            yield f"6: job {status.id} waits because of {status.reason!r}, of tier {status.tier!r}"
    yield from _untrue(books, {status.id: status for status in statuses})


def _untrue(books: Books, statuses: dict[JobId, JobStatus]) -> Iterator[str]:
    used, bare, company = books.used(), books.used(holds=False), books.company()
    whole = [empty(node) for node in books.known_nodes()]
    for entry in books.entries.values():
        if not entry.in_line:
            continue
        status = statuses[entry.id]
        within = books.within_limits(entry.job, used) and not books.spent(entry.job)
        # Room that is held counts as used by its queue when it is decided about, and not yet when somebody is told.
        if status.tier == "over quota" and within and books.within_limits(entry.job, bare):
            yield f"6: job {entry.id} is told {status.reason!r}, and is within every limit"
        reason = books.state.jobs.reason[entry.row]
        if status.tier == "yielding" and isinstance(reason, Yielding) and reason.to not in books.entries:
            yield f"6: job {entry.id} is told {status.reason!r}, and that one has ended"
        several = len(entry.job.roles) > 1  # roles are told of one by one, and placed one after the other, greedily
        if status.tier == "never fits" and not several and fits(entry.job, whole, []):
            yield f"6: job {entry.id} is told {status.reason!r}, and fits on empty nodes"
        if within and not several:
            boxes = books.boxes(books.open_nodes(entry.job), kept_for_others=entry.id)
            if fits(entry.job, boxes, company):
                yield f"2: job {entry.id} fits now, and waits: {status.reason}"


def left_over(books: Books, statuses: list[JobStatus]) -> Iterator[str]:
    """At the end, when nothing runs and nobody else comes: who still waits cannot run on these nodes, or in its
    queue, or waits for somebody or something that does not come."""
    for status in statuses:
        job, used = books.entries[status.id].job, books.used()
        if status.tier in ("never fits", "over quota", "waiting") or len(job.roles) > 1:
            continue
        if books.within_limits(job, used) and fits(job, books.boxes(books.open_nodes(job)), books.company()):
            yield f"2: job {status.id} is left on an idle cluster: {status.reason}"
