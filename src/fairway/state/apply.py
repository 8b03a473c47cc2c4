"""One function per fact: how the state changes when something becomes known.

Every function tolerates repetition, delay and reordering: an attempt is believed only while it is the job's newest,
ends are believed once, and a genuine success counts however late it comes.
"""

import heapq
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fairway.model import facts as f
from fairway.model.ids import AttemptId, BookingId, ExecutorId, JobId, QueueId, ServiceId
from fairway.model.phases import Cause, JobPhase, Reach
from fairway.model.plan import Hold, Look, Release, Reserve, Review, Start, Stop, Tidy, Unplaced, Unreserve
from fairway.model.reasons import Asked, Migrated, OverRolling, PreemptedBy, WaitingUntil, Yielding
from fairway.model.resources import WHOLE
from fairway.model.time import NEVER, Instant
from fairway.state import bookings, keep, lifecycle, quotas
from fairway.state.cluster import ClusterState, Decision
from fairway.state.history import pace
from fairway.state.jobs import home_of, placed_sums, task_need
from fairway.state.line import advance, leave_line, set_phase
from fairway.state.looks import expose, foresee, hear, look, review, tidy, watch
from fairway.state.reservations import break_reservations, drop_reservation, keep_room
from fairway.state.services import remove_service, set_service
from fairway.state.settle import settle


def apply(state: ClusterState, facts: f.Facts) -> None:
    """Believe a batch of facts at ``facts.now``; time that steps back counts as standing still."""
    state.now = max(state.now, facts.now)
    for fact in facts.items:
        _APPLY[type(fact)](state, fact)
    if state.settled:
        settle(state)
    _pass_time(state)  # last: nothing is due when the next decision is made, so a ruling blocks only what was tried
    if state.groups.large_from:
        bookings.note_large(state)
    if state.roomier:
        state.look_due = state.look_due or bool(state.flexible)
        state.groups.wake_for_room(state.nodes, state.queues, state.roomier)
        state.lighter.update(state.queues.reviewed)
        state.roomier.clear()
    if state.lent:
        state.groups.wake_for_quotas(state.queues)
        state.lent = False
    if state.lighter:
        state.groups.wake_for_queues(state.queues, state.lighter)
        state.lighter.clear()


def _pass_time(state: ClusterState) -> None:
    while state.timers and state.timers[0][0] <= state.now:
        timer = heapq.heappop(state.timers)
        at, kind, whose, _ = timer
        if not state.counts(timer):
            continue
        if kind in ("review", "opens"):
            row = state.queues.row_of[QueueId(whose)]
            state.queues.review_at[row] = NEVER if kind == "review" else state.queues.review_at[row]
            state.lighter.add(row)
        elif kind == "release":
            advance(state, state.jobs.row_of[JobId(whose)])
        elif kind == "exposed":
            expose(state)
        elif kind == "tidy":
            state.tidy_due, state.tidy_at = True, Instant(0)
        elif kind == "booking":
            bookings.come_to(state, BookingId(whose))
        elif kind == "look":
            state.look_due, state.look_at = True, Instant(0)
        elif kind == "loan":
            quotas.turn(state, Instant(at))
        else:
            state.overdue[JobId(whose)] = None


def _job_submitted(state: ClusterState, fact: f.JobSubmitted) -> None:
    lifecycle.submit(state, fact.job)


def _cancel_asked(state: ClusterState, fact: f.CancelAsked) -> None:
    row = state.jobs.row_of.get(fact.job)
    if row is None or fact.job in state.replicas.get(state.jobs.job(row).service or ServiceId(""), {}):
        return  # a service would only start another replica: it is the service that wants fewer
    if state.jobs.phase_of(row).live:
        why = Asked(fact.by)
        lifecycle.ask_stop(state, row, Cause.CANCELLED, why)
        told = Stop(state.jobs.attempt_id(row), Cause.CANCELLED, why)
        state.news.decisions.append(Decision(fact.job, state.now, told))
    else:
        lifecycle.finish(state, row, JobPhase.CANCELLED, f.Outcome(Cause.CANCELLED, message=str(Asked(fact.by))))


def _pool_set(state: ClusterState, fact: f.PoolSet) -> None:
    state.pools[fact.pool.id] = fact.pool


def _policy_set(state: ClusterState, fact: f.PolicySet) -> None:
    """Whoever was refused under another policy is tried again."""
    if fact.policy != state.policy:
        state.short.settle(state.now, state.policy.fairness.swarm.half_life)
        state.policy = fact.policy
        foresee(state)
        state.reconsider()
        state.queues.set_half_life(fact.policy.fairness.half_life, state.now)
        state.groups.large_from = fact.policy.backfill.large.gpus * WHOLE
        state.roomier.update(dict.fromkeys(state.nodes.rows()))
        state.lighter.update(state.queues.rows())


def _node_seen(state: ClusterState, fact: f.NodeSeen) -> None:
    row = state.nodes.row_of.get(fact.node.id)
    if row is not None and state.nodes.spec[row] == fact.node and state.nodes.reach[row] is Reach.UP:
        return
    state.roomier[state.nodes.put(fact.node)] = None
    state.news.nodes[fact.node.id] = None


def _node_gone(state: ClusterState, fact: f.NodeGone) -> None:
    row = state.nodes.row_of.get(fact.node)
    if row is None or state.nodes.reach[row] is Reach.LOST:
        return
    state.nodes.set_reach(row, Reach.LOST)
    state.news.nodes[fact.node] = None
    for job in _in_line_order(state, state.nodes.attempts[row]):
        lifecycle.lose_node(state, state.jobs.row_of[job])
    break_reservations(state, fact.node)
    for job in list(state.held):
        hold = state.jobs.hold[state.jobs.row_of[job]]
        if hold and any(task.node == fact.node for task in hold.placement):
            lifecycle.drop_hold(state, state.jobs.row_of[job])


def _node_cordoned(state: ClusterState, fact: f.NodeCordoned) -> None:
    row = state.nodes.row_of.get(fact.node)
    if row is None:
        return
    state.nodes.set_cordon(row, fact.on)
    state.news.nodes[fact.node] = None
    if fact.on:
        break_reservations(state, fact.node)
    else:
        state.roomier[row] = None


def _attempt_started(state: ClusterState, fact: f.AttemptStarted) -> None:
    row = state.jobs.current(fact.attempt)
    if row is None:
        _suspect(state, fact.attempt, fact.executor)
        return
    jobs = state.jobs
    if jobs.started_at.item(row):
        jobs.started_seq[row] = max(fact.seq, int(jobs.started_seq[row]))
        return
    at = max(min(max(fact.at, jobs.placed_at.item(row)), state.now), 1)
    jobs.started_at[row], jobs.started_seq[row] = at, fact.seq
    jobs.first_started[row] = jobs.first_started.item(row) or at
    state.news.jobs[fact.attempt.job] = None
    state.look_due = state.look_due or fact.attempt.job in state.flexible
    if jobs.phase_of(row) is JobPhase.STARTING:
        set_phase(state, row, JobPhase.RUNNING)
        state.unmet.pop(fact.attempt.job, None)
        limit = jobs.job(row).max_runtime
        if limit is not None:
            state.set_timer(Instant(at + limit), "limit", fact.attempt.job, fact.attempt.n)


def _attempt_ended(state: ClusterState, fact: f.AttemptEnded) -> None:
    state.news.settled[fact.attempt] = fact.executor
    state.strays.pop(fact.attempt, None)
    row = state.jobs.current(fact.attempt)
    if row is not None:
        lifecycle.end_attempt(state, row, fact)
    else:
        lifecycle.late_end(state, fact)


def _progressed(state: ClusterState, fact: f.Progressed) -> None:
    row = state.jobs.current(fact.attempt)
    if row is None:
        return
    jobs = state.jobs
    if fact.step is not None:
        jobs.step[row] = fact.step
        if jobs.job(row).sizes is not None:
            state.measured.tell_step(fact.attempt.job, fact.step, state.now)
    if fact.total is not None:
        jobs.total_steps[row] = fact.total
    if fact.checkpoint is not None:
        if not jobs.checkpoint_at[row] and state.queues.review_at[jobs.queue[row]]:
            state.lighter.add(int(jobs.queue[row]))  # from now on it may take turns
        jobs.checkpoint_at[row] = max(int(jobs.checkpoint_at[row]), min(fact.checkpoint, state.now))
    state.news.jobs[fact.attempt.job] = None


def _inventory(state: ClusterState, fact: f.Inventory) -> None:
    if fact.seq <= state.inventory_seq.get(fact.executor, -1):
        return
    state.inventory_seq[fact.executor] = fact.seq
    nodes = state.nodes
    for node in fact.nodes:
        row = nodes.row_of.get(node.id)
        if row is None or nodes.spec[row] != node or nodes.reach[row] is not Reach.UP:
            _node_seen(state, f.NodeSeen(node))
    listed = {node.id for node in fact.nodes}
    for row in _nodes_of(state, fact.executor):
        if nodes.id_of(row) not in listed:
            _node_gone(state, f.NodeGone(nodes.id_of(row)))
    seen: set[AttemptId] = set()
    for observed in fact.attempts:
        seen.add(observed.attempt)
        if observed.started is not None:
            _attempt_started(state, f.AttemptStarted(observed.attempt, fact.executor, fact.seq, observed.started))
        if observed.outcome is not None:
            at = observed.ended if observed.ended is not None else state.now
            _attempt_ended(state, f.AttemptEnded(observed.attempt, fact.executor, fact.seq, at, observed.outcome))
    for attempt, executor in list(state.strays.items()):
        if executor == fact.executor and attempt not in seen:
            del state.strays[attempt]
    _write_off_missing(state, fact, seen)


def _write_off_missing(state: ClusterState, fact: f.Inventory, seen: set[AttemptId]) -> None:
    """An attempt that its executor had confirmed before this inventory, and no longer lists, is lost."""
    missing: dict[JobId, None] = {}
    for node in _nodes_of(state, fact.executor):
        if state.nodes.attempts[node]:
            missing.update(state.nodes.attempts[node])
    for job in _in_line_order(state, missing):
        row = state.jobs.row_of[job]
        attempt = state.jobs.attempt_id(row)
        if attempt not in seen and 0 < state.jobs.started_seq[row] < fact.seq:
            lifecycle.write_off(state, row, fact.seq, f"executor {fact.executor} no longer knows it")


def _in_line_order(state: ClusterState, jobs: Iterable[JobId]) -> list[JobId]:
    """By submission: the order of ends decides which rows are free first, and a restored state has to agree."""
    return sorted(jobs, key=lambda job: int(state.jobs.ordinal[state.jobs.row_of[job]]))


def _nodes_of(state: ClusterState, executor: ExecutorId) -> list[int]:
    nodes = state.nodes
    rows: list[int] = np.flatnonzero(nodes.executor[: nodes.height] == nodes.executors.get(executor, -1)).tolist()
    return [row for row in rows if nodes.ids[row] is not None]


def _epoch_began(state: ClusterState, fact: f.EpochBegan) -> None:
    state.epoch = max(state.epoch, fact.epoch)


def _ruled(state: ClusterState, fact: f.Ruled) -> None:
    later: list[Stop | Release] = []
    started = may_shrink = False
    for action in fact.plan.each():
        if isinstance(action, (Stop, Release)):
            later.append(action)
            continue
        _RULE[type(action)](state, action)
        if isinstance(action, Start):
            started = True
            may_shrink = may_shrink or state.jobs.may_shrink(action)
    if fact.plan.tried:
        state.groups.settle(state.queues, started=started)
    if may_shrink:
        state.groups.wake(np.ones(state.groups.height, np.bool_))  # whoever was refused may have room when it does
    if state.bookings:
        bookings.taken(state, fact.plan.each())
    for action in later:  # whom they put in line again has not been tried
        _RULE[type(action)](state, action)
    if fact.plan.tried:
        watch(state)
        foresee(state)


def _start(state: ClusterState, action: Start) -> None:
    jobs, job_id = state.jobs, action.attempt.job
    row = jobs.row_of[job_id]
    job = jobs.job(row)
    leave_line(state, row)
    lifecycle.learn_wait(state, row)
    hold = jobs.hold[row]
    if hold:
        lifecycle.keep_company(state, job, hold.placement, sign=-1)
        jobs.hold[row] = None
        state.held.pop(job_id, None)
        # Held room was out of everybody's reach; from now on a higher class may take it.
        state.roomier.update(dict.fromkeys(state.nodes.row_of[task.node] for task in action.placement))
    jobs.attempt[row], jobs.placement[row], jobs.placed_at[row] = action.attempt.n, action.placement, state.now
    jobs.started_at[row] = jobs.started_seq[row] = jobs.checkpoint_at[row] = 0
    jobs.stop[row] = jobs.reason[row] = None
    for task in action.placement:
        node = state.nodes.row_of[task.node]
        state.nodes.take(node, task_need(job, task), task.devices, task.gpu_milli)
        state.nodes.attempts[node][job_id] = None
        state.news.nodes[task.node] = None
    lifecycle.keep_company(state, job, action.placement)
    jobs.sums[row] = taken = placed_sums(job, action.placement)
    jobs.home[row] = home_of(action.placement, state.nodes.row_of)
    jobs.pace[row] = pace(job, action.placement, state.nodes)
    if state.may_change(job):
        state.flexible[job_id] = None
    if action.batch is not None or job_id in state.measured:
        state.measured.tell(job_id, action.batch)
    state.charge(jobs.queue.item(row), taken)
    set_phase(state, row, JobPhase.STARTING)
    state.unmet[job_id] = None
    state.news.decisions.append(Decision(job_id, state.now, action))


def _stop(state: ClusterState, action: Stop) -> None:
    row = state.jobs.current(action.attempt)
    if row is not None:
        state.overdue.pop(action.attempt.job, None)
        lifecycle.ask_stop(state, row, action.cause, action.reason)
        if isinstance(action.reason, PreemptedBy):
            state.preempted.add(state.now)
        elif isinstance(action.reason, Migrated):
            state.moved.add(state.now)
        state.news.decisions.append(Decision(action.attempt.job, state.now, action))


def _hold(state: ClusterState, action: Hold) -> None:
    row = state.jobs.row_of[action.job]
    leave_line(state, row)
    state.jobs.hold[row] = action
    lifecycle.keep_company(state, state.jobs.job(row), action.placement)
    state.held[action.job] = None
    state.news.jobs[action.job] = None
    state.news.decisions.append(Decision(action.job, state.now, action))


def _release(state: ClusterState, action: Release) -> None:
    row = state.jobs.row_of.get(action.job)
    if row is not None:
        lifecycle.drop_hold(state, row)


def _unplaced(state: ClusterState, action: Unplaced) -> None:
    row = state.jobs.row_of[action.job]
    if isinstance(action.reason, (WaitingUntil, Yielding)):
        state.jobs.reason[row] = action.reason
    else:
        groups, group = state.groups, int(state.jobs.group[row])
        if type(groups.reason(group)) is not type(action.reason):
            state.news.decisions.append(Decision(action.job, state.now, action.reason))
        groups.tell(group, action.reason)
        if isinstance(action.reason, OverRolling):
            state.open_at(action.reason.queue, action.reason.frees)
    state.news.jobs[action.job] = None


def _suspect(state: ClusterState, attempt: AttemptId, executor: ExecutorId) -> None:
    """An attempt that nobody wants was reported to run. Its end may have been believed without its executor's word; if
    it was heard, the stop is answered with that end again."""
    state.strays[attempt] = executor


_APPLY: dict[type, Callable[[ClusterState, Any], None]] = {
    f.JobSubmitted: _job_submitted,
    f.CancelAsked: _cancel_asked,
    f.JobHeld: keep.hold,
    f.JobReleased: keep.release,
    f.QueueSet: quotas.set_queue,
    f.QuotaLent: quotas.lend,
    f.LoanEnded: quotas.end_loan,
    f.ServiceSet: lambda state, fact: set_service(state, fact.service),
    f.ServiceRemoved: lambda state, fact: remove_service(state, fact.service),
    f.PoolSet: _pool_set,
    f.PolicySet: _policy_set,
    f.NodeSeen: _node_seen,
    f.NodeGone: _node_gone,
    f.NodeCordoned: _node_cordoned,
    f.AttemptStarted: _attempt_started,
    f.AttemptEnded: _attempt_ended,
    f.Progressed: _progressed,
    f.Measured: hear,
    f.Inventory: _inventory,
    f.Ruled: _ruled,
    f.EpochBegan: _epoch_began,
    **bookings.FACTS,
}

_RULE: dict[type, Callable[[ClusterState, Any], None]] = {
    Start: _start,
    Stop: _stop,
    Hold: _hold,
    Release: _release,
    Reserve: keep_room,
    Unreserve: lambda state, action: drop_reservation(state, action.job),
    Unplaced: _unplaced,
    Review: review,
    Tidy: tidy,
    **bookings.RULES,
    Look: look,
}
