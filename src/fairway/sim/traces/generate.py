"""Workloads of our own: a seed makes the same trace everywhere, so that tests, the demo and the docs need no recording.

The shapes are those that published cluster traces agree on: run times over several orders of magnitude (log-normal, the
mean far above the median), arrivals that follow the working day, most jobs of one GPU and most GPU-time in large ones.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from fairway.model.errors import InvalidField
from fairway.model.ids import ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import Job, Priority, PriorityClass, Role
from fairway.model.node import Node, Topology
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Accelerator, Amount, Request
from fairway.model.time import DAY, HOUR, MINUTE, SECOND, Duration, Instant
from fairway.sim.traces.trace import Trace

GPU_TYPES = ("H100", "A100")
"""Node i has devices of type ``GPU_TYPES[i % 2]``."""

H100_SPEED = 2.0
"""How much faster than an A100 a job that names both runs on an H100."""

MEDIAN_RUNTIME: Final = Duration(10 * MINUTE)

QUEUES = (("research", 0.5), ("research/vision", 0.2), ("product", 0.3), ("product/ads", 0.2), ("platform", 0.2))
"""Every queue and the share of the cluster that it is guaranteed."""

_CLASSES = (
    (PriorityClass.CRITICAL, 0.02),
    (PriorityClass.HIGH, 0.08),
    (PriorityClass.MEDIUM, 0.5),
    (PriorityClass.LOW, 0.25),
    (PriorityClass.PREEMPTIBLE, 0.15),
)
_WHOLE_GPUS = ((1, 0.6), (2, 0.15), (4, 0.15), (8, 0.1))
_T = TypeVar("_T")

_MEMORY_PER_CORE_MIB = 4096
_CORES_PER_GPU = 8


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of all jobs, each between 0 and 1. What is left asks for whole GPUs of one node."""

    cpu_only: float = 0.1
    fractions: float = 0.25
    gangs: float = 0.08
    elastic: float = 0.3
    """Of the gangs: those that run with half their workers."""
    typed: float = 0.25
    """Of the GPU jobs: those that name acceptable types."""
    deadlines: float = 0.15
    checkpoints: float = 0.5
    estimates: float = 0.5


def generate(
    seed: int,
    nodes: int = 16,
    jobs: int = 1000,
    *,
    gpus_per_node: int = 8,
    load: float = 0.9,
    median_runtime: Duration = MEDIAN_RUNTIME,
    mix: Mix | None = None,
    executors: int = 1,
) -> Trace:
    """``jobs`` jobs on ``nodes`` nodes, arriving so that they ask for ``load`` of the cluster's GPU-time on average.

    Nodes are dealt out to ``executors`` executors in turn. The same arguments give the same trace on every machine.
    Raises InvalidField for a size that makes no cluster.
    """
    for field, value, least in (("nodes", nodes, 1), ("jobs", jobs, 1), ("gpus_per_node", gpus_per_node, 1)):
        if value < least:
            raise InvalidField(field, f"must be {least} or more, not {value}")
    if not load > 0:
        raise InvalidField("load", f"must be above 0, not {load}")
    rng = Random(seed)
    mix = mix or Mix()
    cluster = _nodes(nodes, gpus_per_node, executors)
    shapes = [_shape(rng, mix, nodes, gpus_per_node) for _ in range(jobs)]
    works = [_runtime(rng, median_runtime) for _ in range(jobs)]
    wanted = sum(_gpu_milli(shape) * work for shape, work in zip(shapes, works, strict=True))
    span = wanted / (load * nodes * gpus_per_node * WHOLE) or jobs * float(MINUTE)
    arrivals = _arrivals(rng, jobs, span)
    return Trace(
        name=f"generated-{seed}",
        format="generated",
        nodes=cluster,
        queues=tuple(
            Queue(QueueId(name), quota=Amount(gpu_milli=int(share * nodes * gpus_per_node) * WHOLE))
            for name, share in QUEUES
        ),
        jobs=tuple(
            _job(rng, mix, index, shape, work, submitted)
            for index, (shape, work, submitted) in enumerate(zip(shapes, works, arrivals, strict=True))
        ),
        notes=(f"generated from seed {seed}: {jobs} jobs at load {load:g} on {nodes} nodes",),
    )


def _nodes(count: int, gpus: int, executors: int) -> tuple[Node, ...]:
    names = [ExecutorId("sim" if executors == 1 else f"sim-{index}") for index in range(max(executors, 1))]
    return tuple(
        Node(
            NodeId(f"n{index}"),
            executor=names[index % len(names)],
            cpu_milli=gpus * _CORES_PER_GPU * 2000,
            memory_mib=gpus * _CORES_PER_GPU * 2 * _MEMORY_PER_CORE_MIB,
            gpus=gpus,
            gpu_type=GPU_TYPES[index % len(GPU_TYPES)],
            gpu_memory_mib=81_920,
            topology=Topology(rack=f"r{index // 4}"),
        )
        for index in range(count)
    )


def _shape(rng: Random, mix: Mix, nodes: int, gpus_per_node: int) -> Role:
    """What a job asks for: at most half of the cluster, so that every job fits some day."""
    draw = rng.random()
    if draw < mix.cpu_only:
        return Role(request=_request(0, cores=rng.choice((1, 2, 4, 8))))
    accelerators = _accepts(rng, nodes) if rng.random() < mix.typed else ()
    if draw < mix.cpu_only + mix.fractions:
        if rng.random() < 0.3:
            return Role(request=_request(1, accelerators=accelerators, gpu_memory_mib=rng.choice((8_000, 20_000))))
        return Role(request=_request(1, accelerators=accelerators, gpu_milli=rng.choice((100, 250, 330, 500, 700))))
    if draw < mix.cpu_only + mix.fractions + mix.gangs and nodes > 1:
        tasks = min(rng.choice((2, 2, 2, 4, 4, 8)), max(nodes // 2, 2))
        least = max(tasks // 2, 1) if rng.random() < mix.elastic else None
        # Half a node each and of any type: every node then holds two, so a gang fits the empty cluster.
        return Role(count=tasks, min_count=least, request=_request(max(gpus_per_node // 2, 1)))
    return Role(request=_request(min(_pick(rng, _WHOLE_GPUS), gpus_per_node), accelerators=accelerators))


def _request(
    gpus: int,
    *,
    cores: int = 0,
    accelerators: tuple[Accelerator, ...] = (),
    gpu_milli: int = WHOLE,
    gpu_memory_mib: int = 0,
) -> Request:
    cores = cores or max(gpus * _CORES_PER_GPU // (1 if gpu_milli == WHOLE else 4), 1)
    return Request(
        cpu_milli=cores * 1000,
        memory_mib=cores * _MEMORY_PER_CORE_MIB,
        gpus=gpus,
        gpu_milli=gpu_milli,
        gpu_memory_mib=gpu_memory_mib,
        accelerators=accelerators,
    )


def _accepts(rng: Random, nodes: int) -> tuple[Accelerator, ...]:
    fast, slow = GPU_TYPES
    both = (Accelerator(fast, H100_SPEED), Accelerator(slow, 1.0))
    return both if nodes < 2 or rng.random() < 0.6 else (rng.choice(both),)


def _runtime(rng: Random, median: Duration) -> int:
    """Log-normal with sigma 1.7: the mean is about four times the median; cut at 200 medians."""
    return int(min(max(rng.lognormvariate(math.log(median), 1.7), SECOND), 200 * median))


def _arrivals(rng: Random, count: int, span: float) -> list[Instant]:
    """``count`` instants over about ``span`` ms: a Poisson process, three times as busy by day as by night."""
    drawn = [rng.random() * span for _ in range(count * 3)]
    kept = [at for at in drawn if rng.random() < 0.5 + 0.5 * math.sin(2 * math.pi * (at / DAY - 0.25)) / 1.5]
    # Thinning keeps about half of three times as many; the rest of a short draw is spread evenly.
    kept = (kept + drawn)[:count]
    kept.sort()
    return [Instant(int(at - kept[0])) for at in kept]


def _job(rng: Random, mix: Mix, index: int, role: Role, work: int, submitted: Instant) -> Job:
    every = Duration(int(min(max(work / rng.uniform(3, 12), SECOND), HOUR))) if rng.random() < mix.checkpoints else None
    deadline = Instant(int(submitted + work * rng.uniform(1.5, 6))) if rng.random() < mix.deadlines else None
    guess = Duration(int(work * rng.lognormvariate(0.2, 0.5)) + 1) if rng.random() < mix.estimates else None
    return Job(
        id=JobId(f"job-{index}"),
        name="job",
        queue=QueueId(rng.choice(QUEUES)[0]),
        roles=(role,),
        priority=Priority(_pick(rng, _CLASSES), rng.choice((0, 0, 0, 5))),
        user=f"user{rng.randrange(8)}",
        submitted=submitted,
        deadline=deadline,
        estimate=guess,
        work=Duration(work),
        checkpoints=every is not None,
        checkpoint_every=every,
    )


def _gpu_milli(role: Role) -> int:
    request = role.request
    return role.count * request.gpus * (request.gpu_milli if request.gpu_milli < WHOLE else WHOLE)


def _pick(rng: Random, weighted: tuple[tuple[_T, float], ...]) -> _T:
    draw = rng.random() * sum(weight for _, weight in weighted)
    for value, weight in weighted:
        draw -= weight
        if draw < 0:
            return value
    return weighted[-1][0]
