"""Why: every refusal and every decision says it, with the numbers that decided it.

A pending job has one current reason, in tiers: ``Invalid``, ``NeverFits``, ``OverLimit``, ``Waiting``, ``NoRoom``,
``Yielding``. ``str(reason)`` is one sentence for people; the fields are for programs.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fairway.model.booking import BookedFor, KeptForLarge, KeptForQueue, YieldsToLarge
from fairway.model.frozen import frozen
from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.job import Priority
from fairway.model.limits import KeptBack, OverLimit, OverRolling
from fairway.model.moved import Grown, Migrated, Shrunk
from fairway.model.resources import WHOLE, losing
from fairway.model.time import Instant, format_duration, format_instant

_NAMES = {
    "gpus": "GPUs",
    "cpu_milli": "CPU",
    "memory_mib": "memory",
    "disk_mib": "disk",
    "network_mbps": "network",
}
"""What people call the resources that block."""


def _some(names: tuple[str, ...], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


@dataclass(frozen=True, slots=True)
class Range:
    """An instant known as a range: half the time before ``p50``, nine times of ten before ``p90``."""

    p50: Instant
    p90: Instant

    def __str__(self) -> str:
        first, last = format_instant(self.p50), format_instant(self.p90)
        day, _, hour = last.rpartition(" ")
        if first == last:
            return f"{first} UTC"
        return f"{first} to {hour if first.startswith(day) else last} UTC"


@dataclass(frozen=True, slots=True)
class Invalid:
    """Can never run: a field is wrong."""

    tier: ClassVar = "invalid"
    field: str
    message: str

    def __str__(self) -> str:
        return f"invalid {self.field}: {self.message}"


@dataclass(frozen=True, slots=True)
class Suspicious:
    """Could run, but looks like a mistake: the rule that says so, and the field."""

    tier: ClassVar = "suspicious"
    rule: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"suspicious {self.field}: {self.message} (rule {self.rule})"


@dataclass(frozen=True, slots=True)
class NeverFits:
    """No node could hold one of its tasks, or all nodes together not all of them, even when empty.

    ``but_for`` names the constraint without which it could run.
    """

    tier: ClassVar = "never fits"
    need: str
    largest: str
    short_of: str
    but_for: str = ""

    def __str__(self) -> str:
        short_of = _NAMES.get(self.short_of, self.short_of)
        text = f"never fits: needs {self.need}, the largest there is: {self.largest} (short of {short_of})"
        return f"{text}; it could but for {self.but_for}" if self.but_for else text


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
        if not self.failures:
            return "backing off after a start that came to nothing"
        return f"backing off after failure {self.failures}"


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """Other jobs must have ended first: the first of them, and how many more. ``failed`` did not succeed."""

    tier: ClassVar = "waiting"
    jobs: tuple[JobId, ...]
    more: int = 0
    failed: JobId | None = None

    def __str__(self) -> str:
        if self.failed is not None:
            return f"waiting: {self.failed} did not succeed; release it to run all the same, or cancel it"
        more = f" and {self.more} more" if self.more else ""
        return f"waiting for {', '.join(self.jobs)}{more} to end"


@dataclass(frozen=True, slots=True)
class ArrayFull:
    """As many elements of its array as may are in line or running."""

    tier: ClassVar = "waiting"
    array: str
    limit: int

    def __str__(self) -> str:
        return f"waiting for its array: at most {self.limit} of {self.array} at a time"


@dataclass(frozen=True, slots=True)
class Kept:
    """Held by somebody until it is released."""

    tier: ClassVar = "waiting"
    by: str = ""

    def __str__(self) -> str:
        return f"held by {self.by}" if self.by else "held"


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Would fit an empty cluster, but not what is free now.

    ``blocker`` is the flat resource or ``"gpus"`` that is short on the node nearest to fitting; ``holders`` are running
    jobs that hold most of what it waits for. ``domain`` is the one with the most room for a gang that must stand
    together; ``apart`` is whom it keeps apart from, where that is why.
    """

    tier: ClassVar = "no room now"
    need: str
    largest_free: str
    blocker: str
    placed_tasks: int = 0
    tasks: int = 1
    holders: tuple[JobId, ...] = ()
    expected: Range | None = None
    domain: str = ""
    apart: str = ""

    def __str__(self) -> str:
        short_of = _NAMES.get(self.blocker, self.blocker)
        text = f"no room now: needs {self.need}, largest free {self.largest_free} (short of {short_of})"
        if self.tasks > 1:
            inside = f" in {self.domain}" if self.domain else ""
            text += f"; room for {self.placed_tasks} of its {self.tasks} tasks{inside}"
        if self.apart:
            text += f"; asks for {self.apart}"
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


Waiting = WaitingUntil | WaitingFor | ArrayFull | Kept
"""Why a job is not in line."""


@dataclass(frozen=True, slots=True)
class AwaitingReservation:
    """Passed by others for long enough: room is kept for it on ``nodes``, forecast to be free at ``expected``."""

    tier: ClassVar = "waiting"
    nodes: tuple[NodeId, ...]
    expected: Range

    def __str__(self) -> str:
        return f"waiting for its reservation on {_some(self.nodes)}, expected {self.expected}"


@dataclass(frozen=True, slots=True)
class KeptFree:
    """Would fit, but in room that is kept for a job ahead of it, and may not have ended by ``until``."""

    tier: ClassVar = "waiting"
    need: str
    kept_for: JobId
    until: Instant

    def __str__(self) -> str:
        until = format_instant(self.until)
        return f"waiting behind the reservation of {self.kept_for}: needs {self.need}, and may run beyond {until} UTC"


Refusal = (
    Invalid
    | NeverFits
    | OverLimit
    | KeptBack
    | OverRolling
    | Waiting
    | NoRoom
    | Yielding
    | AwaitingVictims
    | AwaitingReservation
    | KeptFree
    | KeptForQueue
    | KeptForLarge
)
"""Why a job is not running."""


@frozen
class Placed:
    """Why here: the score that won, its parts (each 0..1, what would be left over), and among how many nodes.

    ``domain`` says where a gang that is to stand together does, and why in a wider one than it wished for.
    """

    policy: str
    score: float
    left: tuple[tuple[str, float], ...]
    candidates: int
    domain: str = ""

    def __str__(self) -> str:
        if not self.left:
            return "in the room that was held for it"
        parts = ", ".join(f"{name} {value:.0%}" for name, value in self.left)
        text = f"{self.policy} score {self.score:.3f} of {self.candidates} that fit; left over: {parts}"
        return f"{text}; {self.domain}" if self.domain else text


@dataclass(frozen=True, slots=True)
class PreemptedBy:
    """Stopped so that ``by`` can start: what it loses, and what the other candidates would have lost."""

    by: JobId
    priority: Priority
    lost_ms: int
    gpu_milli: int

    def __str__(self) -> str:
        return f"higher priority {self.by} ({self.priority}); {losing(self.lost_ms, self.gpu_milli)}"


@dataclass(frozen=True, slots=True)
class Outranked:
    """Stopped because its queue's discipline now puts ``by`` ahead of it; it keeps its place in line."""

    by: JobId
    discipline: str
    priority: Priority
    lost_ms: int
    gpu_milli: int

    def __str__(self) -> str:
        return f"turn of {self.by} ({self.discipline}); {losing(self.lost_ms, self.gpu_milli)}"


@dataclass(frozen=True, slots=True)
class ReclaimedBy:
    """Stopped because its queue had borrowed what another is guaranteed, and ``by`` needs it.

    ``lender`` and ``borrower`` are the queues whose quotas count; ``over`` is how many milli-GPUs the borrower used
    beyond its own.
    """

    by: JobId
    priority: Priority
    lender: QueueId
    borrower: QueueId
    over: int
    lost_ms: int
    gpu_milli: int

    def __str__(self) -> str:
        borrowed = f" had borrowed {self.over / WHOLE:g} GPU" if self.over else " had borrowed it"
        whose = f"{self.by} within the quota of {self.lender or '(root)'}; {self.borrower or '(root)'}{borrowed}"
        return f"reclaimed by {whose}; {losing(self.lost_ms, self.gpu_milli)}"


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


StopReason = (
    PreemptedBy | Outranked | ReclaimedBy | Migrated | Grown | Shrunk | RanTooLong | Asked | BookedFor | YieldsToLarge
)
"""Why an attempt is told to stop."""
