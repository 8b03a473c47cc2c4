"""Reservations on their way in: whether they can be, before any is accepted."""

import asyncio
from collections.abc import Callable, Sequence

from fairway.engine.adviser import Verdict
from fairway.faces.api.changes import changes_of
from fairway.faces.api.present import Present
from fairway.faces.manifests.complaints import InvalidManifest
from fairway.faces.manifests.convert import Caller
from fairway.faces.manifests.read import Declared
from fairway.faces.manifests.reservation import ReservationSpec, booking_of
from fairway.model.booking import Booking, BookingShort, mistakes
from fairway.model.errors import Conflict, Refused
from fairway.model.time import Instant

ANSWER_S = 3.0
"""How long it is waited for the loop to say whether something could be booked."""


class Reservations:
    """What one control plane may reserve. ``try_booking`` says whether something could be; without it, only the next
    decision does."""

    def __init__(self, present: Present, try_booking: Callable[[Booking], Verdict] | None) -> None:
        self._present = present
        self._try_booking = try_booking

    async def check(self, declared: Sequence[Declared], now: Instant, caller: Caller, *, allow_unfit: bool) -> None:
        """Raises InvalidManifest, Conflict or Refused for what could never be booked, has another booking's name, or
        finds no room now. Where the loop is too busy to say, the next decision will."""
        for each in declared:
            if not isinstance(each.spec, ReservationSpec):
                continue
            booking = booking_of(each.spec, now, caller.user)
            wrong = mistakes(booking, now)
            if wrong:
                raise InvalidManifest([each.document.error((error.field,), error.message) for error in wrong])
            known = self._present.model.booking(booking.id)
            if known is not None and not known.refused:
                if changes_of(each.spec, self._present.model, caller)[1]:
                    where = each.document.error(("name",), "").field
                    text = f"{booking.id} is reserved already, {known.booking.span}"
                    raise Conflict(f"{text}; unreserve it first, or choose another name", where)
                continue
            short = await self._short(booking)
            if short is not None and not allow_unfit:
                raise Refused(f"{short}; ask for less or another time", each.document.error(("gpus",), "").field)

    async def _short(self, booking: Booking) -> BookingShort | None:
        if self._try_booking is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.wrap_future(self._try_booking(booking))
        except TimeoutError:
            return None
