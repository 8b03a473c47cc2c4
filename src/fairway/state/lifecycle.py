"""The life of a job inside the state: into the line, out of it, through its attempts, to its end.

Only ``apply`` calls these. The transitions are drawn in ``model.phases``.
"""

from dataclasses import replace

from fairway.model.facts import AttemptEnded, Outcome
from fairway.model.ids import ExecutorId, JobId
from fairway.model.job import Job
from fairway.model.phases import Cause, JobPhase, Reach
from fairway.model.plan import Placement
from fairway.model.queue import Queue
from fairway.model.reasons import Outranked, PreemptedBy, ReclaimedBy, StopReason
from fairway.model.time import SECOND, Instant, later
from fairway.state.bookings import left
from fairway.state.cluster import KEEP_ENDED, ClusterState, EndedAttempt, EndedJob
from fairway.state.columns import add_to
from fairway.state.company import known_by
from fairway.state.dependents import SUCCEEDED, forget_all, of_array, of_job, register
from fairway.state.groups import shape_of
from fairway.state.jobs import task_need
from fairway.state.line import advance, join_array, leave_array, leave_line, set_phase
from fairway.state.yielding import yield_no_more, yield_to

OWN_ENDS = frozenset((Cause.SUCCEEDED, Cause.FAILED, Cause.TIMED_OUT, Cause.CANCELLED))
"""Ends that tell how long such work holds its room: not those that came from outside."""
_TAKEN_AWAY = (Cause.PREEMPTED, Cause.NODE_LOST, Cause.DRAINED, Cause.MOVED, Cause.RESIZED)
"""Ends that came from outside: the job goes on as soon as it may, and has lost what came after its checkpoint."""
YIELD_EXIT = 75
"""EX_TEMPFAIL: a program's word for "stopped at your request, not finished"."""


def submit(state: ClusterState, job: Job) -> None:
    """Take a job in; one that is already known is the same submission seen again."""
    if job.id in state.jobs or job.id in state.ended:
        return
    queue = state.queues.row_of.get(job.queue)
    if queue is None:
        queue = state.put_queue(Queue(job.queue))
    shape = shape_of(job)
    group = state.groups.get(shape, queue, job.priority.cls)
    shapes, known = state.groups.shapes, state.groups.shape.item(group)
    shapes.count_submitted(known)
    row = state.jobs.put(job, queue, group, state.ordinal)
    state.jobs.history[row] = state.history.enter(job, shapes.shapes[known])
    state.ordinal += 1
    state.jobs.queued_at[row] = state.now
    state.queues.pending[queue] += 1
    state.jobs.release_at[row] = job.not_before or 0
    join_array(state, row)
    register(state, row)
    advance(state, row)


def ask_stop(state: ClusterState, row: int, cause: Cause, reason: StopReason | None) -> None:
    """Want the live attempt stopped. The first cause stays, but a person's cancel overrides it."""
    jobs, job_id = state.jobs, state.jobs.id_of(row)
    if jobs.stop[row] is None or cause is Cause.CANCELLED:
        jobs.stop[row] = (cause, reason)
    set_phase(state, row, JobPhase.STOPPING)
    state.overdue.pop(job_id, None)
    state.unmet[job_id] = None
    # Its room is as good as free to those that may hold it.
    state.roomier.update(dict.fromkeys(state.nodes.row_of[task.node] for task in jobs.placement[row]))


def lose_node(state: ClusterState, row: int) -> None:
    """A node under the live attempt is gone: written off when nothing of it is left, else told to stop."""
    attempt = state.jobs.attempt_id(row)
    executor = executor_of(state, row)
    nodes = [state.nodes.row_of[task.node] for task in state.jobs.placement[row]]
    if any(state.nodes.reach[node] is Reach.UP for node in nodes):
        ask_stop(state, row, Cause.NODE_LOST, None)
        return
    write_off(state, row, 0, "its node is gone")
    state.strays[attempt] = executor


def write_off(state: ClusterState, row: int, seq: int, message: str) -> None:
    """Give up the live attempt without its executor's word. Should it still say "success", that counts, unless it
    would have been taken for a yield."""
    attempt, executor = state.jobs.attempt_id(row), executor_of(state, row)
    if state.jobs.stop[row] is None or not _unfinished(state, row):
        state.jobs.written_off[row] += (attempt.n,)
    outcome = Outcome(Cause.NODE_LOST, message=message)
    end_attempt(state, row, AttemptEnded(attempt, executor, seq, state.now, outcome))


def executor_of(state: ClusterState, row: int) -> ExecutorId:
    """The executor that runs the live attempt; a gang never spans two."""
    return state.nodes.node(state.nodes.row_of[state.jobs.placement[row][0].node]).executor


def late_end(state: ClusterState, fact: AttemptEnded) -> None:
    """The end of an attempt that had been written off is heard after all. If it succeeded, the job is done, whatever
    came since. Any other attempt's end was heard before, and judged by what had been asked of it then."""
    job_id, n = fact.attempt
    succeeded = fact.outcome.cause is Cause.SUCCEEDED
    row, ended = state.jobs.row_of.get(job_id), state.ended.get(job_id)
    if row is not None and n in state.jobs.written_off[row]:
        state.jobs.written_off[row] = tuple(other for other in state.jobs.written_off[row] if other != n)
        if succeeded and state.jobs.job(row).service is None:
            _succeed_late(state, row, fact.outcome)
    elif ended is not None and n in ended.written_off:
        ended = replace(ended, written_off=tuple(other for other in ended.written_off if other != n))
        if succeeded and ended.phase is JobPhase.FAILED:
            ended = replace(ended, phase=JobPhase.SUCCEEDED, ended=state.now, outcome=fact.outcome)
            state.news.jobs[job_id] = None
            _succeeded_after_all(state, ended.job)
        state.ended[job_id] = ended


def _succeeded_after_all(state: ClusterState, job: Job) -> None:
    """A job that was taken for failed was not: whoever waits for it, or for its array, hears of it."""
    if job.id in state.dependents:
        state.settled[job.id] = SUCCEEDED
    if job.array is None:
        return
    array = JobId(job.array.array)
    if array in state.arrays:
        state.arrays[array].failed -= 1
    elif array in state.ended_arrays:
        state.ended_arrays[array] -= 1
        if array in state.dependents:
            state.settled[array] = of_array(state.ended_arrays[array])


def _succeed_late(state: ClusterState, row: int, outcome: Outcome) -> None:
    if state.jobs.phase_of(row).live:
        ask_stop(state, row, Cause.SUCCEEDED, None)
        state.jobs.stop[row] = (Cause.SUCCEEDED, None)
    else:
        finish(state, row, JobPhase.SUCCEEDED, outcome)


def end_attempt(state: ClusterState, row: int, fact: AttemptEnded) -> None:
    """The live attempt is over: free its room, then finish the job, queue it again, or let it back off."""
    jobs, job = state.jobs, state.jobs.job(row)
    outcome = _judge(state, row, fact.outcome)
    if _came_to_nothing(state, row, outcome):
        jobs.release_at[row] = later(state.now, job.retry.backoff)
    _record(state, row, fact, outcome)
    _free_room(state, row)
    stop = jobs.stop[row]
    jobs.stop[row] = None
    wanted = stop[0] if stop else None
    if outcome.cause not in (Cause.MOVED, Cause.RESIZED) or jobs.kept_by[row] is not None:
        drop_hold(state, row)  # it does not go on there, after all
    if job.service is not None and wanted not in (Cause.CANCELLED, Cause.SUCCEEDED):
        _restart_replica(state, row, outcome)
    elif outcome.cause is Cause.SUCCEEDED or wanted == Cause.SUCCEEDED:
        finish(state, row, JobPhase.SUCCEEDED, outcome)
    elif Cause.CANCELLED in (wanted, outcome.cause):  # or by somebody else, at its executor
        finish(state, row, JobPhase.CANCELLED, outcome)
    elif outcome.cause is Cause.TIMED_OUT:
        finish(state, row, JobPhase.FAILED, outcome)
    elif outcome.cause in (Cause.FAILED, Cause.START_FAILED):
        _retry_or_fail(state, row, outcome)
    else:
        if outcome.cause is Cause.PREEMPTED:
            jobs.preemptions[row] += 1
            if stop and isinstance(stop[1], PreemptedBy | Outranked | ReclaimedBy):
                yield_to(state, row, stop[1].by, stop[1].priority)
        jobs.queued_at[row] = state.now
        advance(state, row)


def _came_to_nothing(state: ClusterState, row: int, outcome: Outcome) -> bool:
    """Whether an attempt never began, on nodes that are still believed to be there: tried again at once, it would most
    likely go to the same nodes, again and again until somebody says that they are gone."""
    jobs = state.jobs
    if outcome.cause is not Cause.NODE_LOST or jobs.started_at[row] or jobs.stop[row] is not None:
        return False
    return all(state.nodes.reach[state.nodes.row_of[task.node]] is Reach.UP for task in jobs.placement[row])


def _judge(state: ClusterState, row: int, outcome: Outcome) -> Outcome:
    """What an end means, given what was asked of the attempt.

    After a requested stop, a death by signal, exit 75, or exit 0 with steps left to do, is the stop; exit 0 otherwise
    is a success; any other exit status is the program's own failure.
    """
    stop = state.jobs.stop[row]
    if stop is None:
        return outcome
    cause = stop[0]
    if outcome.cause is Cause.SUCCEEDED and not _unfinished(state, row):
        return outcome
    if cause in (Cause.PREEMPTED, Cause.DRAINED, Cause.MOVED, Cause.RESIZED) and outcome.cause is Cause.FAILED:
        own = outcome.signal is None and outcome.exit_code not in (YIELD_EXIT, None)
        if own:
            return outcome
    why = "; ".join(text for text in (str(stop[1] or ""), outcome.message) if text)
    return Outcome(cause, outcome.exit_code, outcome.signal, why)


def _unfinished(state: ClusterState, row: int) -> bool:
    return bool(0 < state.jobs.step[row] < state.jobs.total_steps[row])


def _record(state: ClusterState, row: int, fact: AttemptEnded, outcome: Outcome) -> None:
    jobs, job = state.jobs, state.jobs.job(row)
    started, placed = jobs.started_at.item(row), Instant(jobs.placed_at.item(row))
    ended = Instant(min(max(fact.at, started, placed), state.now))
    cpu, memory, gpu = jobs.sums[row].tolist()
    sums = (cpu, memory, gpu)
    queue, span = jobs.queue.item(row), float(ended - placed)
    spent = cpu * span, memory * span, gpu * span
    add_to(jobs.spent, (row,), spent)
    add_to(state.queues.spent, state.queues.above[queue], spent)
    lost = 0
    if outcome.cause in _TAKEN_AWAY and started:
        lost = (ended - min(max(started, int(jobs.checkpoint_at[row])), ended)) * gpu
        jobs.lost[row] += lost
    if started and job.service is None:
        _learn(state, row, outcome.cause, Instant(started), ended)
    yields = outcome.cause is Cause.PREEMPTED and job.priority.cls.may_preempt
    if yields != state.groups.yields(jobs.group.item(row)):
        jobs.group[row] = state.groups.get(shape_of(job), queue, job.priority.cls, yields=yields)
    state.measured.end_attempt(job.id, len(jobs.placement[row]))
    if fact.at != ended or fact.outcome is not outcome:
        fact = AttemptEnded(fact.attempt, fact.executor, fact.seq, ended, outcome)
    jobs.last_end[row] = fact
    state.news.attempts.append(
        EndedAttempt(
            fact.attempt, job.queue, job.user, fact.executor, tuple([t.node for t in jobs.placement[row]]),
            placed, Instant(started) if started else None, ended, outcome, sums, lost,
        )
    )  # fmt: skip


def learn_wait(state: ClusterState, row: int) -> None:
    """A job starts: remember how long it stood in line, the first time that it does. One that started at once says
    nothing about those that wait."""
    jobs, wait = state.jobs, state.now - state.jobs.queued_at.item(row)
    if wait >= SECOND and not jobs.attempt.item(row):
        group = state.groups.group(int(jobs.group[row]))
        state.history.waited(state.queues.id_of(group.queue), group.cls, group.shape, wait)


def _learn(state: ClusterState, row: int, cause: Cause, started: Instant, ended: Instant) -> None:
    """Remember how long the work took when it has come to an end of its own; else keep what of it was not lost."""
    jobs, pace = state.jobs, state.jobs.pace.item(row)
    if cause in OWN_ENDS:
        ran, swarm = jobs.ran.item(row), state.policy.fairness.swarm
        if ended - started < swarm.within and not ran and cause is not Cause.CANCELLED:
            state.short.add(jobs.queue.item(row), state.now, swarm.half_life)
        work = ran + (ended - started) * pace
        state.history.learn(jobs.history.item(row), work, jobs.job(row).estimate)
        for kept in state.reserved.values():  # who waits may now be forecast to be short enough for what is kept
            state.roomier.update(dict.fromkeys(state.nodes.row_of[task.node] for task in kept.placement))
        for booked in state.bookings.columns(state.nodes).values() if state.bookings else ():
            state.roomier.update(dict.fromkeys(booked.rows.tolist()))
        if state.groups.large_from:
            state.roomier.update(dict.fromkeys(state.bookings.large(state.nodes, state.policy.backfill.large).tolist()))
        jobs.ran[row] = 0
    else:
        kept = min(max(started, int(jobs.checkpoint_at[row])), ended)
        jobs.ran[row] += round((kept - started) * pace)


def _free_room(state: ClusterState, row: int) -> None:
    jobs, job = state.jobs, state.jobs.job(row)
    if state.bookings:
        left(state, row)
    nodes = state.nodes
    for task in jobs.placement[row]:
        node = nodes.row_of[task.node]
        nodes.take(node, task_need(job, task), task.devices, task.gpu_milli, sign=-1)
        nodes.attempts[node].pop(job.id, None)
        state.roomier[node] = None
        state.news.nodes[task.node] = None
    queue = jobs.queue.item(row)
    cpu, memory, gpu = jobs.sums[row].tolist()
    state.queues.use(queue, (-cpu, -memory, -gpu), state.now)
    state.lighter.update(state.queues.limited_above(queue))
    keep_company(state, job, jobs.placement[row], sign=-1)
    jobs.sums[row] = jobs.home[row] = 0
    jobs.pace[row] = 0
    jobs.placement[row] = ()
    for derived in (state.unmet, state.overdue, state.flexible):
        derived.pop(job.id, None)


def keep_company(state: ClusterState, job: Job, placement: Placement, sign: int = 1) -> None:
    """Tasks of a job are on these nodes, or held for there, where others may keep apart from them; or are no more."""
    if known_by(job):
        state.nodes.company.join(job, (state.nodes.row_of[task.node] for task in placement), sign)


def _retry_or_fail(state: ClusterState, row: int, outcome: Outcome) -> None:
    jobs, retry = state.jobs, state.jobs.job(row).retry
    if outcome.cause is Cause.START_FAILED:
        jobs.start_failures[row] += 1
        failures, limit = int(jobs.start_failures[row]), retry.start_limit
    else:
        jobs.failures[row] += 1
        failures, limit = int(jobs.failures[row]), retry.limit
    if failures > limit:
        finish(state, row, JobPhase.FAILED, outcome)
    else:
        jobs.queued_at[row] = jobs.release_at[row] = later(state.now, retry.wait(failures))
        advance(state, row)


def _restart_replica(state: ClusterState, row: int, outcome: Outcome) -> None:
    """A replica has no end of its own: back in line at once when it was taken away, after a back-off when it ended."""
    if outcome.cause in _TAKEN_AWAY:
        advance(state, row)
        return
    state.jobs.failures[row] += 1
    failures = int(state.jobs.failures[row])
    state.jobs.release_at[row] = later(state.now, state.jobs.job(row).retry.wait(failures))
    advance(state, row)


def drop_hold(state: ClusterState, row: int) -> None:
    """Give up the room kept for a job, and put it back in line where it does not run still, on its way there."""
    hold = state.jobs.hold[row]
    if hold is None:
        return
    state.jobs.hold[row] = None
    keep_company(state, state.jobs.job(row), hold.placement, sign=-1)
    state.held.pop(state.jobs.id_of(row), None)
    state.roomier.update(dict.fromkeys(state.nodes.row_of[task.node] for task in hold.placement))
    state.lighter.update(state.queues.limited_above(int(state.jobs.queue[row])))
    if not state.jobs.is_live(row):
        advance(state, row)


def finish(state: ClusterState, row: int, phase: JobPhase, outcome: Outcome) -> None:
    """The job has ended: its row is given back and a record kept."""
    jobs, job = state.jobs, state.jobs.job(row)
    drop_hold(state, row)
    leave_line(state, row)
    queue = jobs.queue.item(row)
    if jobs.is_live(row):
        state.queues.running[queue] -= 1
    else:
        state.queues.pending[queue] -= 1
    state.news.queues[job.queue] = None
    state.news.jobs[job.id] = None
    first = jobs.first_started.item(row)
    cpu, memory, gpu = jobs.spent[row].tolist()
    ended = state.ended[job.id] = EndedJob(
        job, phase, jobs.attempt.item(row), Instant(jobs.queued_at.item(row)), Instant(first) if first else None,
        state.now, outcome, jobs.failures.item(row), jobs.preemptions.item(row),
        (cpu, memory, gpu), jobs.lost.item(row),
        jobs.step.item(row), jobs.total_steps.item(row), jobs.written_off[row],
    )  # fmt: skip
    state.history.leave(jobs.history.item(row))
    state.measured.forget(job.id)
    yield_no_more(state, job.id)
    _tell_dependents(state, row, ended)
    jobs.remove(job.id)
    jobs.spec[row] = None
    if len(state.ended) > KEEP_ENDED:
        state.ended.popitem(last=False)


def _tell_dependents(state: ClusterState, row: int, ended: EndedJob) -> None:
    if state.jobs.missing[row]:
        forget_all(state, row)
    if ended.job.id in state.dependents:
        state.settled[ended.job.id] = of_job(ended)
    array = leave_array(state, row, succeeded=ended.phase is JobPhase.SUCCEEDED)
    if array is not None and array in state.dependents:
        state.settled[array] = of_array(state.ended_arrays[array])
