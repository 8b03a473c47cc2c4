"""From manifests to the vocabulary. A job's id and instants depend on when it was accepted: they are arguments."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import PurePosixPath
from typing import Any

from fairway.faces.manifests.policy import PolicySpec, policy_of
from fairway.faces.manifests.queues import AmountSpec, LoanSpec
from fairway.faces.manifests.reservation import ReservationSpec, booking_of
from fairway.faces.manifests.schema import (
    ArraySpec,
    JobSpec,
    Manifest,
    PoolSpec,
    QueueSpec,
    RequestSpec,
    ServiceSpec,
)
from fairway.faces.manifests.units import GpuCount, Moment
from fairway.faces.manifests.where import where_of
from fairway.faces.manifests.workers import WorkersSpec, elasticity_of
from fairway.model.facts import BookingSet, Fact, JobSubmitted, PolicySet, PoolSet, QueueSet, QuotaLent, ServiceSet
from fairway.model.ids import JobId, LoanId, NodeId, PoolId, QueueId, ServiceId
from fairway.model.job import ArrayIndex, Dependency, Job, Retry, Role
from fairway.model.loan import Lent, Loan
from fairway.model.money import MicroDollars
from fairway.model.node import Node, Topology
from fairway.model.offer import Pool
from fairway.model.queue import Queue, RollingQuota
from fairway.model.resources import WHOLE, Accelerator, Amount, Request
from fairway.model.service import Service
from fairway.model.time import HOUR, MINUTE, Duration, Instant

SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who hands in a manifest, and the folder that relative working directories start from."""

    user: str = ""
    base: str = ""

    def folder(self, workdir: str) -> str:
        """Where a task runs: ``workdir`` seen from the caller's folder, which is also the default."""
        return str(PurePosixPath(self.base, workdir)) if self.base or workdir else ""


def facts_of(spec: Manifest, seq: int, now: Instant, caller: Caller, after: Sequence[Dependency] = ()) -> list[Fact]:
    """What a manifest that was accepted as number ``seq`` at ``now`` makes known; ``after`` is what a job still has to
    wait for, by the ids that its names stand for."""
    match spec:
        case JobSpec():
            return [JobSubmitted(job) for job in jobs_of(spec, seq, now, caller, after)]
        case ServiceSpec():
            return [ServiceSet(service_of(spec, caller))]
        case QueueSpec():
            return [QueueSet(queue_of(spec))]
        case LoanSpec():
            return [QuotaLent(loan_of(spec, now, caller))]
        case PoolSpec():
            return [PoolSet(pool_of(spec))]
        case ReservationSpec():
            return [BookingSet(booking_of(spec, now, caller.user))]
        case PolicySpec():
            return [PolicySet(policy_of(spec))]


def jobs_of(spec: JobSpec, seq: int, now: Instant, caller: Caller, after: Sequence[Dependency] = ()) -> list[Job]:
    """The job, or one for each element of an array. Ids: ``train-17``, ``sweep-18.3``."""
    stem = f"{spec.name}-{seq}"
    base = Job(
        id=JobId(stem),
        name=spec.name,
        queue=QueueId(spec.queue),
        roles=_roles(spec),
        priority=spec.priority,
        user=caller.user,
        command=_program(spec.command, spec.script),
        env=tuple(sorted(spec.env.items())),
        workdir=caller.folder(spec.workdir),
        submitted=now,
        not_before=_instant(spec.not_before, now),
        deadline=_instant(spec.deadline, now),
        max_runtime=spec.max_runtime,
        estimate=spec.estimate,
        grace=spec.grace,
        retry=Retry(spec.retries.limit, spec.retries.backoff, spec.retries.backoff_max, spec.retries.start_limit),
        labels=tuple(sorted(spec.labels.items())),
        checkpoints=spec.checkpoints,
        after=tuple(after),
        where=where_of(spec.where),
        elastic=elasticity_of(spec.elastic),
    )
    if spec.array is None:
        return [base]
    size = spec.array.points
    return [_element(base, spec.array, index, size, point) for index, point in enumerate(points(spec.array))]


def points(array: ArraySpec) -> Iterator[dict[str, Any]]:
    """The parameters of each element, in order: of a grid, the last name varies fastest."""
    if not array.parameters:
        yield from ({} for _ in range(array.size or 0))
    elif isinstance(array.parameters, list):
        yield from array.parameters
    else:
        names = list(array.parameters)
        yield from (dict(zip(names, values, strict=True)) for values in product(*array.parameters.values()))


def _element(base: Job, array: ArraySpec, index: int, size: int, point: dict[str, Any]) -> Job:
    texts = {name: str(value) for name, value in point.items()}
    words = {f"{{{name}}}": text for name, text in (*texts.items(), ("index", str(index)))}

    def fill(text: str) -> str:
        for word, value in words.items():
            text = text.replace(word, value)
        return text

    env = {name: fill(value) for name, value in base.env}
    env |= {f"FAIRWAY_PARAM_{name.upper()}": text for name, text in texts.items()}
    return replace(
        base,
        id=JobId(f"{base.id}.{index}"),
        command=tuple(fill(word) for word in base.command),
        roles=tuple(replace(role, command=tuple(fill(word) for word in role.command)) for role in base.roles),
        env=tuple(sorted(env.items())),
        array=ArrayIndex(base.id, index, size, array.max_running),
    )


def request_of(spec: RequestSpec) -> Request:
    """What one task needs."""
    gpus = spec.gpus if spec.gpus is not None else GpuCount(1 if spec.gpu_memory else 0)
    return Request(
        cpu_milli=spec.cpu,
        memory_mib=spec.memory,
        gpus=gpus.devices,
        gpu_milli=gpus.milli,
        gpu_memory_mib=spec.gpu_memory,
        accelerators=tuple(Accelerator(each.type, each.speed) for each in spec.accelerators),
        disk_mib=spec.disk,
        network_mbps=spec.network,
    )


def service_of(spec: ServiceSpec, caller: Caller) -> Service:
    """A service as declared."""
    return Service(
        id=ServiceId(spec.name),
        queue=QueueId(spec.queue),
        replicas=spec.replicas,
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        request=request_of(spec.request),
        priority=spec.priority,
        command=_program(spec.command, spec.script),
        env=tuple(sorted(spec.env.items())),
        workdir=caller.folder(spec.workdir),
        where=where_of(spec.where),
    )


def queue_of(spec: QueueSpec) -> Queue:
    """A queue as declared."""
    quota, borrow, lend = _amount(spec.quota), _amount(spec.borrow), _amount(spec.lend)
    rolling = spec.rolling and RollingQuota(
        round(spec.rolling.gpu_hours * WHOLE * HOUR), Duration(max(spec.rolling.period, MINUTE)), spec.rolling.grace
    )
    return Queue(QueueId(spec.name), spec.weight, quota, borrow, spec.max_pending, spec.discipline, rolling, lend)


def loan_of(spec: LoanSpec, now: Instant, caller: Caller) -> Loan:
    """A loan as agreed on at ``now``."""
    lender, borrower = QueueId(spec.lender), QueueId(spec.borrower)
    begins = spec.begins.on(now) if spec.begins else now
    parts = [Lent(lender, borrower, _amount(spec.amount), begins, spec.ends.on(now))]
    back = spec.in_return
    if back is not None:
        first, last = _instant(back.begins, now), _instant(back.ends, now)
        began, ends = begins if first is None else first, parts[0].ends if last is None else last
        parts.append(Lent(borrower, lender, _amount(back.amount), began, ends))
    return Loan(LoanId(spec.name), tuple(parts), caller.user)


def pool_of(spec: PoolSpec) -> Pool:
    """A pool as declared; the id of its shape is only a template."""
    shape = spec.shape
    node = Node(
        id=NodeId(spec.name),
        cpu_milli=shape.cpu,
        memory_mib=shape.memory,
        disk_mib=shape.disk,
        network_mbps=shape.network,
        gpus=shape.gpus,
        gpu_type=shape.accelerator,
        gpu_memory_mib=shape.gpu_memory,
        topology=Topology(region=shape.region, zone=shape.zone, cluster=shape.cluster),
        lifecycle=shape.lifecycle,
        pool=PoolId(spec.name),
        hourly=MicroDollars(shape.hourly),
        labels=tuple(sorted(shape.labels.items())),
        taints=shape.taints,
    )
    return Pool(PoolId(spec.name), node, spec.min, spec.max)


def _roles(spec: JobSpec) -> tuple[Role, ...]:
    if not spec.roles:
        return (_role("main", spec.workers or WorkersSpec(min=1, max=1), spec.request, ()),)
    return tuple(_role(r.name, r.workers, r.request, _program(r.command, r.script)) for r in spec.roles)


def _role(name: str, workers: WorkersSpec, request: RequestSpec, command: tuple[str, ...]) -> Role:
    least = None if workers.min == workers.max else workers.min
    return Role(name, workers.max, request_of(request), least, command)


def _program(command: tuple[str, ...], script: str) -> tuple[str, ...]:
    return (*SHELL, script) if script else command


def _instant(moment: Moment | None, now: Instant) -> Instant | None:
    return None if moment is None else moment.on(now)


def _amount(spec: AmountSpec) -> Amount:
    return Amount(cpu_milli=spec.cpu, memory_mib=spec.memory, gpu_milli=spec.gpus)
