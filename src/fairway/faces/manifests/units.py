"""What people write for amounts and times, and the integers it stands for.

Each function takes a value as YAML or JSON hands it over and raises ``ValueError`` with a sentence that says what to
write instead; the field's path is added by whoever knows it.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from fairway.model.errors import InvalidField
from fairway.model.job import LONGEST, Priority, PriorityClass
from fairway.model.resources import WHOLE
from fairway.model.time import Duration, Instant, format_duration, later, parse_duration

MEBI = 1 << 20
_BYTES = {
    "": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 1 << 10, "Mi": MEBI, "Gi": 1 << 30, "Ti": 1 << 40,
}  # fmt: skip
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_CLASSES = tuple(cls.name.lower() for cls in PriorityClass)
_PRIORITY = re.compile(r"([a-z]+)\s*([+-]\d{1,6})?")


@dataclass(frozen=True, slots=True)
class GpuCount:
    """How many devices, and how many thousandths of each."""

    devices: int
    milli: int = WHOLE


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time as written: so long after the submission, or a time of its own."""

    after: Duration | None = None
    at: Instant | None = None

    def on(self, now: Instant) -> Instant:
        """The instant that is meant by somebody who submits at ``now``."""
        return self.at if self.at is not None else later(now, self.after or Duration(0))


def said(value: Any) -> str:
    """A value as an error may quote it: short, whatever is inside."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def cpu(value: Any) -> int:
    """Millicores of ``2``, ``0.5`` or ``500m``."""
    text = _plain(value, "a number of CPUs like 2, 0.5 or 500m")
    number, unit = _amount(text, "a number of CPUs like 2, 0.5 or 500m")
    if unit not in ("", "m"):
        raise ValueError(f"{text!r} has the unit {unit!r}: write CPUs like 2, 0.5 or 500m")
    return _whole(number * (1 if unit else 1000), text, "a thousandth of a CPU (1m)")


def mebibytes(value: Any) -> int:
    """MiB of ``64Gi``, ``512Mi`` or ``2T``; a plain number would be ambiguous and is refused, but for 0. Rounded up."""
    example = "an amount of memory with a unit, like 512Mi or 64Gi"
    text = _plain(value, example)
    number, unit = _amount(text, example)
    unit = unit.removesuffix("B")
    if unit not in _BYTES or (not unit and number):
        known = ", ".join(name for name in _BYTES if name)
        said = f"has the unit {unit!r}" if unit else "has no unit"
        raise ValueError(f"{text!r} {said}: write it like 512Mi or 64Gi (units: {known})")
    return -int(-number * _BYTES[unit] // MEBI)


def gpus(value: Any) -> GpuCount:
    """Whole devices (``2``), or a share of one (``0.5``, ``500m``)."""
    text = _plain(value, "a number of GPUs like 2, or a share of one like 0.5")
    number, unit = _amount(text, "a number of GPUs like 2, or a share of one like 0.5")
    if unit not in ("", "m"):
        raise ValueError(f"{text!r} has the unit {unit!r}: write GPUs like 2, 0.5 or 500m")
    milli = _whole(number * (1 if unit else WHOLE), text, "a thousandth of a GPU")
    if milli <= WHOLE:
        return GpuCount(1, milli) if milli else GpuCount(0)
    if milli % WHOLE:
        raise ValueError(f"{text} is neither whole devices nor a share of one: write {milli // WHOLE} or less than 1")
    return GpuCount(milli // WHOLE)


def gpu_sum(value: Any) -> int:
    """Milli-GPUs of a quota: any number of devices, ``2.5`` too."""
    text = _plain(value, "a number of GPUs like 8 or 2.5")
    number, unit = _amount(text, "a number of GPUs like 8 or 2.5")
    if unit not in ("", "m"):
        raise ValueError(f"{text!r} has the unit {unit!r}: write GPUs like 8 or 2.5")
    return _whole(number * (1 if unit else WHOLE), text, "a thousandth of a GPU")


def megabits(value: Any) -> int:
    """Mbit/s of ``500`` (Mbit/s), ``500M`` or ``10G``."""
    example = "a bandwidth in bits per second like 500M or 10G"
    text = _plain(value, example)
    number, unit = _amount(text, example)
    scale = {"": 1, "M": 1, "G": 1000, "T": 1_000_000}.get(unit)
    if scale is None:
        raise ValueError(f"{text!r} has the unit {unit!r}: write {example}")
    return -int(-number * scale // 1)


def duration(value: Any) -> Duration:
    """Milliseconds of ``90s``, ``1h30m``, ``2d``; 0 needs no unit."""
    if value == 0 and not isinstance(value, bool):
        return Duration(0)
    if not isinstance(value, str):
        raise ValueError(f"{said(value)} is not a duration with a unit: write it like 90s, 1h30m or 2d")
    try:
        length = parse_duration(value)
    except InvalidField as error:
        raise ValueError(error.message) from None
    if length > LONGEST:
        raise ValueError(f"{value} > {format_duration(LONGEST)}: nothing may take longer; is the unit right?")
    return length


def moment(value: Any) -> Moment:
    """``2h`` (after the submission), ``2026-11-21T18:00:00+01:00``, or a local time without an offset."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - local time is what it means
    if isinstance(value, str) and re.match(r"\d{4}-\d", value):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a time: write it like 2026-11-21T18:00 or 2h") from None
    if isinstance(value, datetime):
        return Moment(at=Instant(round(value.timestamp() * 1000)))
    if not isinstance(value, str):
        raise ValueError(
            f"{said(value)} is not a time: write how long from now, like 2h, or a time like 2026-11-21T18:00"
        )
    return Moment(after=duration(value))


def priority(value: Any) -> Priority:
    """``high``, or with a number inside the class ``high+5``; case does not matter."""
    match = _PRIORITY.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is None or match[1] not in _CLASSES:
        from difflib import get_close_matches

        near = get_close_matches(said(value).strip("'").lower(), _CLASSES, 1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(_CLASSES)}, and a number if you like: high+5"
        raise ValueError(f"{said(value)} is not a priority: {hint}")
    return Priority(PriorityClass[match[1].upper()], int(match[2] or 0))


def dollars(value: Any) -> int:
    """Micro-dollars of ``2.5`` or ``$2.50``."""
    text = _plain(value, "an amount of dollars like 2.50").removeprefix("$")
    number, unit = _amount(text, "an amount of dollars like 2.50")
    if unit:
        raise ValueError(f"{text!r} has the unit {unit!r}: write an amount of dollars like 2.50")
    return round(number * 1_000_000)


def _plain(value: Any, example: str) -> str:
    """A number or text as text. A float is written without an exponent, so that 0.1 is read as one tenth."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{said(value)} is not {example}")
    if isinstance(value, float):
        from decimal import Decimal

        if value != value or abs(value) == float("inf"):
            raise ValueError(f"{value} is not {example}")
        return format(Decimal(repr(value)), "f")
    return str(value).strip()


def _amount(text: str, example: str) -> tuple[Any, str]:
    from fractions import Fraction

    if text.startswith("-"):
        raise ValueError(f"{text} < 0: write {example}")
    match = _AMOUNT.fullmatch(text)
    if match is None or len(match[1]) > 18:
        raise ValueError(f"{text[:40]!r} is not {example}")
    return Fraction(match[1]), match[2]


def _whole(number: Any, text: str, least: str) -> int:
    if number.denominator != 1:
        raise ValueError(f"{text} is finer than {least}: round it")
    return int(number)
