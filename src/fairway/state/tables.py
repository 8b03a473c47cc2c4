"""The tables of the cluster: nodes with their devices, and queues.

Columns marked *derived* are written only by ``apply`` (through the methods here) and recomputed by ``check``.
"""

from typing import Protocol

import numpy as np

from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.node import Node
from fairway.model.phases import Reach
from fairway.model.queue import DISCIPLINES, Queue
from fairway.model.resources import FLAT, WHOLE
from fairway.model.time import DAY, Duration
from fairway.state.columns import Bools, Floats, Ints, Table, add_to
from fairway.state.company import Company
from fairway.state.places import Places
from fairway.state.rolling import Spending
from fairway.state.terms import NO_LIMIT, SUMS, terms

CPU, MEMORY, DISK, NETWORK = range(len(FLAT))


class Watcher(Protocol):
    """Somebody who keeps what depends on the free capacity of nodes."""

    def changed(self, row: int) -> None:
        """A node's free capacity, or the node itself, is no longer what it was."""


class NodeTable(Table[NodeId]):
    """A row per node ever seen and not yet forgotten. Shapes: flat (N, 4), devices (N, D), the rest (N,)."""

    COLUMNS = (
        ("total", np.int64, len(FLAT)),
        ("free", np.int64, len(FLAT)),
        ("gpu_count", np.int64, 0),
        ("gpu_memory", np.int64, 0),
        ("hourly", np.int64, 0),
        ("kind", np.int64, 0),
        ("executor", np.int64, 0),
        ("placeable", np.bool_, 0),
        ("idle", np.int64, 0),
        ("share_max", np.int64, 0),
        ("gpu_free", np.int64, 0),
    )
    total: Ints
    free: Ints
    """Derived: total less what live attempts take. Negative only when a node shrank under its work."""
    gpu_count: Ints
    gpu_memory: Ints
    hourly: Ints
    """Micro-dollars."""
    kind: Ints
    """Code in ``kinds``: device type and memory."""
    executor: Ints
    """Code in ``executors``."""
    placeable: Bools
    """Derived: up and not cordoned."""
    idle: Ints
    """Derived: wholly free devices."""
    share_max: Ints
    """Derived: most free milli-GPUs on one device."""
    gpu_free: Ints
    """Derived: free milli-GPUs over all devices; one that is overcommitted counts as none."""

    def __init__(self) -> None:
        super().__init__()
        self.spec: list[Node | None] = []
        self.reach: list[Reach] = []
        self.cordoned: list[bool] = []
        self.attempts: list[dict[JobId, None]] = []
        """Jobs whose live attempt has a task here, in order of placement."""
        self.device_free: Ints = np.zeros((16, 8), np.int64)
        """Derived, (N, D): free milli-GPUs of each device; 0 beyond the node's last."""
        self.kinds: dict[tuple[str, int], int] = {}
        self.executors: dict[str, int] = {}
        self.places = Places()
        """Derived: where nodes stand, and which of them each constraint allows."""
        self.company = Company()
        """Derived: where live work of each array, service and label is."""
        self.version = 0
        """How often a node has come or changed."""
        self.watcher: Watcher | None = None
        """What ``decide.mix`` has made of these nodes, which it keeps up to date from one decision to the next."""
        self.written: set[int] = set()
        """Rows whose free capacity, or whether they take work, has changed since a copy was last lent (``copies``)."""
        self.spare: object | None = None
        self.lent: object | None = None
        """The copy that the next trial may have; the one that a trial has."""
        self._largest: tuple[tuple[int, ...], int] | None = None

    @property
    def largest(self) -> tuple[tuple[int, ...], int]:
        """The most of each flat resource, and of milli-GPUs, that any one node has in all; at least 1 each."""
        if self._largest is None:
            flat = self.total[: self.height].max(axis=0, initial=1)
            self._largest = tuple(flat.tolist()), max(int(self.gpu_count[: self.height].max(initial=0)) * WHOLE, 1)
        return self._largest

    def put(self, node: Node) -> int:
        """Add a node, or take over its new totals; what runs there keeps its share. Returns the row."""
        row = self.row_of.get(node.id)
        used_flat, used_devices = np.zeros(len(FLAT), np.int64), np.zeros(0, np.int64)
        if row is None:
            row = self.add(node.id)
            self.widen(row, node.gpus)
            here = slice(row, row + 1)
            self.spec[here], self.attempts[here] = [None], [{}]
            self.reach[here], self.cordoned[here] = [Reach.UP], [False]
            self.device_free[row] = 0
        else:
            self.widen(row, node.gpus)
            used_flat = self.total[row] - self.free[row]
            used_devices = self._whole(row) - self.device_free[row]
        self.spec[row] = node
        self.total[row] = node.flat
        self.free[row] = self.total[row] - used_flat
        self.gpu_count[row] = node.gpus
        self.gpu_memory[row] = node.gpu_memory_mib
        self.hourly[row] = node.hourly
        self.kind[row] = self.kinds.setdefault((node.gpu_type, node.gpu_memory_mib), len(self.kinds))
        self.executor[row] = self.executors.setdefault(node.executor, len(self.executors))
        self.device_free[row] = self._whole(row)
        self.device_free[row, : len(used_devices)] -= used_devices
        self.reach[row] = Reach.UP
        self.places.put(row, node)
        self._largest = None
        self.idle[row], self.share_max[row], self.gpu_free[row] = summed_up(self.device_free[row].tolist())
        self._open_or_close(row)
        self.version += 1
        if self.watcher is not None:
            self.watcher.changed(row)
        return row

    def node(self, row: int) -> Node:
        """The spec in a row that is in use."""
        spec = self.spec[row]
        if spec is None:
            raise KeyError(f"node row {row} is free")
        return spec

    def set_reach(self, row: int, reach: Reach) -> None:
        """Mark a node up or lost."""
        self.reach[row] = reach
        self._open_or_close(row)

    def set_cordon(self, row: int, on: bool) -> None:
        """Stop, or go on, placing on a node."""
        self.cordoned[row] = on
        self._open_or_close(row)

    def take(self, row: int, flat: tuple[int, ...], devices: tuple[int, ...], milli: int, sign: int = 1) -> None:
        """Take a task's share off a node's free capacity; ``sign=-1`` gives it back."""
        free = self.free[row]
        for column, need in enumerate(flat):
            if need:
                free[column] -= sign * need
        if devices:
            left: list[int] = self.device_free[row].tolist()  # a few numbers: plain Python is done before numpy begins
            for device in devices:
                left[device] -= sign * milli
            self.device_free[row] = left
            self.idle[row], self.share_max[row], self.gpu_free[row] = summed_up(left)
        self.written.add(row)
        if self.watcher is not None:
            self.watcher.changed(row)

    def _whole(self, row: int) -> Ints:
        whole = np.zeros(self.device_free.shape[1], np.int64)
        whole[: int(self.gpu_count[row])] = WHOLE
        return whole

    def _open_or_close(self, row: int) -> None:
        self.placeable[row] = self.reach[row] is Reach.UP and not self.cordoned[row]
        self.written.add(row)

    def widen(self, row: int, devices: int) -> None:
        """Have space for so many devices, and for row ``row``."""
        height, width = self.device_free.shape
        if row >= height or devices > width:
            bigger = np.zeros((max(height, 2 * row), max(width, devices)), np.int64)
            bigger[:height, :width] = self.device_free
            self.device_free = bigger


def summed_up(devices: list[int]) -> tuple[int, int, int]:
    """Idle devices, the largest share that one has left, and what all have, of the free milli-GPUs of each: below zero
    where a hold is on what somebody still has."""
    if not devices:
        return 0, 0, 0
    if min(devices) < 0:
        devices = [max(milli, 0) for milli in devices]
    return devices.count(WHOLE), max(devices), sum(devices)


class QueueTable(Table[QueueId]):
    """A row per queue; sums are (Q, 3) in ``SUMS`` order."""

    COLUMNS = (
        ("limit", np.int64, len(SUMS)),
        ("quota", np.int64, len(SUMS)),
        ("used", np.int64, len(SUMS)),
        ("pending", np.int64, 0),
        ("running", np.int64, 0),
        ("spent", np.float64, len(SUMS)),
        ("discipline", np.int64, 0),
        ("review_at", np.int64, 0),
        ("weight", np.float64, 0),
        ("guard", np.int64, 0),
        ("average", np.float64, len(SUMS)),
        ("averaged_at", np.int64, 0),
        ("opens_at", np.int64, 0),
        ("keep", np.int64, len(SUMS)),
        ("hosts", np.bool_, 0),
        ("lent", np.int64, len(SUMS)),
        ("guaranteed", np.float64, len(SUMS)),
        ("guaranteed_at", np.int64, 0),
    )
    limit: Ints
    """Derived: quota and borrowing; ``NO_LIMIT`` where there is none."""
    quota: Ints
    """Derived: what is guaranteed now, loans counted in; ``NOT_NAMED`` where nothing is."""
    lent: Ints
    """Derived: what loans add to that, or take from it."""
    guaranteed: Floats
    """Resource-milliseconds that it was guaranteed until ``guaranteed_at``, since when ``quota`` stands."""
    guaranteed_at: Ints
    keep: Ints
    """Derived: what of that nobody else may use, though it is idle; 0 where all may be lent."""
    used: Ints
    """Derived: what live attempts of this queue and those below it take."""
    pending: Ints
    """Derived: jobs of this very queue that wait."""
    running: Ints
    """Derived: jobs of this very queue with a live attempt."""
    spent: Floats
    """Resource-milliseconds of ended attempts of this queue and those below: milli-CPU ms, MiB ms, milli-GPU ms.

    Floats: 64-bit integers of MiB ms would overflow on 100,000 GPUs within a week; these are exact up to 2^53, and
    right to the 16th digit beyond."""
    discipline: Ints
    """1 + the place in ``DISCIPLINES``; 0 for the policy's."""
    review_at: Ints
    """When its running jobs are to be compared with its waiting ones again; 0 for never."""
    weight: Floats
    guard: Ints
    """Derived: the nearest queue from here upwards with a quota of its own, which covers what is used here; or -1."""
    average: Floats
    """Decayed average of ``used``, as of ``averaged_at``: ``average_at`` brings it up to date."""
    averaged_at: Ints
    """When ``used`` last changed; it has stood since."""
    opens_at: Ints
    """When jobs that wait for its rolling quota are to be tried again; 0 for never."""
    hosts: Bools
    """Derived: it, or a queue above it, has booked room that others use until they are asked to leave."""

    def __init__(self) -> None:
        super().__init__()
        self.half_life = Duration(DAY)
        """In what time past use counts half."""
        self.spec: list[Queue] = []
        self.above: list[list[int]] = []
        """The row itself and every row above it."""
        self._path: Ints | None = None
        self._limited: dict[int, list[int]] = {}
        self._bounded: dict[int, list[int]] = {}
        self.rolling: dict[int, Spending] = {}
        """What queues with a rolling quota have spent, as of ``averaged_at``."""
        self.keepers: list[int] = []
        """Derived: rows of queues that keep something."""

    @property
    def path(self) -> Ints:
        """(Q, depth): the rows from the root down to each queue itself, padded with -1."""
        if self._path is None:
            depth = max(len(above) for above in self.above)
            self._path = np.full((self.height, depth), -1, np.int64)
            for row, above in enumerate(self.above):
                self._path[row, : len(above)] = above[::-1]
        return self._path

    def put(self, queue: Queue, above: int) -> int:
        """Add a queue under row ``above``, or change its quota and limits. Returns the row."""
        row = self.row_of.get(queue.id)
        if row is None:
            row = self.add(queue.id)
            self.spec.append(queue)
            self.above.append([row, *(self.above[above] if above >= 0 else [])])
            self.hosts[row] = above >= 0 and self.hosts[above]
            self._path = None
        self.spec[row] = queue
        self.discipline[row] = DISCIPLINES.index(queue.discipline) + 1 if queue.discipline else 0
        self.weight[row] = queue.weight
        if queue.rolling is None:
            self.rolling.pop(row, None)
        else:
            self.rolling.setdefault(row, Spending(queue.rolling)).quota = queue.rolling
        self.requote(row)
        return row

    def requote(self, row: int) -> None:
        """Take over what a queue is guaranteed, may use and keeps, by its spec and by what was lent."""
        found = terms(self.spec[row], self.lent[row].tolist(), root=len(self.above[row]) == 1)
        self.quota[row], self.limit[row], self.keep[row] = found
        self.keepers = np.flatnonzero(self.keep[: self.height].any(axis=1)).tolist()
        self._limited.clear()
        self._bounded.clear()
        before, self.guard[row] = int(self.guard[row]), self._guard_of(row)
        if before != self.guard[row]:  # so may be that of those below
            for other in range(row + 1, len(self.above)):
                if row in self.above[other]:
                    self.guard[other] = self._guard_of(other)

    def _guard_of(self, row: int) -> int:
        return next((up for up in self.above[row] if max(self.quota[up].tolist()) >= 0), -1)

    @property
    def reviewed(self) -> list[int]:
        """Rows of queues whose running jobs are to be compared with the waiting ones when room becomes free."""
        return self.review_at[: self.height].nonzero()[0].tolist()

    def limited_above(self, row: int) -> list[int]:
        """The row itself and every row above it where there is a limit at all, and the one whose quota covers it."""
        found = self._limited.get(row)
        if found is None:
            guard, bounded = int(self.guard[row]), self.bounded_above(row)
            found = self._limited[row] = [up for up in self.above[row] if up == guard or up in bounded]
        return found

    def bounded_above(self, row: int) -> list[int]:
        """The row itself and every row above it where there is a limit at all."""
        found = self._bounded.get(row)
        if found is None:
            found = self._bounded[row] = [up for up in self.above[row] if (self.limit[up] < NO_LIMIT).any()]
        return found

    def borrows(self, row: int) -> bool:
        """Whether more is used than the quota that covers a queue."""
        guard = self.guard.item(row)
        if guard < 0:
            return False
        (cpu, memory, gpu), (cpu_used, memory_used, gpu_used) = self.quota[guard].tolist(), self.used[guard].tolist()
        return 0 <= cpu < cpu_used or 0 <= memory < memory_used or 0 <= gpu < gpu_used

    def use(self, row: int, taken: tuple[int, int, int], now: int) -> None:
        """Count from ``now`` on what an attempt takes, in ``SUMS`` order, against its queue and every queue above it;
        negative amounts give it back."""
        for above in self.above[row]:
            self._settle(above, now)
        add_to(self.used, self.above[row], taken)

    def recall(self, row: int, parts: dict[int, int]) -> None:
        """Take over what a queue had spent in the window of its rolling quota, if it has one."""
        if row in self.rolling:
            self.rolling[row].parts = parts

    def exhausted(self, row: int, now: int) -> int | None:
        """The nearest queue from this one upwards that has spent its rolling quota, the grace included; or None."""
        for above in self.above[row] if self.rolling else ():
            spending = self.rolling.get(above)
            if spending is not None and self.spent_lately(above, now) >= spending.quota.most:
                return above
        return None

    def spent_lately(self, row: int, now: int) -> int:
        """Milli-GPU milliseconds that a queue with a rolling quota has spent in its window."""
        return self.rolling[row].spent(int(self.used[row, 2]), int(self.averaged_at[row]), now)

    def set_half_life(self, half_life: Duration, now: int) -> None:
        """Let the past count half in another time from ``now`` on."""
        if half_life != self.half_life:
            for row in self.rows():
                self._settle(row, now)
            self.half_life = half_life

    def average_at(self, now: int) -> Floats:
        """(Q, 3) the average of each queue's use until ``now``, weighted by ``2^(-age / half_life)``. Exact: use is
        constant between two changes."""
        height = self.height
        age = np.maximum(now - self.averaged_at[:height], 0).reshape(-1, 1)
        kept = np.exp2(-age / float(self.half_life))
        return self.average[:height] * kept + self.used[:height] * (1 - kept)

    def _settle(self, row: int, now: int) -> None:
        """Bring an average up to ``now``, where that has not been done yet."""
        since = self.averaged_at.item(row)
        age = now - since
        if age > 0:
            if row in self.rolling:
                self.rolling[row].add(self.used.item(row, 2), since, now)
            kept = 2.0 ** (-age / self.half_life)
            rest = 1 - kept
            # A few numbers: plain Python has them averaged before numpy has begun.
            (cpu, memory, gpu), (cpu_used, memory_used, gpu_used) = self.average[row].tolist(), self.used[row].tolist()
            self.average[row] = (
                cpu * kept + cpu_used * rest, memory * kept + memory_used * rest, gpu * kept + gpu_used * rest,
            )  # fmt: skip
            self.averaged_at[row] = now
