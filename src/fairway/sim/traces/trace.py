"""What every importer returns: a cluster, its tenants, and the jobs that were submitted to it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from fairway.model.errors import InvalidField
from fairway.model.ids import ExecutorId, NodeId
from fairway.model.job import Job, Role
from fairway.model.node import Node
from fairway.model.queue import Queue
from fairway.model.resources import Request
from fairway.model.time import Instant

Estimates = Literal["none", "perfect"]
"""What a scheduler is told of run times: what the trace itself says of them, or the truth for every job."""

EXECUTOR = ExecutorId("sim")
"""The executor of every node of an imported trace."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded or generated workload. Times are milliseconds since the first submission.

    ``jobs`` are sorted by (submitted, place in the file); each has ``work``: milliseconds on its full set of workers at
    speed 1. ``notes`` are sentences for people: what the file did not say and what is assumed in its stead.
    """

    name: str
    format: str
    nodes: tuple[Node, ...]
    queues: tuple[Queue, ...]
    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()

    @property
    def gpu_milli(self) -> int:
        """Milli-GPUs of all nodes."""
        return sum(node.gpu_milli for node in self.nodes)

    def told(self, estimates: Estimates) -> "Trace":
        """The same trace with ``estimate`` as the scheduler is to see it."""
        if estimates == "none":
            return self
        jobs = tuple(replace(job, estimate=job.work) for job in self.jobs)
        return replace(self, jobs=jobs, notes=(*self.notes, "every estimate is the job's true run time"))


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a trace: the jobs, and where the format keeps them apart, nodes and virtual clusters."""

    jobs: Path
    nodes: Path | None = None
    vc_nodes: Path | None = None

    @property
    def name(self) -> str:
        """The trace's name: that of its file."""
        return self.jobs.stem


Importer = Callable[[Sources], Trace]


def in_order(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Jobs by submission, ties as in the file, counted from the first submission; deadlines move along."""
    ordered = sorted(jobs, key=lambda job: job.submitted)
    first = ordered[0].submitted if ordered else 0
    if not first:
        return tuple(ordered)
    return tuple(
        replace(
            job,
            submitted=Instant(job.submitted - first),
            not_before=None if job.not_before is None else Instant(job.not_before - first),
            deadline=None if job.deadline is None else Instant(job.deadline - first),
        )
        for job in ordered
    )


@lru_cache(maxsize=4096)
def gpu_roles(gpus: int, per_node: int) -> tuple[Role, ...]:
    """One task where ``gpus`` fit on a node, else the fewest equal tasks of at most ``per_node`` GPUs each."""
    tasks = -(-gpus // per_node) if gpus > per_node else 1
    while gpus % tasks:
        tasks += 1
    return (Role(count=tasks, request=Request(gpus=gpus // tasks)),)


def gpu_nodes(count: int, gpus: int) -> tuple[Node, ...]:
    """Nodes of which only the GPUs are known."""
    width = len(str(max(count - 1, 0)))
    return tuple(Node(NodeId(f"n{index:0{width}d}"), executor=EXECUTOR, gpus=gpus) for index in range(count))


def nodes_missing(sources: Sources, how: str) -> InvalidField:
    """The error for a trace that does not describe its cluster."""
    return InvalidField("nodes", f"{sources.jobs.name} does not say what nodes there are: {how}")
