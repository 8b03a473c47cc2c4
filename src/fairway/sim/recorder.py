"""What a run amounted to, folded from what the control plane itself believes, turn by turn.

A view like any other (``engine.ports.View``): it looks at the jobs and nodes that ``state.news`` names and at the use
of the root queue, so its cost follows the change.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from fairway.model.ids import ROOT, JobId, NodeId, QueueId
from fairway.model.job import Job
from fairway.model.node import Node
from fairway.model.phases import JobPhase, Reach
from fairway.state.cluster import ClusterState, EndedJob

if TYPE_CHECKING:
    Numbers: TypeAlias = "array[int]"
else:
    # An array type takes no parameter when it runs before Python 3.12.
    Numbers = array

HOW_OFTEN = 256
"""Turns between two reports of progress."""


@dataclass(slots=True)
class QueueTally:
    """The ended jobs of one queue. Waits and completion times in milliseconds, of jobs that started or succeeded."""

    submitted: int = 0
    ended: dict[JobPhase, int] = field(default_factory=dict[JobPhase, int])
    waits: Numbers = field(default_factory=lambda: array("q"))
    completions: Numbers = field(default_factory=lambda: array("q"))
    gpu_ms: int = 0
    """Milli-GPU milliseconds that its jobs held, whatever came of it."""
    lost_gpu_ms: int = 0
    preemptions: int = 0
    deadlines: int = 0
    deadlines_met: int = 0


@dataclass(slots=True)
class Series:
    """Levels over time, an entry a turn: instants; milli-GPUs held, there, and waited for; jobs waiting."""

    at: Numbers = field(default_factory=lambda: array("q"))
    held: Numbers = field(default_factory=lambda: array("q"))
    there: Numbers = field(default_factory=lambda: array("q"))
    wanted: Numbers = field(default_factory=lambda: array("q"))
    waiting: Numbers = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class _Open:
    """A job that has not ended: what it asks for, and whether it stands in line."""

    queue: QueueTally
    gpu_milli: int
    in_line: bool = False


class Recorder:
    """``progress(ended, virtual time)`` is called every ``HOW_OFTEN`` turns."""

    def __init__(self, progress: Callable[[int, int], None] | None = None) -> None:
        self.queues: dict[QueueId, QueueTally] = {}
        self.series = Series()
        self.first_submitted: int | None = None
        self.last_completed = 0
        self.ended = 0
        self._open: dict[JobId, _Open] = {}
        self._closed: dict[JobId, JobPhase] = {}
        self._nodes: dict[NodeId, Node | None] = {}
        """What of each node was counted as being there."""
        self._there_cpu = self._there_gpu = 0
        self._wanted = self._waiting = 0
        self._held_cpu = self._held_gpu = 0
        self._now: int | None = None
        self.cpu_held = self.cpu_there = self.gpu_held = self.gpu_there = self.gpu_possible = 0
        """Integrals over time up to the last turn: milli-units x milliseconds. ``gpu_possible`` is of the smaller of
        what there is and what is held or waited for."""
        self._progress = progress
        self._seq = self._turns = 0

    @property
    def open(self) -> int:
        """Jobs that have not ended."""
        return len(self._open)

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        """Take over what has changed by frame ``seq``; a frame that is replayed after a crash is known."""
        if seq <= self._seq:
            return
        self._seq = seq
        self._pass_time(now)
        for job in state.news.jobs:
            self._look(state, job)
        for node in state.news.nodes:
            self._look_at_node(state, node)
        self._held_cpu, _, self._held_gpu = state.queues.used[state.queues.row_of[ROOT]].tolist()
        self._note(now)
        self._turns += 1
        if self._progress is not None and self._turns % HOW_OFTEN == 0:
            self._progress(self.ended, now)

    def _pass_time(self, now: int) -> None:
        """Add up the levels since the last turn. What came before the first submission does not count."""
        before, self._now = self._now, now
        if before is None or self.first_submitted is None or now <= before:
            return
        span = now - before
        self.cpu_held += span * self._held_cpu
        self.cpu_there += span * self._there_cpu
        self.gpu_held += span * self._held_gpu
        self.gpu_there += span * self._there_gpu
        self.gpu_possible += span * max(min(self._held_gpu + self._wanted, self._there_gpu), self._held_gpu)

    def _look(self, state: ClusterState, job_id: JobId) -> None:
        jobs, seen = state.jobs, self._open.get(job_id)
        row = jobs.row_of.get(job_id)
        if row is None:
            ended = state.ended.get(job_id)
            if ended is not None:
                self._end(seen, ended)
            return
        if seen is None:
            seen = self._open_up(jobs.job(row))
        in_line = jobs.phase_of(row) is JobPhase.QUEUED
        if in_line is not seen.in_line:
            self._move(seen, in_line)

    def _open_up(self, job: Job) -> _Open:
        tally = self.queues.get(job.queue)
        if tally is None:
            tally = self.queues[job.queue] = QueueTally()
        tally.submitted += 1
        if self.first_submitted is None or job.submitted < self.first_submitted:
            self.first_submitted = job.submitted
        gpu_milli = sum([role.count * role.request.gpus * role.request.gpu_milli for role in job.roles])
        seen = self._open[job.id] = _Open(tally, gpu_milli)
        return seen

    def _move(self, seen: _Open, in_line: bool) -> None:
        sign = 1 if in_line else -1
        seen.in_line = in_line
        self._wanted += sign * seen.gpu_milli
        self._waiting += sign

    def _end(self, seen: _Open | None, end: EndedJob) -> None:
        before = self._closed.get(end.job.id)
        if before is None:
            self._close(seen or self._open_up(end.job), end)
        elif before is not end.phase:
            # It had failed, and an attempt that was written off has succeeded after all.
            tally = self.queues[end.job.queue]
            tally.ended[before] -= 1
            self._count(tally, end)

    def _close(self, seen: _Open, end: EndedJob) -> None:
        if seen.in_line:
            self._move(seen, False)
        tally, job = seen.queue, end.job
        del self._open[job.id]
        self.ended += 1
        tally.gpu_ms += round(end.spent[2])
        tally.lost_gpu_ms += end.lost_gpu_ms
        tally.preemptions += end.preemptions
        if end.first_started is not None:
            tally.waits.append(max(end.first_started - job.submitted, 0))
        tally.deadlines += job.deadline is not None
        self._count(tally, end)

    def _count(self, tally: QueueTally, end: EndedJob) -> None:
        self._closed[end.job.id] = end.phase
        tally.ended[end.phase] = tally.ended.get(end.phase, 0) + 1
        if end.phase is JobPhase.SUCCEEDED:
            tally.completions.append(max(end.ended - end.job.submitted, 0))
            self.last_completed = max(self.last_completed, end.ended)
            tally.deadlines_met += end.job.deadline is not None and end.ended <= end.job.deadline

    def _look_at_node(self, state: ClusterState, node: NodeId) -> None:
        row = state.nodes.row_of.get(node)
        up = row is not None and state.nodes.reach[row] is Reach.UP
        has = state.nodes.spec[row] if row is not None and up else None
        had = self._nodes.get(node)
        if has is not had:
            self._nodes[node] = has
            for spec, sign in ((has, 1), (had, -1)):
                self._there_cpu += sign * spec.cpu_milli if spec is not None else 0
                self._there_gpu += sign * spec.gpu_milli if spec is not None else 0

    def _note(self, now: int) -> None:
        series = self.series
        if series.at and series.at[-1] == now:
            series.held[-1], series.there[-1] = self._held_gpu, self._there_gpu
            series.wanted[-1], series.waiting[-1] = self._wanted, self._waiting
            return
        series.at.append(now)
        series.held.append(self._held_gpu)
        series.there.append(self._there_gpu)
        series.wanted.append(self._wanted)
        series.waiting.append(self._waiting)
