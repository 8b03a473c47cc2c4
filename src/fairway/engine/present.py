"""The published status of one job, node or queue, made from the tables: pure functions, one row in, one value out."""

import numpy as np

from fairway.decide import curves, order
from fairway.engine.status import BookingStatus, JobStatus, NodeStatus, ServiceStatus, Training
from fairway.engine.story import awaiting
from fairway.model.ids import NodeId
from fairway.model.job import Job
from fairway.model.phases import JobPhase
from fairway.model.plan import Placement
from fairway.model.reasons import WaitingUntil
from fairway.model.resources import Amount
from fairway.model.service import Service
from fairway.model.time import Instant
from fairway.state.cluster import ClusterState, EndedJob
from fairway.state.columns import Ints
from fairway.state.groups import shape_of
from fairway.state.snapshot import snapshot
from fairway.state.tables import NO_LIMIT


def live_status(state: ClusterState, row: int, now: Instant) -> JobStatus:
    """A job that has not ended. Its ``reason`` is left empty where it shares its group's."""
    jobs, job = state.jobs, state.jobs.job(row)
    phase, placement = jobs.phase_of(row), jobs.placement[row]
    gpu = int(jobs.sums[row, 2])
    spent = int(jobs.spent[row, 2]) + gpu * max(now - int(jobs.placed_at[row]), 0)
    reason, tier = _own_reason(state, row, phase)
    end = jobs.last_end[row]
    outcome = end.outcome if end else None
    return JobStatus(
        id=job.id,
        name=job.name,
        queue=job.queue,
        user=job.user,
        priority=str(job.priority),
        phase=phase,
        attempt=int(jobs.attempt[row]),
        tasks=len(placement) or job.tasks,
        request=str(shape_of(job)),
        as_of=now,
        submitted=job.submitted,
        queued=Instant(int(jobs.queued_at[row])),
        reason=reason,
        tier=tier,
        until=_until(state, row, phase),
        first_started=_instant(jobs.first_started[row]),
        started=_instant(jobs.started_at[row]) if phase.live else None,
        nodes=nodes_of(placement),
        devices=tuple(f"{task.node}:{device}" for task in placement for device in task.devices),
        gpu_milli=gpu if placement else shape_of(job).sums[2],
        failures=int(jobs.failures[row]) + int(jobs.start_failures[row]),
        preemptions=int(jobs.preemptions[row]),
        lost_gpu_ms=int(jobs.lost[row]),
        gpu_ms=spent,
        step=int(jobs.step[row]),
        total=int(jobs.total_steps[row]),
        checkpoint_at=_instant(jobs.checkpoint_at[row]),
        deadline=job.deadline,
        exit_code=outcome.exit_code if outcome else None,
        signal=outcome.signal if outcome else None,
        cause=outcome.cause if outcome else None,
        message=outcome.message if outcome else "",
        array=array_name(job),
        service=job.service,
        virtual=_virtual(state, placement),
        latest_start=_latest_start(state, row),
        training=_training(state, job),
    )


def _training(state: ClusterState, job: Job) -> Training | None:
    row = state.measured.row_of.get(job.id)
    if row is None:
        return None if job.sizes is None else Training(curves.source(state.measured, job))
    seen = state.measured
    return Training(
        curves.source(seen, job),
        int(seen.batch[row]),
        int(seen.told[row, 0]),
        float(seen.throughput[row]),
        float(seen.noise[row]),
        seen.refused[row],
    )


def _latest_start(state: ClusterState, row: int) -> Instant | None:
    """When a job must run to meet its deadline; None without one."""
    deadline = state.jobs.job(row).deadline
    if deadline is None:
        return None
    seen = order.standing(snapshot(state), state.policy, np.array([row], np.int64))
    return Instant(int(order.must_run(state.jobs, seen)[0]))


def _until(state: ClusterState, row: int, phase: JobPhase) -> Instant | None:
    reason = state.jobs.reason[row]
    return reason.until if phase is JobPhase.WAITING and isinstance(reason, WaitingUntil) else None


def _own_reason(state: ClusterState, row: int, phase: JobPhase) -> tuple[str, str]:
    if phase is JobPhase.STOPPING:
        stop = state.jobs.stop[row]
        return (str(stop[1] or stop[0]) if stop else "", "stopping")
    hold = state.jobs.hold[row]
    reason = awaiting(hold) if hold else state.jobs.reason[row]
    return (str(reason), reason.tier) if reason and not phase.live else ("", "")


def ended_status(record: EndedJob, before: JobStatus | None) -> JobStatus:
    """A job that has ended. Where it ran last is known from what was published ``before``."""
    job, outcome = record.job, record.outcome
    return JobStatus(
        id=job.id,
        name=job.name,
        queue=job.queue,
        user=job.user,
        priority=str(job.priority),
        phase=record.phase,
        attempt=record.attempt,
        tasks=before.tasks if before else job.tasks,
        request=str(shape_of(job)),
        as_of=record.ended,
        submitted=job.submitted,
        queued=record.queued,
        first_started=record.first_started,
        started=(before.started if before else None) or record.first_started,
        ended=record.ended,
        nodes=before.nodes if before else (),
        devices=before.devices if before else (),
        gpu_milli=before.gpu_milli if before else shape_of(job).sums[2],
        failures=record.failures,
        preemptions=record.preemptions,
        lost_gpu_ms=record.lost_gpu_ms,
        gpu_ms=round(record.spent[2]),
        step=record.step,
        total=record.total,
        checkpoint_at=before.checkpoint_at if before else None,
        deadline=job.deadline,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        cause=outcome.cause,
        message=outcome.message,
        array=array_name(job),
        service=job.service,
        virtual=before.virtual if before else False,
        training=before.training if before else None,
    )


def node_status(state: ClusterState, row: int) -> NodeStatus:
    """A node with what is free on it."""
    nodes, spec = state.nodes, state.nodes.node(row)
    return NodeStatus(
        id=spec.id,
        executor=spec.executor,
        total=spec.flat,
        free=tuple(nodes.free[row].tolist()),
        gpu_type=spec.gpu_type,
        gpu_memory_mib=spec.gpu_memory_mib,
        devices_free=tuple(nodes.device_free[row, : spec.gpus].tolist()),
        virtual=spec.virtual,
        reach=nodes.reach[row],
        cordoned=nodes.cordoned[row],
        jobs=tuple(nodes.attempts[row]),
        pool=spec.pool,
        spec=spec,
    )


def service_status(state: ClusterState, service: Service) -> ServiceStatus:
    """A service with its replicas."""
    jobs, replicas = state.jobs, tuple(state.replicas.get(service.id, ()))
    phases = [jobs.phase_of(jobs.row_of[job]) for job in replicas if job in jobs]
    return ServiceStatus(service.id, service.queue, service.replicas, phases.count(JobPhase.RUNNING), replicas)


def booking_statuses(state: ClusterState) -> tuple[BookingStatus, ...]:
    """Every booking, in the order in which they were asked for."""
    return tuple(
        BookingStatus(
            each.booking, each.devices, each.missing, "" if each.refused is None else str(each.refused),
            asked=each.stands and not each.accepted,
        )
        for each in state.bookings.table.values()
    )  # fmt: skip


def amount(sums: Ints) -> Amount:
    """A row of sums in ``SUMS`` order, ``None`` for no limit."""
    cpu, memory, gpu = (None if value >= NO_LIMIT else int(value) for value in sums.tolist())
    return Amount(cpu, memory, gpu)


def nodes_of(placement: Placement) -> tuple[NodeId, ...]:
    """The nodes of a placement, each once, by rank."""
    return tuple(dict.fromkeys(task.node for task in placement))


def array_name(job: Job) -> str:
    """``name[index]`` of an array's element; empty for any other job."""
    return f"{job.array.array}[{job.array.index}]" if job.array else ""


def _virtual(state: ClusterState, placement: Placement) -> bool:
    nodes = state.nodes
    return any(nodes.node(nodes.row_of[task.node]).virtual for task in placement if task.devices)


def _instant(value: int) -> Instant | None:
    return Instant(int(value)) if value else None
