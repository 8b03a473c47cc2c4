"""Why: every refusal and every decision says it, with the numbers that decided it.

A pending job has one current reason, in tiers: ``Invalid``, ``NeverFits``, ``OverLimit``, ``WaitingUntil``, ``NoRoom``,
``Yielding``. ``str(reason)`` is one sentence for people; the fields are for programs.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.job import Priority
from fairway.model.resources import WHOLE
from fairway.model.time import Instant, format_duration


def _gpus(milli: int) -> str:
    return f"{milli / WHOLE:g} GPU"


@dataclass(frozen=True, slots=True)
class Range:
    """An instant known as a range: half the time before ``p50``, nine times of ten before ``p90``."""

    p50: Instant
    p90: Instant


@dataclass(frozen=True, slots=True)
class Invalid:
    """Can never run: a field is wrong."""

    tier: ClassVar = "invalid"
    field: str
    message: str

    def __str__(self) -> str:
        return f"invalid {self.field}: {self.message}"


@dataclass(frozen=True, slots=True)
class NeverFits:
    """No node could hold one of its tasks, or all nodes together not all of them, even when empty."""

    tier: ClassVar = "never fits"
    need: str
    largest: str
    short_of: str

    def __str__(self) -> str:
        return f"never fits: needs {self.need}, the largest there is: {self.largest} (short of {self.short_of})"


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
        return (
            f"over quota: queue {self.queue or '(root)'} uses {self.used} of {self.limit} {self.resource}, "
            f"this needs {self.need} more"
        )


@dataclass(frozen=True, slots=True)
class WaitingUntil:
    """Not before an instant: asked for, or backing off after a failure."""

    tier: ClassVar = "waiting"
    until: Instant
    why: Literal["not_before", "back_off"]
    failures: int = 0

    def __str__(self) -> str:
        if self.why == "not_before":
            return "waiting for its start time"
        return f"backing off after failure {self.failures}"


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Would fit an empty cluster, but not what is free now.

    ``blocker`` is the flat resource or ``"gpus"`` that is short on the node nearest to fitting; ``holders`` are running
    jobs that hold most of what it waits for.
    """

    tier: ClassVar = "no room now"
    need: str
    largest_free: str
    blocker: str
    placed_tasks: int = 0
    tasks: int = 1
    holders: tuple[JobId, ...] = ()
    expected: Range | None = None

    def __str__(self) -> str:
        text = f"no room now: needs {self.need}, largest free {self.largest_free} (short of {self.blocker})"
        if self.tasks > 1:
            text += f"; room for {self.placed_tasks} of its {self.tasks} tasks"
        if self.holders:
            text += f"; held by {', '.join(self.holders)}"
        return text


@dataclass(frozen=True, slots=True)
class Yielding:
    """Preempted, and waiting for room again behind the job that took its place."""

    tier: ClassVar = "yielding"
    to: JobId
    priority: Priority

    def __str__(self) -> str:
        return f"yielding to {self.to} ({self.priority})"


@dataclass(frozen=True, slots=True)
class AwaitingVictims:
    """Preemption is under way: starts on ``nodes`` when ``victims`` have stopped."""

    tier: ClassVar = "no room now"
    victims: tuple[JobId, ...]
    nodes: tuple[NodeId, ...]

    def __str__(self) -> str:
        return f"no room now: starts on {', '.join(self.nodes)} when {', '.join(self.victims)} stopped"


Refusal = Invalid | NeverFits | OverLimit | WaitingUntil | NoRoom | Yielding | AwaitingVictims
"""Why a job is not running."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Why here: the score that won, its parts (each 0..1, what would be left over), and among how many nodes."""

    policy: str
    score: float
    left: tuple[tuple[str, float], ...]
    candidates: int

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.0%}" for name, value in self.left)
        return f"{self.policy} score {self.score:.3f} of {self.candidates} that fit; left over: {parts}"


@dataclass(frozen=True, slots=True)
class PreemptedBy:
    """Stopped so that ``by`` can start: what it loses, and what the other candidates would have lost."""

    by: JobId
    priority: Priority
    lost_ms: int
    gpu_milli: int

    def __str__(self) -> str:
        held = f" x {_gpus(self.gpu_milli)}" if self.gpu_milli else ""
        return f"higher priority {self.by} ({self.priority}); loses {format_duration(self.lost_ms)}{held}"


@dataclass(frozen=True, slots=True)
class RanTooLong:
    """Stopped at its ``max_runtime``."""

    limit_ms: int

    def __str__(self) -> str:
        return f"ran longer than its max_runtime of {format_duration(self.limit_ms)}"


@dataclass(frozen=True, slots=True)
class Asked:
    """Stopped because somebody asked."""

    by: str

    def __str__(self) -> str:
        return f"asked by {self.by}" if self.by else "asked for"


StopReason = PreemptedBy | RanTooLong | Asked
"""Why an attempt is told to stop."""
