"""One decision: a snapshot in, a plan out. The stages, in order, are ``STAGES``; they read like the policy.

Cost follows the change: a group of equal jobs that did not fit is not looked at again until ``apply`` has seen
something that could let one in, and a cycle in which nothing is ready does nothing.
"""

from collections.abc import Callable

from fairway.decide import displace, honour, order, preempt, resize, retype, rolling, tidy
from fairway.decide.admit import over_own_limit
from fairway.decide.alone import start_alone
from fairway.decide.booked import BookedRoom, keeps
from fairway.decide.cycle import Cycle, keep_company, place_slowly, start, stop_and_hold, take
from fairway.decide.explain import refusals
from fairway.decide.lending import meets_limit
from fairway.decide.line import Line
from fairway.decide.marks import SLOW
from fairway.decide.reclaim import Reclaim
from fairway.decide.repack import Repack
from fairway.decide.reserve import Room
from fairway.decide.shrink import Shrinking
from fairway.decide.victims import Everybody
from fairway.model.ids import AttemptId
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Action, Hold, Look, Placement, Plan, Release, Review, Stop, Tidy, Unplaced
from fairway.model.policy import Policy
from fairway.model.reasons import Migrated, Outranked, Placed, PreemptedBy, RanTooLong, ReclaimedBy, StopReason
from fairway.model.time import Instant
from fairway.state.groups import Group
from fairway.state.jobs import placed_sums
from fairway.state.snapshot import Snapshot, Trial

MOST_HELPED = 16
"""Jobs for which one decision stops others; who else might have room so is left for the next, which soon comes."""
NOTHING = Plan()


def decide(snap: Snapshot, policy: Policy, disciplines: order.Disciplines = order.TABLE) -> Plan:
    """What to do now. Pure: the same snapshot and policy give the same plan, in every process."""
    groups, look = snap.groups, snap.look_due and (policy.elastic.grow or policy.placement.moves)
    if not (groups.ready or snap.held or snap.overdue or snap.tidy_due or look or snap.bookings.due):
        return NOTHING
    cycle = Cycle(snap, Trial(snap), policy, disciplines, [], set())
    if keeps(snap, policy):
        cycle.booked = BookedRoom(snap, cycle.trial, policy)
    for stage in STAGES:
        stage(cycle)
    cycle.trial.close()
    return Plan(tuple(cycle.actions), tried=groups.ready > 0 and not cycle.cut_short)


def stop_overdue(cycle: Cycle) -> None:
    """Running jobs past their ``max_runtime`` are told to stop."""
    jobs = cycle.snap.jobs
    for row in cycle.snap.overdue:
        limit = jobs.job(row).max_runtime
        if limit is not None:
            cycle.actions.append(Stop(jobs.attempt_id(row), Cause.TIMED_OUT, RanTooLong(limit)))
            cycle.victims.add(row)


def settle_holds(cycle: Cycle) -> None:
    """Preemptors whose room is empty by now start there; for the others it stays out of everybody's reach."""
    snap = cycle.snap
    kept: list[tuple[int, Placement]] = []
    for row in cycle.snap.held:
        hold = snap.jobs.hold[row]
        if hold is None:
            continue
        if any(_still_live(snap, attempt) for attempt in hold.victims):
            kept.append((row, hold.placement))
        elif (
            snap.jobs.phase_of(row) is JobPhase.QUEUED
            and _fits_exactly(cycle, row, hold.placement)
            and not _over(cycle, row, hold.placement)
            and (cycle.booked is None or cycle.booked.lets_in(row, hold.placement))
        ):
            reason = Placed("held", 0.0, (), len({task.node for task in hold.placement}))
            take(cycle, row, hold.placement)
            cycle.actions.append(start(cycle, row, hold.placement, reason))
        else:
            # Its room is given out in the next cycle, when everybody whom the release wakes is in line for it.
            cycle.actions.append(Release(hold.job))
            kept.append((row, hold.placement))
    # Only now: what they wait for is still taken, and would look like a lack of room to the others on their nodes.
    for row, placement in kept:
        take(cycle, row, placement, charge=not snap.jobs.phase_of(row).live)  # who moves is counted already


def refuse_spent(cycle: Cycle) -> None:
    """Jobs of queues that have spent their rolling quota are told when there is some again."""
    if cycle.snap.queues.rolling:
        cycle.actions += rolling.refusals(cycle.snap)


def place_in_order(cycle: Cycle) -> None:
    """Job by job in line: place it, or let it preempt, or say why not. Those equal to a refused one are not tried."""
    alone = start_alone(cycle)
    if alone is not None:
        cycle.actions.append(alone)
        return
    line = Line(cycle.snap, cycle.trial, cycle.policy, cycle.disciplines, honour.not_settled(cycle))
    if not len(line):
        return
    if cycle.booked is not None:
        line.ask_of(cycle.booked.groups)
    room = Room(cycle.snap, cycle.trial, cycle.policy)
    said = _walk(cycle, line, room)
    if cycle.snap.groups.any_apart:
        line.tell_company(cycle.trial.company, len(line))
    many = line.starts()
    if many:
        cycle.actions.append(many)
    for at, placement, reason in line.placed():
        said[at] = [start(cycle, int(line.rows[at]), placement, reason)]
    left = line.refuses or cycle.booked is not None or cycle.snap.reserved or cycle.snap.groups.refused
    if left:
        _see_to_those_left(cycle, line, room, said)
    for at in sorted(said):
        cycle.actions += said[at]
    if left:
        cycle.actions += room.reservations(line.rows[line.refused()], cycle.actions)
        room.close()


def _walk(cycle: Cycle, line: Line, room: Room) -> dict[int, list[Action]]:
    """Go along the line. What is done for those whom the walk leaves to us, by place in line."""
    said, helped = dict[int, list[Action]](), 0
    repack, back = Repack(line), Reclaim(cycle.snap, cycle.trial, cycle.policy, cycle.victims)
    shrinking = Shrinking(cycle.snap, cycle.trial, cycle.policy, cycle.victims)
    everybody = Everybody(cycle.snap, cycle.policy, cycle.victims)
    if len(line) > 1 or shrinking:
        line.ask_of_all()
    for why, at in line.walk():
        group = cycle.snap.groups.group(int(line.groups[at]))
        row = int(line.rows[at])
        if group.shape.where.apart:
            line.tell_company(cycle.trial.company, at)
        actions = place_slowly(cycle, group, row) if why == SLOW else []
        actions = actions or _repack(cycle, line, repack, said, at)
        if not actions and not cycle.cut_short:
            actions = _make_room(cycle, shrinking, back, everybody, group, row)
        limit = not actions and meets_limit(cycle.snap, cycle.trial, cycle.policy, group)
        if cycle.booked is not None:
            cycle.booked.close()
        if actions:
            said[at] = actions
            line.helped(at)
            helped += isinstance(actions[-1], Hold)
            if helped == MOST_HELPED:
                cycle.cut_short = True
                line.ask_no_more(of_anybody=True)
        else:
            line.refuse(at, limit, final=repack.spent)
            if repack.spent and not shrinking:
                line.ask_no_more()
            if not limit:
                room.keep(int(line.groups[at]))  # from here on in line
    return said


def _see_to_those_left(cycle: Cycle, line: Line, room: Room, said: dict[int, list[Action]]) -> None:
    """Jobs that were refused may start in room that is kept until it is needed; the others are told why they wait."""
    refused = line.refused()
    for index, fitted in room.lend(line.rows[refused]):
        at = int(refused[index])
        line.backfilled(at)
        keep_company(cycle, int(line.rows[at]), fitted.placement)
        said[at] = [start(cycle, int(line.rows[at]), fitted.placement, fitted.reason)]
    for at, fitted in honour.lent(cycle, line):
        said[at] = [start(cycle, int(line.rows[at]), fitted.placement, fitted.reason)]
    room.open()
    told = list(refusals(cycle.snap, cycle.trial, line, honour.unless(cycle, room.unless_kept))) if line.refuses else []
    for at, refusal in (*told, *honour.kept_out(cycle, line, {int(line.groups[at]) for at, _ in told})):
        said.setdefault(at, []).append(Unplaced(cycle.snap.jobs.id_of(int(line.rows[at])), refusal))


def _make_room(
    cycle: Cycle, shrinking: Shrinking, back: Reclaim, everybody: Everybody, group: Group, row: int
) -> list[Action]:
    """What may be done for a queued job that finds no free room, the least disruptive first; nothing when nothing
    helps."""
    actions = honour.in_own_room(cycle, group, row) or _shrink(cycle, shrinking, group, row)
    actions = actions or _take_back(cycle, back, group, row)
    if not actions and cycle.snap.groups.preempts[cycle.snap.jobs.group[row]]:
        actions = _preempt(cycle, everybody, group, row)
    return actions


def take_turns(cycle: Cycle) -> None:
    """In queues whose jobs take turns, those that rank ahead take the place of running ones that rank behind."""
    snap = cycle.snap
    queues = displace.queues(snap, cycle.policy)
    if not queues:
        return
    settled = cycle.settled()
    for queue in queues:
        if snap.queues.exhausted(queue, snap.now) is not None:
            continue
        discipline = cycle.disciplines[order.discipline_of(snap, cycle.policy, queue)]
        if cycle.booked is not None:
            cycle.booked.open_for(queue)
        turns, again = displace.turns(snap, cycle.trial, cycle.policy, queue, discipline, settled, cycle.victims)
        for turn in turns:
            _take_turn(cycle, queue, turn)
        if again != snap.queues.review_at[queue]:
            cycle.actions.append(Review(snap.queues.id_of(queue), again))
    if cycle.booked is not None:
        cycle.booked.close()


def move_work(cycle: Cycle) -> None:
    """Where a large request waits though enough is free in sum, work that can go on elsewhere makes room for it."""
    snap = cycle.snap
    if not snap.tidy_due:
        return
    settled = cycle.settled()
    for row, found in tidy.clearings(snap, cycle.trial, cycle.policy, settled, cycle.victims):
        cycle.actions += tidy.actions(snap, row, found)
        for move in found.moves:
            cycle.victims.add(move.victim.row)
            take(cycle, move.victim.row, move.placement, charge=False)
        if row is not None:
            settled.add(row)
            take(cycle, row, found.placement)
            keep_company(cycle, row, found.placement)
    cycle.actions.append(Tidy(tidy.again(snap, cycle.policy, settled)))


def change_running(cycle: Cycle) -> None:
    """Running jobs go on on the type where the fleet gains most; elastic ones get what nobody waits for, and what their
    deadlines need."""
    snap, policy = cycle.snap, cycle.policy
    if not snap.look_due or not (policy.elastic.grow or policy.placement.moves):
        return
    groups, leaving = snap.groups, len(cycle.settled() - cycle.victims - set(snap.held))
    waiting = int(groups.pending[: groups.height][~groups.limited[: groups.height]].sum())
    idle = waiting <= leaving
    for change in retype.changes(snap, cycle.trial, policy, cycle.victims, idle=idle):
        cycle.actions += _change_types(cycle, change)
    if policy.elastic.grow:
        for one in resize.grow(snap, cycle.trial, policy, cycle.victims, idle=idle):
            cycle.actions += _resize(cycle, one)
    then = [retype.again(snap, policy, cycle.victims)]
    then += [resize.again(snap, policy, cycle.victims)] if policy.elastic.grow else []
    cycle.actions.append(Look(min((at for at in then if at), default=Instant(0))))


STAGES: tuple[Callable[[Cycle], None], ...] = (
    stop_overdue,  # what has had its time gives its room back
    settle_holds,  # what was promised comes first
    honour.keep_bookings,  # what is booked is found, emptied in time and kept
    refuse_spent,  # who has had its GPU time of these days waits
    honour.use_bookings,  # what has begun is used by those whom it is for
    place_in_order,  # then everybody in line: allocate, or preempt, or explain
    take_turns,  # and where the discipline of a queue says so, who waits may pass who runs
    move_work,  # now and then, work that can go on elsewhere makes room for large requests
    change_running,  # types change hands where that is worth it, and what is idle goes to those whom it brings most
)


def _change_types(cycle: Cycle, change: retype.Change) -> list[Action]:
    """Stop those who go on elsewhere, and keep the room for them until all of them have left."""
    jobs, actions = cycle.snap.jobs, list[Action]()
    attempts = [jobs.attempt_id(row) for row in change.rows]
    for row, placement, kind, lost in zip(change.rows, change.placements, change.kinds, change.lost, strict=True):
        why = Migrated(lost, int(jobs.sums[row, 2]), kind=kind, gains_ms=change.gains)
        own = jobs.attempt_id(row)
        others = tuple(attempt for attempt in attempts if attempt != own)
        actions += [Stop(own, Cause.MOVED, why), Hold(own.job, placement, (own, *others))]
        cycle.victims.add(row)
        take(cycle, row, placement, charge=False)
    return actions


def _repack(cycle: Cycle, line: Line, repack: Repack, said: dict[int, list[Action]], at: int) -> list[Action]:
    """Start a queued job where this decision's own starts make room for it by lying elsewhere; nothing when none do."""
    group = cycle.snap.groups.group(int(line.groups[at]))
    found = repack.make_room(at, group, said) or {}
    for other, fitted in found.items():
        said[other] = [start(cycle, int(line.rows[other]), fitted.placement, fitted.reason)]
        line.helped(other)
    return said[at] if found else []


def _preempt(cycle: Cycle, everybody: Everybody, group: Group, row: int) -> list[Action]:
    """Stop the cheapest sufficient victims and hold their room for a queued job; nothing when that would not help."""
    jobs = cycle.snap.jobs
    if over_own_limit(cycle.snap, cycle.trial, group.queue, group.shape.least_sums):
        return []
    found = preempt.find(cycle.snap, cycle.trial, cycle.policy, group, cycle.victims, everybody)
    if found is None:
        return []
    job_id, priority = jobs.id_of(row), jobs.job(row).priority

    def reason(victim: preempt.Victim) -> StopReason:
        return PreemptedBy(job_id, priority, victim.lost_ms, int(jobs.sums[victim.row, 2]))

    return stop_and_hold(cycle, row, found, reason)


def _take_back(cycle: Cycle, back: Reclaim, group: Group, row: int) -> list[Action]:
    """Stop jobs that use what this one's queue is guaranteed, and hold their room for it; nothing when nobody does."""
    jobs, queues = cycle.snap.jobs, cycle.snap.queues
    if queues.guard[group.queue] < 0 or over_own_limit(cycle.snap, cycle.trial, group.queue, group.shape.least_sums):
        return []
    found = back.find(group)
    if found is None:
        return []
    job_id, priority = jobs.id_of(row), jobs.job(row).priority
    lender = queues.id_of(int(queues.guard[group.queue]))

    def reason(victim: preempt.Victim) -> StopReason:
        queue = int(jobs.queue[victim.row])
        guard = int(queues.guard[queue])
        own = 0 if guard < 0 else max(int(queues.quota[guard, 2]), 0)
        over = max(int(queues.used[queue if guard < 0 else guard, 2]) - own, 0)
        borrower, held = queues.id_of(queue if guard < 0 else guard), int(jobs.sums[victim.row, 2])
        return ReclaimedBy(job_id, priority, lender, borrower, over, victim.lost_ms, held)

    return stop_and_hold(cycle, row, found, reason)


def _shrink(cycle: Cycle, shrinking: Shrinking, group: Group, row: int) -> list[Action]:
    """Let running jobs go on with fewer workers, and hold what they leave for a queued job; nothing when none can."""
    found = shrinking.find(group, row)
    if found is None:
        return []
    jobs = cycle.snap.jobs
    actions = [action for one in found.shrunk for action in _resize(cycle, one)]
    take(cycle, row, found.placement)
    keep_company(cycle, row, found.placement)
    attempts = tuple(jobs.attempt_id(one.row) for one in found.shrunk)
    return [*actions, Hold(jobs.id_of(row), found.placement, attempts)]


def _resize(cycle: Cycle, one: resize.Resize) -> list[Action]:
    """Stop a running job and keep the room in which it goes on: what it leaves is less than all it has."""
    jobs = cycle.snap.jobs
    cycle.victims.add(one.row)
    take(cycle, one.row, one.placement, charge=False)
    attempts = tuple(jobs.attempt_id(row) for row in one.after)
    return [
        Stop(jobs.attempt_id(one.row), Cause.RESIZED, one.reason),
        Hold(jobs.id_of(one.row), one.placement, attempts),
    ]


def _take_turn(cycle: Cycle, queue: int, turn: displace.Turn) -> None:
    """Stop whom a job passes, and keep their room for it."""
    jobs, job_id = cycle.snap.jobs, cycle.snap.jobs.id_of(turn.row)
    name = order.discipline_of(cycle.snap, cycle.policy, queue)
    for victim in turn.victims:
        lost = preempt.lost_work(cycle.snap, cycle.policy, victim).lost_ms
        reason = Outranked(job_id, name, jobs.job(turn.row).priority, lost, int(jobs.sums[victim, 2]))
        cycle.actions.append(Stop(jobs.attempt_id(victim), Cause.PREEMPTED, reason))
        cycle.victims.add(victim)
    take(cycle, turn.row, turn.placement)
    attempts = tuple(jobs.attempt_id(row) for row in (*turn.leaving, *turn.victims))
    if attempts:
        cycle.actions.append(Hold(job_id, turn.placement, attempts))
    else:
        cycle.actions.append(start(cycle, turn.row, turn.placement, turn.reason))


def _fits_exactly(cycle: Cycle, row: int, placement: Placement) -> bool:
    """Whether a placement is free right now, device by device, on nodes that take work."""
    mark = cycle.trial.mark()
    take(cycle, row, placement)
    nodes = {cycle.snap.nodes.row_of[task.node] for task in placement}
    free = all(
        cycle.snap.nodes.placeable[node]
        and (cycle.trial.free[node] >= 0).all()
        and (cycle.trial.device_free[node] >= 0).all()
        for node in nodes
    )
    cycle.trial.rollback(mark)
    return free


def _over(cycle: Cycle, row: int, placement: Placement) -> bool:
    """Whether a limit has been lowered since the placement was decided, so that it may not start any more."""
    sums = placed_sums(cycle.snap.jobs.job(row), placement)
    return over_own_limit(cycle.snap, cycle.trial, int(cycle.snap.jobs.queue[row]), sums) is not None


def _still_live(snap: Snapshot, attempt: AttemptId) -> bool:
    row = snap.jobs.row_of.get(attempt.job)
    return row is not None and snap.jobs.attempt[row] == attempt.n and snap.jobs.phase_of(row).live
