"""The refusals of quotas: a queue may not use more now, or has spent what it may in a stretch of time.

They are told with all the others: see ``reasons``.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fairway.model.ids import QueueId
from fairway.model.time import Instant, format_duration

_WHAT = {"cpu_milli": "CPUs", "gpu_milli": "GPUs", "memory_mib": "memory"}


def _amount(resource: str, value: int) -> str:
    return f"{value} MiB" if resource == "memory_mib" else f"{value / 1000:g}"


@dataclass(frozen=True, slots=True)
class OverLimit:
    """Its queue, or one above it, may not use more."""

    tier: ClassVar = "over quota"
    queue: QueueId
    resource: Literal["cpu_milli", "memory_mib", "gpu_milli"]
    need: int
    used: int
    limit: int

    def __str__(self) -> str:
        used, limit, need = (_amount(self.resource, value) for value in (self.used, self.limit, self.need))
        what = _WHAT[self.resource]
        return f"over quota: queue {self.queue or '(root)'} uses {used} of {limit} {what}, this needs {need} more"


@dataclass(frozen=True, slots=True)
class KeptBack:
    """There is room, but other queues keep ``kept`` of it for themselves and leave ``open`` for this one."""

    tier: ClassVar = "over quota"
    resource: Literal["cpu_milli", "memory_mib", "gpu_milli"]
    need: int
    kept: int
    open: int
    owner: QueueId
    """Of those that keep some, the one that keeps most."""

    def __str__(self) -> str:
        need, kept, some = (_amount(self.resource, value) for value in (self.need, self.kept, self.open))
        idle = f"{kept} idle {_WHAT[self.resource]} are kept for those to whom they are guaranteed ({self.owner})"
        return f"over quota: {idle}, and {some} left for others; this needs {need}"


@dataclass(frozen=True, slots=True)
class OverRolling:
    """Its queue, or one above it, has spent its GPU time of ``period`` and the grace. Milli-GPU milliseconds; ``frees``
    is when enough of it is so old that it no longer counts, if no more is spent until then."""

    tier: ClassVar = "over quota"
    queue: QueueId
    used: int
    limit: int
    period: int
    frees: Instant
    at: Instant
    """When this was so."""

    def __str__(self) -> str:
        used, limit = (f"{value / 3_600_000_000:.4g}" for value in (self.used, self.limit))
        spent = f"has spent {used} of {limit} GPU-hours in {format_duration(self.period)}"
        frees = format_duration(self.frees - self.at)
        return f"over quota: queue {self.queue or '(root)'} {spent} (grace included); frees in {frees} at the earliest"
