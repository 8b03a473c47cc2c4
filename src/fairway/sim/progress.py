"""How fast a job runs on what it has, and how much of it survives being stopped.

*Speed.* A task on a device runs at the relative speed its request gives that device's type, 1 where it has no
preference. A gang runs at the pace of its slowest task. With fewer workers than its full set an elastic job is slower
in proportion (``linear``), role by role, the scarcest role deciding; another curve can be given.

*Checkpoints.* A job with ``checkpoint_every`` keeps what it had done at the last multiple of that run time. A job that
keeps checkpoints but names no interval takes one when it is told to stop, and only then: a lost node costs it
everything. Any other job begins again. Loading a checkpoint takes no time.
"""

import math
from collections.abc import Callable, Mapping

from fairway.model.ids import JobId, NodeId
from fairway.model.job import Job
from fairway.model.node import Node
from fairway.model.plan import Placement

Speedup = Callable[[int, int], float]
"""(workers, full set of workers) -> speed relative to the full set, above 0."""


def linear(workers: int, full: int) -> float:
    """Half the workers, half the speed."""
    return workers / full


def speed(job: Job, placement: Placement, nodes: Mapping[NodeId, Node], speedup: Speedup = linear) -> float:
    """Milliseconds of work done in a millisecond on this placement; 1.0 for a full set at speed 1."""
    slowest = math.inf
    for task in placement:
        request = job.roles[task.role].request
        if request.accelerators and task.devices:
            slowest = min(slowest, request.speed_on(nodes[task.node].gpu_type))
    pace = 1.0 if slowest == math.inf else slowest
    if len(placement) < job.tasks:
        workers = [0] * len(job.roles)
        for task in placement:
            workers[task.role] += 1
        pace *= min(speedup(have, role.count) for have, role in zip(workers, job.roles, strict=True))
    return pace


class Progress:
    """What each job has durably done, in milliseconds of work at speed 1: its checkpoints, on storage of their own."""

    def __init__(self) -> None:
        self._kept: dict[JobId, float] = {}

    def kept(self, job: Job) -> float:
        """Work that the next attempt need not do again."""
        return self._kept.get(job.id, 0.0)

    def duration(self, job: Job, pace: float) -> int | None:
        """Milliseconds from start to end at ``pace``; None for work without an end."""
        if job.work is None:
            return None
        return max(math.ceil((job.work - self.kept(job)) / pace - 1e-6), 0)

    def last_checkpoint(self, job: Job, ran: int, told: bool) -> int:
        """How long an attempt had run when it took its last checkpoint; 0 for none. ``told``: it was asked to stop."""
        if not job.checkpoints:
            return 0
        if job.checkpoint_every is None:
            return ran if told else 0
        return ran - ran % job.checkpoint_every

    def stopped(self, job: Job, pace: float, ran: int, told: bool) -> None:
        """An attempt that ran for ``ran`` ms has ended before its time."""
        checkpoint = self.last_checkpoint(job, ran, told)
        if checkpoint:
            self._kept[job.id] = self.kept(job) + checkpoint * pace

    def finished(self, job: Job) -> None:
        """The job is done: its checkpoints are of no more use."""
        self._kept.pop(job.id, None)
