"""Advance reservations for queues: devices that are a queue's own from one instant until another.

What is reserved for a single job that waits is a ``Reserve`` of a plan; these are called *bookings* in the code.
"""

from dataclasses import dataclass
from typing import ClassVar

from fairway.model.errors import InvalidField
from fairway.model.ids import NAME_PATTERN, BookingId, NodeId, QueueId
from fairway.model.resources import losing
from fairway.model.time import DAY, MINUTE, Duration, Instant, format_duration, format_instant
from fairway.model.where import ANYWHERE, Where

MOST_DEVICES = 1_000_000
LONGEST_BOOKING: Duration = Duration(366 * DAY)


@dataclass(frozen=True, slots=True)
class Booking:
    """``gpus`` devices for ``queue``, and the queues below it, from ``start`` until ``end``; or ``nodes`` whole nodes.

    With ``per_node`` the devices stand so many to a node. ``types`` are accelerator types that will do, none for any;
    of ``where`` counts what each node answers for itself. ``grace`` before the start, whoever else runs there is told
    to stop. ``flexible``: what stands idle meanwhile may be used by others that keep checkpoints or are preemptible,
    until the queue needs it. With ``idle_for`` it ends early, when the queue has run nothing there for so long.
    """

    id: BookingId
    queue: QueueId
    start: Instant
    end: Instant
    gpus: int = 0
    nodes: int = 0
    per_node: int = 0
    types: tuple[str, ...] = ()
    where: Where = ANYWHERE
    grace: Duration = Duration(2 * MINUTE)
    flexible: bool = False
    idle_for: Duration | None = None
    by: str = ""

    @property
    def drains(self) -> Instant:
        """When others that run there are told to stop."""
        return Instant(max(self.start - self.grace, 0))

    @property
    def need(self) -> str:
        """What is booked, as part of a sentence."""
        kind = "/".join(self.types) or "GPU"
        if self.nodes:
            return f"{self.nodes} whole nodes" + (f" with {kind}" if self.types else "")
        return f"{self.gpus} {kind}" + (f", {self.per_node} to a node" if self.per_node else "")

    @property
    def span(self) -> str:
        """From when until when."""
        return _span(self.start, self.end)

    def overlaps(self, other: "Booking") -> bool:
        """Whether there is an instant at which both are in force."""
        return self.start < other.end and other.start < self.end


def _span(start: Instant, end: Instant) -> str:
    return f"{format_instant(start)} until {format_instant(end)} UTC"


def mistakes(booking: Booking, now: Instant) -> list[InvalidField]:
    """Everything about a booking that can never be right, whatever the cluster. Empty when it may be asked for."""
    wrong: list[InvalidField] = []
    if not NAME_PATTERN.fullmatch(booking.id):
        wrong.append(InvalidField("name", f"{booking.id!r} must be lower-case letters, digits, - and _, at most 63"))
    if (booking.gpus > 0) == (booking.nodes > 0):
        wrong.append(InvalidField("gpus", "say how many gpus, or how many whole nodes, and not both"))
    for name in ("gpus", "nodes", "per_node"):
        if not 0 <= getattr(booking, name) <= MOST_DEVICES:
            wrong.append(InvalidField(name, f"must be from 0 to {MOST_DEVICES}, not {getattr(booking, name)}"))
    if booking.per_node and (booking.nodes or booking.gpus % booking.per_node):
        wrong.append(InvalidField("per_node", f"{booking.gpus} GPUs are not nodes of {booking.per_node} each"))
    if booking.end <= max(booking.start, now):
        wrong.append(InvalidField("end", "must be later than the start, and than now"))
    elif booking.end - booking.start > LONGEST_BOOKING:
        wrong.append(InvalidField("end", f"must be within {format_duration(LONGEST_BOOKING)} of the start"))
    for name in ("grace", "idle_for"):
        value = getattr(booking, name)
        if value is not None and not (0 if name == "grace" else 1) <= value <= LONGEST_BOOKING:
            wrong.append(InvalidField(name, f"must be at most {format_duration(LONGEST_BOOKING)}, not {value} ms"))
    return wrong


@dataclass(frozen=True, slots=True)
class KeptForQueue:
    """Would fit, but in room that a queue has booked, and may still run when that begins."""

    tier: ClassVar = "waiting"
    need: str
    booking: BookingId
    queue: QueueId
    start: Instant
    end: Instant

    def __str__(self) -> str:
        span = _span(self.start, self.end)
        return f"kept for reservation {self.booking} of queue {self.queue}, {span}: needs {self.need}"


@dataclass(frozen=True, slots=True)
class KeptForLarge:
    """Would fit, but on nodes that are kept for jobs of at least ``gpus`` GPUs, and may run there for too long."""

    tier: ClassVar = "waiting"
    need: str
    gpus: int

    def __str__(self) -> str:
        return f"kept for jobs of {self.gpus} GPUs and more: needs {self.need}, and may run too long for that"


@dataclass(frozen=True, slots=True)
class YieldsToLarge:
    """Stopped because it ran on nodes that are kept for large jobs, and ``by`` is one and needs them."""

    by: str
    gpus: int
    lost_ms: int
    gpu_milli: int

    def __str__(self) -> str:
        kept = f"its nodes are kept for jobs of {self.gpus} GPUs and more"
        return f"{self.by} needs room, and {kept}; {losing(self.lost_ms, self.gpu_milli)}"


@dataclass(frozen=True, slots=True)
class BookedFor:
    """Stopped because a queue has booked the room: what it loses. ``by`` is the job that needs it, where it is not the
    start of the booking that does."""

    booking: BookingId
    queue: QueueId
    start: Instant
    lost_ms: int
    gpu_milli: int
    by: str = ""

    def __str__(self) -> str:
        for_whom = f"{self.by} needs it" if self.by else f"from {format_instant(self.start)} UTC"
        return f"reservation {self.booking} of queue {self.queue}, {for_whom}; {losing(self.lost_ms, self.gpu_milli)}"


@dataclass(frozen=True, slots=True)
class BookingShort:
    """Why a booking cannot be: what it asks for, the most there could be in that time, and what is in the way."""

    need: str
    largest: str
    because: str

    def __str__(self) -> str:
        return f"asks for {self.need}; the largest possible then is {self.largest}: {self.because}"


Devices = tuple[tuple[NodeId, tuple[int, ...]], ...]
"""Nodes with the devices of each; of a whole node without any, none."""
