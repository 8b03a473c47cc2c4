"""Instants and durations: whole milliseconds, passed as arguments, never read from a clock here."""

import re
from datetime import UTC, datetime
from typing import Final, NewType

from fairway.model.errors import InvalidField

Instant = NewType("Instant", int)
"""Milliseconds since the Unix epoch (live) or since the start of the trace (simulated)."""

Duration = NewType("Duration", int)
"""Milliseconds."""

MILLISECOND: Final = Duration(1)
SECOND: Final = Duration(1_000)
MINUTE: Final = Duration(60_000)
HOUR: Final = Duration(3_600_000)
DAY: Final = Duration(86_400_000)
NEVER: Final = Instant(1 << 62)
"""Later than every instant that happens."""

_LAST_SECOND = 253_402_300_799
"""9999-12-31 23:59:59 UTC, the last that a calendar date is made of."""
_UNITS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def later(instant: Instant, by: Duration) -> Instant:
    """``instant + by``, never past ``NEVER``."""
    return Instant(min(instant + by, NEVER))


def parse_duration(text: str, field: str = "duration") -> Duration:
    """Milliseconds of ``90s``, ``1h30m``, ``250ms`` or ``2d``. Raises InvalidField that names ``field``."""
    compact = text.replace(" ", "")
    parts = _PART.findall(compact)
    if not parts or "".join(n + u for n, u in parts) != compact:
        raise InvalidField(field, f"{text!r} is not a duration; write it like 90s, 1h30m or 2d")
    length = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if length >= NEVER:
        raise InvalidField(field, f"{text[:40]!r} is longer than any time there is")
    return Duration(round(length))


def format_duration(duration: int) -> str:
    """The two largest units of a duration: ``1h30m``, ``45s``, ``250ms``."""
    if duration < 0:
        return "-" + format_duration(-duration)
    if duration < SECOND:
        return f"{duration}ms"
    parts: list[str] = []
    rest = duration
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def format_instant(instant: int) -> str:
    """An instant in UTC to the minute: ``2026-11-21 14:10``; a simulated one counts from 1970."""
    seconds = min(max(instant // 1000, 0), _LAST_SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
