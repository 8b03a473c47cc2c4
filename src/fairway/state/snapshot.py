"""What ``decide`` may see: the state, read-only, and a trial on which it may place and evict as if."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from fairway.model.ids import JobId
from fairway.model.plan import Placement, Reserve, TaskPlacement
from fairway.model.resources import WHOLE, Request
from fairway.model.time import Instant
from fairway.state.bookings import Bookings
from fairway.state.cluster import ClusterState
from fairway.state.columns import Floats, Ints, add_to
from fairway.state.company import Company
from fairway.state.copies import give_back, lend
from fairway.state.groups import GroupTable, Shape
from fairway.state.history import RunTimes
from fairway.state.jobs import JobTable, placed_sums, task_need
from fairway.state.lending import Lending
from fairway.state.measured import Measurements
from fairway.state.swarm import ShortEnds
from fairway.state.tables import NodeTable, QueueTable, Watcher, summed_up


class Snapshot(NamedTuple):
    """The state at one instant. Valid until the next ``apply``; nothing in it may be written.

    The tables are the state's own: a snapshot costs nothing until a ``Trial`` copies the columns it writes.
    """

    now: Instant
    nodes: NodeTable
    queues: QueueTable
    jobs: JobTable
    groups: GroupTable
    held: tuple[int, ...]
    """Rows of jobs with a hold, first in line first."""
    overdue: tuple[int, ...]
    """Rows of running jobs past their ``max_runtime``."""
    history: RunTimes
    """How long work has taken."""
    reserved: dict[JobId, Reserve]
    """Jobs in line that room is kept for, and where."""
    measured: Measurements
    """What programs have measured of themselves."""
    bookings: Bookings
    """What queues have booked for a time."""
    short: ShortEnds
    """How many of their jobs were over in no time."""
    preempted: int = 0
    """Jobs told to stop for others in the last hour."""
    moved: int = 0
    """Jobs told to go on elsewhere in the last hour."""
    tidy_due: bool = False
    """Whether it is time to look if work should move."""
    flexible: tuple[int, ...] = ()
    """Rows of live jobs that could go on with another number of workers, or on another type."""
    look_due: bool = False
    """Whether it is time to look if they should."""

    def shape_of(self, row: int) -> Shape:
        """What a job needs, as the class of its equals has it."""
        return self.groups.shapes.shapes[self.groups.shape.item(self.jobs.group.item(row))]


def snapshot(state: ClusterState) -> Snapshot:
    """The state as ``decide`` sees it."""
    row_of, line = state.jobs.row_of, state.jobs
    held: tuple[int, ...] = ()
    overdue: tuple[int, ...] = ()
    if state.held:
        held = tuple(sorted((row_of[job] for job in state.held), key=lambda row: (line.cls[row], line.ordinal[row])))
    if state.overdue:
        overdue = tuple(sorted(row_of[job] for job in state.overdue))
    return Snapshot(
        state.now, state.nodes, state.queues, state.jobs, state.groups, held, overdue, state.history,
        state.reserved, state.measured, state.bookings, state.short, state.preempted.count(state.now),
        state.moved.count(state.now), state.tidy_due,
        tuple(sorted([row_of[job] for job in state.flexible])) if state.flexible else (), state.look_due,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Takings:
    """Tasks to take off a trial together: ``nodes`` (K,) rows, ``flat`` (K, 4), ``milli`` (K, D) of each device."""

    nodes: Ints
    flat: Ints
    milli: Ints

    def reverse(self) -> Self:
        """What gives it all back."""
        return type(self)(self.nodes, -self.flat, -self.milli)

    @classmethod
    def of(cls, snap: Snapshot, tasks: Sequence[tuple[int, TaskPlacement]]) -> Self:
        """What these tasks hold, each with the row of its job."""
        milli = np.zeros((len(tasks), snap.nodes.device_free.shape[1]), np.int64)
        for at, (_, task) in enumerate(tasks):
            milli[at, list(task.devices)] = task.gpu_milli
        nodes = np.array([snap.nodes.row_of[task.node] for _, task in tasks], np.int64)
        flat = np.array([task_need(snap.jobs.job(row), task) for row, task in tasks], np.int64).reshape(-1, 4)
        return cls(nodes, flat, milli)

    @classmethod
    def together(cls, several: Sequence[Self]) -> Self:
        """One after the other."""
        columns = zip(*((each.nodes, each.flat, each.milli) for each in several), strict=True)
        return cls(*map(np.concatenate, columns))

    def some(self, which: Ints | slice) -> Self:
        """Those of the tasks that ``which`` names, in its order."""
        return type(self)(self.nodes[which], self.flat[which], self.milli[which])


class Trial:
    """Copies of the columns that placing writes, with an undo log: what the cluster would be like if.

    Shapes as in ``NodeTable``; ``used`` as in ``QueueTable``.
    """

    def __init__(self, snap: Snapshot) -> None:
        nodes, copy = snap.nodes, lend(snap.nodes)
        self.free, self.device_free, self.idle = copy.free, copy.device_free, copy.idle
        self.share_max, self.gpu_free = copy.share_max, copy.gpu_free
        self.known: dict[Any, Any] | None = copy.known
        """What is kept by row of these columns from one trial to the next; None where they are written untold."""
        self.changes = copy.changes
        """Rows in the order in which they were written."""
        self._copy, self._since = copy, len(copy.changes)
        self.used: Ints = snap.queues.used[: snap.queues.height].copy()
        self.lending = Lending(nodes, snap.queues, self.used) if snap.queues.keepers else None
        """What queues keep from others; None where nobody keeps anything."""
        self.watcher: Watcher | None = None
        """Is told of every node that changes."""
        self.liking: Mapping[Request, Floats] = {}
        """How the tasks of a request like each kind of device (T,), where that is not by its speed alone."""
        self.company = Company()
        """Work placed or held on this trial, for those who keep apart from it."""
        self._above, self._nodes, self._jobs = snap.queues.above, nodes, snap.jobs
        self._log: list[tuple[int, tuple[int, ...], tuple[int, ...], int] | Takings] = []
        self._queue_log: list[tuple[int, tuple[int, ...]]] = []

    def close(self) -> None:
        """The trial is over: another one may have its columns."""
        if self.known is not None:
            give_back(self._nodes, self._copy, self._since)

    def write_untold(self) -> None:
        """From now on the columns may be written by others, who do not say which rows."""
        self.known = None

    def take(self, node: int, flat: tuple[int, ...], devices: tuple[int, ...], milli: int) -> None:
        """Place one task; a negative ``flat`` and ``milli`` gives a task's share back."""
        self._log.append((node, flat, devices, milli))
        self._add(node, flat, devices, milli)

    def put(self, row: int, tasks: Sequence[TaskPlacement], sign: int = 1, *, charge: bool = False) -> None:
        """Place these tasks of a job; ``sign=-1`` gives back what they hold. Its queue's use stays as it is, but for
        ``charge``."""
        job = self._jobs.job(row)
        for task in tasks:
            flat = tuple(sign * need for need in task_need(job, task))
            self.take(self._nodes.row_of[task.node], flat, task.devices, sign * task.gpu_milli)
        if charge:
            self.charge(self._jobs.queue.item(row), tuple(sign * amount for amount in placed_sums(job, tasks)))

    def count_in(self, row: int, placement: Placement) -> None:
        """A job was placed: its queue uses what that takes, and those who come after may have to keep apart from it."""
        job = self._jobs.job(row)
        self.charge(self._jobs.queue.item(row), placed_sums(job, placement))
        self.company.join(job, (self._nodes.row_of[task.node] for task in placement))

    def take_all(self, some: Takings) -> None:
        """As many ``take``s at once, for no more than a few of them would cost."""
        self._log.append(some)
        self._add_all(some)

    def charge(self, queue: int, sums: tuple[int, ...]) -> None:
        """Count use against a queue and all above it; negative sums give it back."""
        self._queue_log.append((queue, sums))
        self._charge(queue, sums)

    def shift(self, some: Takings) -> None:
        """Take these off for good: ``rollback`` does not bring them back, their reverse does."""
        self._add_all(some)

    def written(self) -> list[int]:
        """Rows of every node that may differ from the state."""
        return list(dict.fromkeys(self.changes[self._since :]))

    def mark(self) -> tuple[int, int]:
        """A point to roll back to."""
        return len(self._log), len(self._queue_log)

    def rollback(self, mark: tuple[int, int]) -> None:
        """Undo everything since ``mark``."""
        while len(self._log) > mark[0]:
            entry = self._log.pop()
            if isinstance(entry, Takings):
                self._add_all(entry.reverse())
            else:
                node, flat, devices, milli = entry
                self._add(node, tuple(-x for x in flat), devices, -milli)
        while len(self._queue_log) > mark[1]:
            queue, sums = self._queue_log.pop()
            self._charge(queue, tuple([-amount for amount in sums]))

    def _charge(self, queue: int, sums: tuple[int, ...]) -> None:
        add_to(self.used, self._above[queue], sums)
        if self.lending is not None:
            self.lending.charge(queue, np.array(sums, np.int64))

    def _add(self, node: int, flat: tuple[int, ...], devices: tuple[int, ...], milli: int) -> None:
        free = self.free[node]
        for resource, need in enumerate(flat):
            if need:
                free[resource] -= need
        self.changes.append(node)
        if devices:
            column = self.device_free[node]
            for device in devices:
                column[device] -= milli
            left: list[int] = column.tolist()
            self.idle[node], self.share_max[node], self.gpu_free[node] = summed_up(left)
        if self.watcher is not None:
            self.watcher.changed(node)

    def _add_all(self, some: Takings) -> None:
        nodes = np.unique(some.nodes)
        np.subtract.at(self.free, some.nodes, some.flat)
        np.subtract.at(self.device_free, some.nodes, some.milli)
        left = self.device_free[nodes]
        self.idle[nodes] = (left == WHOLE).sum(axis=1)
        self.share_max[nodes] = left.max(axis=1, initial=0)
        self.gpu_free[nodes] = np.maximum(left, 0).sum(axis=1)
        changed: list[int] = nodes.tolist()
        self.changes += changed
        if self.watcher is not None:
            for node in changed:
                self.watcher.changed(node)
