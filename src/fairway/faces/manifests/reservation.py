"""``kind: Reservation``: devices for a queue, from one instant until another."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fairway.faces.manifests.fields import Count, FieldError, Flag, Name, QueuePath, Strict, Time, When
from fairway.faces.manifests.units import Moment
from fairway.faces.manifests.where import WhereSpec, where_of
from fairway.model.booking import Booking
from fairway.model.ids import BookingId, QueueId
from fairway.model.time import MINUTE, Duration, Instant, later


class ReservationSpec(Strict):
    """Devices, or whole nodes, that are a queue's own for a time."""

    kind: Literal["Reservation"] = "Reservation"
    name: Name
    queue: QueuePath
    gpus: Count = 0
    nodes: Count = 0
    per_node: Count = 0
    accelerators: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    where: WhereSpec = WhereSpec()
    start: When = Moment(after=Duration(0))
    end: When | None = None
    duration: Time | None = None
    """From its start; instead of ``end``."""
    grace: Time = Duration(2 * MINUTE)
    flexible: Flag = False
    idle_for: Time | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "ReservationSpec":
        if (self.gpus > 0) == (self.nodes > 0):
            raise FieldError("gpus", "say how many gpus, or how many whole nodes, and not both")
        if (self.end is None) == (self.duration is None):
            raise FieldError("end", "write either end, or for which duration")
        if self.where.together is not None or self.where.apart:
            raise FieldError("where", "of a reservation names nodes: remove together and apart")
        return self


def booking_of(spec: ReservationSpec, now: Instant, by: str) -> Booking:
    """The booking that a manifest asks for at ``now``."""
    start = spec.start.on(now)
    end = spec.end.on(now) if spec.end is not None else later(start, spec.duration or Duration(0))
    return Booking(
        BookingId(spec.name),
        QueueId(spec.queue),
        start,
        end,
        gpus=spec.gpus,
        nodes=spec.nodes,
        per_node=spec.per_node,
        types=spec.accelerators,
        where=where_of(spec.where),
        grace=spec.grace,
        flexible=spec.flexible,
        idle_for=spec.idle_for,
        by=by,
    )
