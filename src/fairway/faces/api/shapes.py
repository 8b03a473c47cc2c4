"""What the API answers, and what ``--json`` prints: plain dictionaries with stable keys, listed here once.

``*_ms`` are milliseconds (instants since the Unix epoch), ``cpu`` cores, ``memory_mib`` MiB, ``gpus`` devices.
"""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from fairway.adapters.stores.views import AttemptRow
from fairway.decide.advice import Advice
from fairway.engine.status import (
    BookingStatus,
    JobStatus,
    NodeStatus,
    QueueStatus,
    ServiceStatus,
    Training,
    swarm_note,
)
from fairway.model.offer import Pool
from fairway.model.resources import WHOLE, Amount
from fairway.model.time import HOUR, SECOND, Instant
from fairway.state.loans import Agreed

Shape = dict[str, Any]


def job(status: JobStatus, now: Instant) -> Shape:
    """A job as of ``now``."""
    return {
        "id": status.id,
        "name": status.name,
        "queue": status.queue,
        "user": status.user,
        "priority": status.priority,
        "phase": status.phase.value,
        "reason": status.reason,
        "tier": status.tier,
        "attempt": status.attempt,
        "tasks": status.tasks,
        "request": status.request,
        "array": status.array,
        "service": status.service,
        "virtual": status.virtual,
        "nodes": list(status.nodes),
        "devices": list(status.devices),
        "gpus": status.gpu_milli / WHOLE,
        "submitted_ms": status.submitted,
        "queued_ms": status.queued,
        "until_ms": status.until,
        "first_started_ms": status.first_started,
        "started_ms": status.started,
        "ended_ms": status.ended,
        "deadline_ms": status.deadline,
        "late_ms": status.late_at(now),
        "checkpoint_ms": status.checkpoint_at,
        "wait_ms": status.wait_at(now),
        "run_ms": status.run_at(now),
        "step": status.step,
        "total": status.total,
        "failures": status.failures,
        "preemptions": status.preemptions,
        "gpu_seconds": gpu_seconds(status.gpu_ms_at(now)),
        "lost_gpu_seconds": gpu_seconds(status.lost_gpu_ms),
        "exit_code": status.exit_code,
        "signal": status.signal,
        "cause": status.cause.value if status.cause else None,
        "message": status.message,
        "training": status.training and training(status.training),
    }


def training(found: Training) -> Shape:
    """What is known of a job on other numbers of workers; None for what nobody told."""
    return {
        "speedup": found.speedup,
        "batch": found.batch or None,
        "told_batch": found.told_batch or None,
        "examples_per_s": found.throughput or None,
        "noise_scale": found.noise or None,
        "refused": found.refused,
    }


def explained(
    status: JobStatus,
    story: Iterable[tuple[Instant, str]],
    attempts: Iterable[AttemptRow],
    now: Instant,
    advice: Advice | None = None,
    queues: Iterable[QueueStatus] = (),
) -> Shape:
    """A job with everything that was decided about it, each of its runs, and what would help it while it waits;
    ``queues`` are its own and those above it."""
    expected = advice.expected if advice else None
    return {
        "job": job(status, now),
        "fits_if": list(advice.fits_if) if advice else [],
        "never_fits": bool(advice and advice.never),
        "queue_notes": [note for status in queues for note in status.notes_at(now)],
        "expected_ms": {"p50": expected.p50, "p90": expected.p90} if expected else None,
        "story": [{"at_ms": at, "what": what} for at, what in story],
        "attempts": [attempt(row) for row in attempts],
    }


def attempt(row: AttemptRow) -> Shape:
    """One run of a job."""
    return {
        "attempt": row.n,
        "executor": row.executor,
        "nodes": list(row.nodes),
        "placed_ms": row.placed,
        "started_ms": row.started,
        "ended_ms": row.ended,
        "cause": row.cause.value if row.cause else None,
        "exit_code": row.exit_code,
        "signal": row.signal,
        "message": row.message,
        "gpus": row.gpu_milli / WHOLE,
        "lost_gpu_seconds": gpu_seconds(row.lost_gpu_ms),
    }


def queue(status: QueueStatus, now: Instant) -> Shape:
    """A queue; what is counted includes the queues below it, but for ``own_pending``."""
    return {
        "id": status.id,
        "weight": status.weight,
        "quota": amount(status.quota),
        "limit": amount(status.limit),
        "lend": amount(status.lend),
        "guaranteed": amount(status.guaranteed),
        "guaranteed_gpu_hours": round(status.guaranteed_gpu_hours_at(now), 6),
        "notes": list(status.notes_at(now)),
        "swarm": swarm(status, now),
        "used": amount(status.used),
        "pending": status.pending,
        "own_pending": status.own_pending,
        "max_pending": status.max_pending,
        "discipline": status.discipline,
        "running": status.running,
        "gpu_hours": round(status.gpu_hours_at(now), 6),
        "share": status.share,
        "borrowed_gpus": status.borrowed_gpu_milli / WHOLE,
        "average_gpus": status.average_gpu_milli / WHOLE,
        "rolling": status.rolling
        and {
            "gpu_hours": status.rolling.gpu_ms / (WHOLE * HOUR),
            "spent_gpu_hours": round(status.rolling_gpu_ms / (WHOLE * HOUR), 6),
            "period_ms": status.rolling.period,
            "grace": status.rolling.grace,
        },
    }


def swarm(status: QueueStatus, now: Instant) -> Shape | None:
    """What so many jobs that are over in no time cost a queue; None where nothing."""
    found = status.swarm_at(now)
    return found and {
        "short_jobs": round(sum(found.counts_at(now)), 3),
        "allowed": found.rules.allowed,
        "within_ms": found.rules.within,
        "weight_counts": round(found.weight_at(now), 6),
        "until_ms": found.until,
        "note": swarm_note(found, status.id, now),
    }


def loan(agreed: Agreed, now: Instant) -> Shape:
    """A loan and how it stands."""
    return {
        "id": agreed.loan.id,
        "phase": agreed.phase(now),
        "why": agreed.why,
        "by": agreed.loan.by,
        "over_ms": agreed.over or None,
        "parts": [
            {
                "lender": part.lender,
                "borrower": part.borrower,
                "amount": amount(part.amount),
                "begins_ms": part.begins,
                "ends_ms": part.ends,
            }
            for part in agreed.loan.parts
        ],
    }


def node(status: NodeStatus) -> Shape:
    """A node: what it has and what is free, where it stands and what it is called."""
    spec = status.spec
    stands = ((field.name, getattr(spec.topology, field.name)) for field in fields(spec.topology))
    return {
        "id": status.id,
        "executor": status.executor,
        "reach": status.reach.value,
        "cordoned": status.cordoned,
        "virtual": status.virtual,
        "pool": status.pool,
        "total": _flat(status.total),
        "free": _flat(status.free),
        "gpus": len(status.devices_free),
        "gpus_free": sum(status.devices_free) / WHOLE,
        "gpu_type": status.gpu_type,
        "gpu_memory_mib": status.gpu_memory_mib,
        "devices_free": [milli / WHOLE for milli in status.devices_free],
        "lifecycle": spec.lifecycle.value,
        "topology": {name: value for name, value in stands if value},
        "labels": dict(spec.labels),
        "taints": list(spec.taints),
        "jobs": list(status.jobs),
    }


def service(status: ServiceStatus) -> Shape:
    """A service and its replicas."""
    return {
        "id": status.id,
        "queue": status.queue,
        "replicas": status.replicas,
        "running": status.running,
        "jobs": list(status.jobs),
    }


def reservation(status: BookingStatus, now: Instant) -> Shape:
    """What a queue has booked."""
    booking = status.booking
    return {
        "name": booking.id,
        "queue": booking.queue,
        "phase": status.phase_at(now),
        "reason": status.refused,
        "start_ms": booking.start,
        "end_ms": booking.end,
        "gpus": booking.gpus,
        "nodes": booking.nodes,
        "per_node": booking.per_node,
        "accelerators": list(booking.types),
        "where": str(booking.where),
        "grace_ms": booking.grace,
        "flexible": booking.flexible,
        "idle_for_ms": booking.idle_for,
        "by": booking.by,
        "missing": status.missing,
        "devices": {node: list(devices) for node, devices in status.devices},
    }


def pool(declared: Pool) -> Shape:
    """A pool as declared."""
    shape = declared.shape
    return {
        "id": declared.id,
        "min": declared.min_nodes,
        "max": declared.max_nodes,
        "shape": {**_flat(shape.flat), "gpus": shape.gpus, "gpu_type": shape.gpu_type, "hourly": shape.hourly / 1e6},
    }


def amount(value: Amount) -> Shape:
    """A sum of resources; null where nothing is said."""
    return {
        "cpu": None if value.cpu_milli is None else value.cpu_milli / 1000,
        "memory_mib": value.memory_mib,
        "gpus": None if value.gpu_milli is None else value.gpu_milli / WHOLE,
    }


def gpu_seconds(milli_ms: int) -> float:
    """GPU-seconds of milli-GPU milliseconds."""
    return round(milli_ms / WHOLE / SECOND, 3)


def _flat(values: tuple[int, ...]) -> Shape:
    cpu, memory, disk, network = values
    return {"cpu": cpu / 1000, "memory_mib": memory, "disk_mib": disk, "network_mbps": network}
