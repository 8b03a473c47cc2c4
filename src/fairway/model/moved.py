"""Why a running job goes on otherwise: elsewhere, on more workers or on fewer. Reasons of stops, as in ``reasons``."""

from dataclasses import dataclass
from typing import Literal

from fairway.model.ids import JobId, NodeId
from fairway.model.resources import losing
from fairway.model.time import format_duration


@dataclass(frozen=True, slots=True)
class Migrated:
    """Stopped to go on elsewhere: so that ``by`` fits, ``emptied`` is empty, or the fleet gains ``gains_ms`` by devices
    of another ``kind``. What the move loses."""

    lost_ms: int
    gpu_milli: int
    by: JobId | None = None
    emptied: NodeId | None = None
    kind: str = ""
    gains_ms: int = 0

    def __str__(self) -> str:
        why = f": makes room for {self.by}" if self.by is not None else f": empties {self.emptied}"
        why = f" to {self.kind}: the fleet gains {format_duration(self.gains_ms)}" if self.kind else why
        return f"moves{why}; {losing(self.lost_ms, self.gpu_milli)}"


@dataclass(frozen=True, slots=True)
class Grown:
    """Stopped to go on with more workers: how many, why, how much sooner it is expected to end for that, and what tells
    so: its goodput, what was measured or declared of its speed-up; empty for the policy's assumption."""

    before: int
    after: int
    why: Literal["idle", "deadline"]
    saves_ms: int
    speedup: Literal["", "goodput", "measured", "declared"] = ""

    def __str__(self) -> str:
        why = "capacity is idle" if self.why == "idle" else "its deadline needs them"
        by = {"": "", "goodput": " by its goodput"}.get(self.speedup, f" by {self.speedup} speed-up")
        return f"grows from {self.before} to {self.after} workers: {why}; saves {format_duration(self.saves_ms)}{by}"


@dataclass(frozen=True, slots=True)
class Shrunk:
    """Stopped to go on with fewer workers, so that ``by`` can have theirs: nobody need be preempted for it."""

    before: int
    after: int
    by: JobId

    def __str__(self) -> str:
        return f"shrinks from {self.before} to {self.after} workers: {self.by} needs room"
