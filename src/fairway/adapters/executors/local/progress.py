"""What a program says of itself, in the file that ``FAIRWAY_PROGRESS`` names.

One line a report, appended or written over; words in any order, those nobody knows are passed over::

    step=40 total=100 checkpoint time=1760000000000

``checkpoint`` says that a checkpoint was complete at this report; ``time`` is the report's instant in milliseconds
since the Unix epoch, without which the file's modification time is taken. Only complete lines count, the last of them
for ``step`` and ``total``.

What a training program measures stands beside it; the last line that has any of it counts::

    step=40 batch=256 workers=4 accumulate=2 throughput=3400.5 compute=0.07 noise=1200

A number that is none, or is not above 0, is passed over and told (``Report.wrong``); whether it can be true of this job
is for whoever knows the job to judge.
"""

import os
from dataclasses import dataclass
from math import isfinite

from fairway.model.time import Instant

_TAIL = 1 << 16
"""Bytes looked at from the end: a program may append for weeks."""


_WHOLE = ("batch", "workers", "accumulate")
_OTHER = ("throughput", "compute", "noise")
_LONGEST_NUMBER = 32
_MOST_DIGITS = 18
"""Of a whole number: all of those fit 64 bits, and nothing is counted beyond them."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a program measured, as ``model.facts.Measured`` has it."""

    batch: int | None = None
    workers: int | None = None
    accumulate: int = 1
    throughput: float | None = None
    compute: float | None = None
    noise: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a progress file: the last step and total, when the last checkpoint was taken, what was measured, and
    words about measurements that cannot be."""

    step: int | None = None
    total: int | None = None
    checkpoint: Instant | None = None
    measure: Measure | None = None
    wrong: tuple[str, ...] = ()


class ProgressFile:
    """Follows one file. ``poll`` costs one ``stat`` while it does not change."""

    __slots__ = ("_seen", "path", "report")

    def __init__(self, path: str) -> None:
        self.path = path
        self.report = Report()
        self._seen: tuple[int, int, int] | None = None

    def poll(self) -> Report | None:
        """The report, if it has changed since the last call."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None  # not written yet, or the program removed it: nothing is known that was not before
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen == self._seen:
            return None
        text = _tail(self.path)
        appended = self._seen is not None and seen[2] == self._seen[2] and seen[1] > self._seen[1]
        fresh = text.encode()[-(seen[1] - self._seen[1]) :].count(b"\n") if appended and self._seen else 1
        self._seen = seen
        report = parse(text, fresh, Instant(status.st_mtime_ns // 1_000_000), self.report)
        if report == self.report:
            return None
        self.report = report
        return report


def parse(text: str, fresh: int, written: Instant, before: Report) -> Report:
    """What the complete lines of a file say that was last written at ``written``; ``before`` is what was known of it.

    A checkpoint without a time was taken at ``written`` if its line is among the ``fresh`` last ones, those written
    since the file was last looked at. An older one was either counted then, or nobody can tell its age.
    """
    lines = [line.split() for line in text.splitlines()]
    if not lines:
        return before
    checkpoint = before.checkpoint
    for age, words in enumerate(reversed(lines)):
        if "checkpoint" not in words:
            continue
        taken = _number(words, "time")
        if taken is None and age < fresh:
            taken = written
        if taken is not None:
            checkpoint = Instant(max(taken, checkpoint or 0))
            break
    last = next((words for words in reversed(lines) if words), [])
    told = next((found for words in reversed(lines) if (found := _measures(words))), {})
    wrong = tuple(f"{key}={value}" for key, value in told.items() if _above_0(key, value) is None)
    good = {key: number for key, value in told.items() if (number := _above_0(key, value)) is not None}
    measure = Measure(**good) if good else before.measure  # type: ignore[arg-type]
    return Report(_number(last, "step"), _number(last, "total"), checkpoint, measure, wrong)


def _measures(words: list[str]) -> dict[str, str]:
    """The words of a line that tell what was measured."""
    pairs = (word.partition("=") for word in words)
    return {key: value for key, _, value in pairs if key in _WHOLE or key in _OTHER}


def _above_0(key: str, value: str) -> int | float | None:
    """A number that may have been measured: finite and above 0, and whole where it counts; None for anything else."""
    if not value.isascii() or len(value) > _LONGEST_NUMBER:
        return None
    if key in _WHOLE:
        return int(value) if value.isdecimal() and len(value) <= _MOST_DIGITS and int(value) > 0 else None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) and number > 0 else None


def _number(words: list[str], key: str) -> int | None:
    """The value of ``key=value``, a whole number that is not negative; None for anything else."""
    for word in words:
        name, _, value = word.partition("=")
        if name == key and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS:
            return int(value)
    return None


def _tail(path: str) -> str:
    """The complete lines within the last ``_TAIL`` bytes."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            data = file.read(_TAIL)
    except OSError:
        return ""  # removed since it was looked at
    if size > _TAIL:
        data = data.partition(b"\n")[2]
    return data[: data.rfind(b"\n") + 1].decode(errors="replace")
