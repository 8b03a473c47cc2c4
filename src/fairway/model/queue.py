"""Queues: the tenant tree, with what each is guaranteed and what it may use at most."""

from dataclasses import dataclass
from typing import Literal, get_args

from fairway.model.ids import QueueId
from fairway.model.resources import Amount
from fairway.model.time import Duration

Discipline = Literal["fifo", "sjf", "srsf", "las", "fair"]
"""How a queue orders its jobs where class, number and deadline leave it open."""
DISCIPLINES: tuple[Discipline, ...] = get_args(Discipline)
TAKE_TURNS: tuple[Discipline, ...] = ("srsf", "las")
"""Disciplines under which who waits may take the place of who runs."""


@dataclass(frozen=True, slots=True)
class RollingQuota:
    """What a queue may spend in any stretch of ``period``: ``gpu_ms`` milli-GPU milliseconds, and ``grace`` more, as a
    part of it, before its jobs wait."""

    gpu_ms: int
    period: Duration
    grace: float = 0.1

    @property
    def most(self) -> int:
        """What may be spent, the grace included."""
        return round(self.gpu_ms * (1 + self.grace))


@dataclass(frozen=True, slots=True)
class Queue:
    """A node of the tree ``organisation/team/project``; the path is the id.

    ``quota`` is what the queue is guaranteed (a ``None`` there means nothing guaranteed), ``borrow`` what it may use
    beyond it from what its cousins leave idle (``None``: no end), and ``lend`` what others may borrow of its quota
    while it leaves that idle (``None``: all of it). A queue's use counts against every queue above it.
    """

    id: QueueId
    weight: float = 1.0
    quota: Amount = Amount()
    borrow: Amount = Amount()
    max_pending: int = 1_000_000
    """Jobs that may wait at once; the next submission is refused."""
    discipline: Discipline | None = None
    """Of this very queue; None: the policy's."""
    rolling: RollingQuota | None = None
    """GPU time that it and the queues below it may spend in a stretch of time; None: without end."""
    lend: Amount = Amount()

    @property
    def limit(self) -> Amount:
        """The most it may use: quota plus borrowing, ``None`` where borrowing has no end."""
        quota, borrow = self.quota, self.borrow
        return Amount(
            cpu_milli=None if borrow.cpu_milli is None else (quota.cpu_milli or 0) + borrow.cpu_milli,
            memory_mib=None if borrow.memory_mib is None else (quota.memory_mib or 0) + borrow.memory_mib,
            gpu_milli=None if borrow.gpu_milli is None else (quota.gpu_milli or 0) + borrow.gpu_milli,
        )
