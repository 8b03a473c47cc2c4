"""Workloads in which jobs wait, each in a way of its own: what expected starts are measured on.

Made from ``fairway.sim.traces.generate``: the same seed gives the same jobs everywhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from fairway.model.ids import QueueId
from fairway.model.job import Job, Priority, PriorityClass
from fairway.model.queue import Queue
from fairway.model.time import Instant
from fairway.sim.traces import Trace, generate

NODES = 4


def growing(seed: int, jobs: int) -> Trace:
    """Half as much again as the cluster can do is asked of it, in five classes and five queues with quotas: the line
    grows until nobody comes any more."""
    return generate(seed, nodes=NODES, jobs=jobs, load=1.5)


def classes(seed: int, jobs: int) -> Trace:
    """Too much work in one queue: only the class says who goes first."""
    one = QueueId("q")
    trace = generate(seed, nodes=NODES, jobs=jobs, load=1.3)
    return replace(trace, queues=(Queue(one),), jobs=tuple(replace(job, queue=one) for job in trace.jobs))


def queues(seed: int, jobs: int) -> Trace:
    """Too much work of one class, in queues without quotas; one has four times the weight of the others."""
    trace = generate(seed, nodes=NODES, jobs=jobs, load=1.3)
    several = tuple(Queue(queue.id, weight=4 if number == 0 else 1) for number, queue in enumerate(trace.queues))
    return replace(trace, queues=several, jobs=tuple(map(_medium, trace.jobs)))


def steady(seed: int, jobs: int) -> Trace:
    """As much work as the cluster can do most of the time: nine tenths of it, in classes and queues."""
    return generate(seed, nodes=NODES, jobs=jobs, load=0.9)


def burst(seed: int, jobs: int) -> Trace:
    """After a quiet third everything comes at once, and nobody afterwards."""
    trace = generate(seed, nodes=NODES, jobs=jobs, load=0.6)
    at = trace.jobs[jobs // 3].submitted
    return replace(trace, jobs=tuple(replace(job, submitted=Instant(min(job.submitted, at))) for job in trace.jobs))


def _medium(job: Job) -> Job:
    return replace(job, priority=Priority(PriorityClass.MEDIUM))


WORKLOADS: Mapping[str, Callable[[int, int], Trace]] = {
    "growing": growing, "classes": classes, "queues": queues, "steady": steady, "burst": burst,
}  # fmt: skip
