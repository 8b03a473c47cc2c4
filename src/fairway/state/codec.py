"""A state as bytes and back: what a checkpoint holds.

Derived columns are never written: ``load`` recomputes them, so a checkpoint cannot disagree with itself. Row numbers
and free lists are kept, so that a restored state goes on exactly as the original would have.
"""

import hashlib
from collections.abc import Sequence
from heapq import heappush

from fairway.model.ids import ExecutorId, JobId, PoolId, ServiceId
from fairway.model.job import PriorityClass
from fairway.model.phases import Cause, JobPhase
from fairway.model.reasons import ArrayFull, WaitingUntil
from fairway.model.resources import WHOLE
from fairway.model.time import NEVER, Instant
from fairway.state import yielding
from fairway.state.bookings import load_bookings
from fairway.state.cluster import ArrayCount, ClusterState, EndedJob
from fairway.state.frames import decode_value, encode_value
from fairway.state.groups import shape_of
from fairway.state.history import pace
from fairway.state.jobs import home_of, placed_sums, task_need
from fairway.state.quotas import restore
from fairway.state.records import (
    ArrayRecord,
    Dump,
    GroupRecord,
    JobRecord,
    KindRecord,
    NodeRecord,
    QueueRecord,
    ShapeRecord,
)
from fairway.state.tables import QueueTable

FORMAT = 1
_NUMBERS = (
    "phase", "ordinal", "attempt", "failures", "start_failures", "preemptions", "queued_at", "release_at", "placed_at",
    "started_at", "started_seq", "first_started", "checkpoint_at", "step", "total_steps", "lost",
)  # fmt: skip


def dump(state: ClusterState) -> bytes:
    """The state as JSON bytes, canonical: equal states give equal bytes."""
    return encode_value(_record(state), Dump, ended=_ended(state))


def digest(state: ClusterState) -> str:
    """A fingerprint of everything ``dump`` keeps: 32 hex digits."""
    return hashlib.blake2b(dump(state), digest_size=16).hexdigest()


def _record(state: ClusterState) -> Dump:
    nodes, queues, jobs, groups = state.nodes, state.queues, state.jobs, state.groups
    return Dump(
        format=FORMAT,
        now=state.now,
        epoch=state.epoch,
        ordinal=state.ordinal,
        kinds=tuple(nodes.kinds),
        executors=tuple(ExecutorId(name) for name in nodes.executors),
        node_ids=tuple(nodes.ids),
        node_free=tuple(nodes.free_rows),
        nodes=tuple(NodeRecord(r, nodes.node(r), nodes.reach[r], nodes.cordoned[r]) for r in nodes.rows()),
        queues=tuple(_queue_record(queues, row) for row in queues.rows()),
        job_ids=tuple(jobs.ids),
        job_free=tuple(jobs.free_rows),
        jobs=tuple(_job_record(state, row) for row in jobs.rows()),
        shapes=tuple(map(ShapeRecord, groups.shapes.shapes, groups.shapes.reason, *groups.shapes.mix)),
        groups=tuple(
            GroupRecord(
                shape, queues.id_of(queue), PriorityClass(cls), bool(groups.blocked[r]), groups.limit_reason[r], yields
            )
            for r, (shape, queue, cls, yields) in enumerate(groups.keys)
        ),
        strays=tuple(sorted(state.strays.items())),
        overdue=tuple(sorted(state.overdue)),
        inventory_seq=tuple(sorted(state.inventory_seq.items())),
        services=tuple(state.services.values()),
        replicas=tuple((name, tuple(ids)) for name, ids in state.replicas.items()),
        pools=tuple(state.pools.values()),
        ended=(),
        policy=state.policy,
        reserved=tuple(state.reserved.values()),
        learned=state.history.learned,
        kinds_of_work=tuple(
            KindRecord(kind, int(state.history.quiet_since[row]), state.history.sketches(row))
            for row, kind in enumerate(state.history.kinds)
        ),
        arrays=tuple(ArrayRecord(name, a.size, a.limit, a.ended, a.failed) for name, a in state.arrays.items()),
        ended_arrays=tuple(state.ended_arrays.items()),
        preempted=tuple(state.preempted.minutes.items()),
        exposed_at=state.exposed_at,
        moved=tuple(state.moved.minutes.items()),
        tidy_at=state.tidy_at,
        tidy_due=state.tidy_due,
        look_at=state.look_at,
        look_due=state.look_due,
        measured=state.measured.records(),
        bookings=tuple(state.bookings.table.values()),
        loans=tuple(state.loans.agreed.values()),
        short=state.short.saved(queues),
    )  # fmt: skip


def _ended(state: ClusterState) -> list[bytes]:
    """What a checkpoint says of every ended job. That is most of it, and hardly changes: each is encoded once."""
    before, state.written = state.written, {}
    for name, ended in state.ended.items():
        known = before.get(name)
        state.written[name] = known if known and known[0] is ended else (ended, encode_value(ended, EndedJob))
    return [text for _, text in state.written.values()]


def _queue_record(queues: QueueTable, row: int) -> QueueRecord:
    spent, average = (tuple(column[row].tolist()) for column in (queues.spent, queues.average))
    at, review_at = int(queues.averaged_at[row]), int(queues.review_at[row])
    lately = tuple(queues.rolling[row].parts.items()) if row in queues.rolling else ()
    guaranteed = tuple(queues.guaranteed[row].tolist()), int(queues.guaranteed_at[row])
    return QueueRecord(queues.spec[row], spent, review_at, average, at, int(queues.opens_at[row]), lately, *guaranteed)


def _job_record(state: ClusterState, row: int) -> JobRecord:
    jobs = state.jobs
    stop = jobs.stop[row]
    return JobRecord(
        row=row,
        spec=jobs.job(row),
        numbers=tuple(int(getattr(jobs, name)[row]) for name in _NUMBERS),
        spent=tuple(jobs.spent[row].tolist()),
        placement=jobs.placement[row],
        stop=stop[0] if stop else None,
        stop_reason=stop[1] if stop else None,
        reason=jobs.reason[row],
        hold=jobs.hold[row],
        last_end=jobs.last_end[row],
        written_off=jobs.written_off[row],
        history=int(jobs.history[row]),
        ran=int(jobs.ran[row]),
        pace=float(jobs.pace[row]),
        kept_by=jobs.kept_by[row],
        missing=tuple((jobs.missing[row] or {}).items()),
    )


def load(data: bytes) -> ClusterState:
    """The state that ``dump`` wrote. Raises NewerFormat, CorruptJournal."""
    saved = decode_value(data, Dump)
    state = ClusterState()
    state.now, state.epoch, state.ordinal = saved.now, saved.epoch, saved.ordinal
    state.policy, state.queues.half_life = saved.policy, saved.policy.fairness.half_life
    state.groups.large_from = saved.policy.backfill.large.gpus * WHOLE
    for record in saved.queues:
        row = state.put_queue(record.spec)
        state.queues.spent[row], state.queues.review_at[row] = record.spent, record.review_at
        if 0 < record.review_at < NEVER:
            state.set_timer(Instant(record.review_at), "review", record.spec.id)
    restore(state, saved.loans, [(record.guaranteed, record.guaranteed_at) for record in saved.queues])
    state.short.restore(state.queues, saved.short, saved.now, saved.policy.fairness.swarm.half_life)
    _load_nodes(state, saved)
    groups = state.groups
    for record in saved.shapes:
        row = groups.shapes.get(record.shape)
        groups.shapes.reason[row] = record.reason
        groups.shapes.remember(row, record.seen, record.learned)
    for record in saved.groups:
        row = groups.get(
            saved.shapes[record.shape].shape, state.queues.row_of[record.queue], record.cls, yields=record.yields
        )
        groups.blocked[row] = record.blocked
        if record.limit_reason is not None:
            groups.tell(row, record.limit_reason)
    state.overdue = dict.fromkeys(saved.overdue)
    state.history.learned = saved.learned
    for record in saved.kinds_of_work:
        state.history.put(record.kind, record.quiet_since, record.sketches)
    state.history.tie()
    state.arrays = {a.id: ArrayCount(a.size, a.limit, a.ended, a.failed) for a in saved.arrays}
    state.ended_arrays = dict(saved.ended_arrays)
    state.reserved = {reserved.job: reserved for reserved in saved.reserved}
    _load_jobs(state, saved)
    for row, record in enumerate(saved.queues):
        if record.average:
            state.queues.average[row], state.queues.averaged_at[row] = record.average, record.averaged_at
        state.queues.recall(row, dict(record.spent_lately))
        if record.opens_at > saved.now:
            state.open_at(record.spec.id, Instant(record.opens_at))
        state.queues.opens_at[row] = record.opens_at
    state.preempted.minutes, state.exposed_at = dict(saved.preempted), Instant(saved.exposed_at)
    state.moved.minutes, state.tidy_at, state.tidy_due = dict(saved.moved), Instant(saved.tidy_at), saved.tidy_due
    if state.tidy_at:
        state.set_timer(state.tidy_at, "tidy")
    state.look_at, state.look_due = Instant(saved.look_at), saved.look_due
    if state.look_at:
        state.set_timer(state.look_at, "look")
    if state.exposed_at:
        state.set_timer(state.exposed_at, "exposed")
    state.measured.restore(saved.measured)
    state.strays, state.inventory_seq = dict(saved.strays), dict(saved.inventory_seq)
    state.services = {service.id: service for service in saved.services}
    state.replicas = {ServiceId(name): dict.fromkeys(ids) for name, ids in saved.replicas}
    state.pools = {PoolId(pool.id): pool for pool in saved.pools}
    load_bookings(state, saved.bookings)
    state.ended.update((record.job.id, record) for record in saved.ended)
    return state


def _load_nodes(state: ClusterState, saved: Dump) -> None:
    nodes = state.nodes
    nodes.kinds = {kind: code for code, kind in enumerate(saved.kinds)}
    nodes.executors = {name: code for code, name in enumerate(saved.executors)}
    for record in saved.nodes:
        nodes.put(record.spec)
        nodes.set_cordon(record.row, record.cordoned)
        nodes.set_reach(record.row, record.reach)
    # A node that has lost devices since may still have work on them.
    placements = [*(job.placement for job in saved.jobs), *(job.hold.placement for job in saved.jobs if job.hold)]
    last = max((device for tasks in placements for task in tasks for device in task.devices), default=-1)
    nodes.widen(0, last + 1)


def _load_jobs(state: ClusterState, saved: Dump) -> None:
    jobs = state.jobs
    jobs.place_rows(list(saved.job_ids), list(saved.job_free))
    rows = len(jobs.ids)
    jobs.spec, jobs.placement = [None] * rows, [()] * rows
    jobs.stop, jobs.reason, jobs.hold, jobs.last_end = [None] * rows, [None] * rows, [None] * rows, [None] * rows
    jobs.written_off, jobs.kept_by, jobs.missing = [()] * rows, [None] * rows, [None] * rows
    for record in saved.jobs:
        _load_job(state, record, saved.jobs)


def _load_job(state: ClusterState, record: JobRecord, saved: Sequence[JobRecord]) -> None:
    jobs, row, job = state.jobs, record.row, record.spec
    queue = state.queues.row_of[job.queue]
    victim = record.last_end is not None and record.last_end.outcome.cause is Cause.PREEMPTED
    yields = victim and job.priority.cls.may_preempt
    group = state.groups.get(shape_of(job), queue, job.priority.cls, yields=yields)
    jobs.fill(row, job, queue, group)
    for name, value in zip(_NUMBERS, record.numbers, strict=True):
        getattr(jobs, name)[row] = value
    jobs.spent[row] = record.spent
    jobs.placement[row], jobs.reason[row], jobs.hold[row] = record.placement, record.reason, record.hold
    jobs.last_end[row], jobs.written_off[row] = record.last_end, record.written_off
    jobs.stop[row] = None if record.stop is None else (record.stop, record.stop_reason)
    phase = jobs.phase_of(row)
    _load_waiting(state, record, phase, saved)
    for task in record.placement:
        node = state.nodes.row_of[task.node]
        state.nodes.take(node, task_need(job, task), task.devices, task.gpu_milli)
        state.nodes.attempts[node][job.id] = None
    for placement in (record.placement, record.hold.placement if record.hold else ()):
        state.nodes.company.join(job, (state.nodes.row_of[task.node] for task in placement))
    jobs.sums[row] = taken = placed_sums(job, record.placement)
    jobs.home[row] = home_of(record.placement, state.nodes.row_of)
    _load_history(state, record)
    if record.placement and state.may_change(job):
        state.flexible[job.id] = None
    state.queues.use(queue, taken, state.now)
    counted = state.queues.running if phase.live else state.queues.pending
    counted[queue] += 1
    if phase in (JobPhase.STARTING, JobPhase.STOPPING):
        state.unmet[job.id] = None
    if record.hold is not None:
        state.held[job.id] = None
    elif phase is JobPhase.QUEUED:
        jobs.in_line[row] = True
        state.groups.count(group, 1)
    elif phase is JobPhase.WAITING and isinstance(record.reason, WaitingUntil):
        state.set_timer(record.reason.until, "release", job.id, int(jobs.attempt[row]))
    elif phase is JobPhase.RUNNING and job.max_runtime is not None and job.id not in state.overdue:
        state.set_timer(Instant(int(jobs.started_at[row]) + job.max_runtime), "limit", job.id, int(jobs.attempt[row]))


def _load_history(state: ClusterState, record: JobRecord) -> None:
    jobs, row, job = state.jobs, record.row, record.spec
    if record.history < 0:
        jobs.history[row] = state.history.enter(job, shape_of(job))
    else:
        jobs.history[row] = record.history
        state.history.refs[record.history] += 1
    jobs.ran[row] = record.ran
    if record.placement:  # a writer that kept no pace left it at 0
        jobs.pace[row] = record.pace or pace(job, record.placement, state.nodes)


def _load_waiting(state: ClusterState, record: JobRecord, phase: JobPhase, saved: Sequence[JobRecord]) -> None:
    """Whom a job waits for, and its place in its array."""
    jobs, row, job = state.jobs, record.row, record.spec
    jobs.kept_by[row], jobs.missing[row] = record.kept_by, dict(record.missing) or None
    yielding.remember(state, row)
    for target, _ in record.missing:
        state.dependents.setdefault(target, {})[job.id] = None
    if job.array is None:
        return
    name = JobId(job.array.array)
    count = state.arrays.get(name)
    if count is None:  # an older version did not count: those that are not here have ended, and how is not known
        there = sum(each.spec.array is not None and each.spec.array.array == name for each in saved)
        count = state.arrays[name] = ArrayCount(job.array.size, job.array.max_running, job.array.size - there)
    jobs.placed[row] = phase is not JobPhase.WAITING
    count.active += int(jobs.placed[row])
    if isinstance(record.reason, ArrayFull):
        heappush(count.waiting, (int(jobs.ordinal[row]), job.id))
