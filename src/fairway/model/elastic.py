"""What an elastic job says of itself, and what it is told: how its speed grows with its workers, and its batch size."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

MOST_BATCH = 1 << 40
"""Examples in a batch: nobody has more, and products with numbers of workers stay within 64 bits."""
MOST_POINTS = 64
"""Points of a speed-up curve."""
ROUNDING = 1e-9
"""By so much may a declared speed-up be above what is in proportion: people write 1.33."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The batch sizes that a job allows, in examples: ``first``, which it was written for, to ``most`` for a step of
    all its workers; ``local_least`` to ``local_most`` on one worker at once."""

    first: int
    most: int
    local_least: int = 1
    local_most: int = MOST_BATCH


@dataclass(frozen=True, slots=True)
class Elasticity:
    """``speedup``: (workers, speed) as its user knows it, in any unit; empty for nothing said. ``batch``: None for a
    program that chooses its batch size itself."""

    speedup: tuple[tuple[int, float], ...] = ()
    batch: BatchLimits | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What an attempt is told: ``total`` examples a step, ``local`` on each worker at once, so ``accumulate`` times."""

    total: int
    local: int
    accumulate: int = 1

    def __str__(self) -> str:
        times = f", {self.accumulate} times" if self.accumulate > 1 else ""
        return f"{self.total} ({self.local} on each worker{times})"


def speedup_wrong(points: tuple[tuple[int, float], ...], least: int, most: int) -> str:
    """Why a declared speed-up cannot be right for ``least`` to ``most`` workers, with what to change; empty if it can.

    More workers are faster, and no more than in proportion.
    """
    if len(points) > MOST_POINTS:
        return f"has {len(points)} points: give at most {MOST_POINTS}"
    if len(points) == 1:
        return "has one point, which says nothing of how speed grows: give at least two"
    before = None
    for workers, speed in points:
        if not least <= workers <= most:
            return f"names {workers} workers, and the job runs on {least} to {most}: remove it"
        if not isfinite(speed) or speed <= 0:
            return f"is {speed:g} on {workers} workers: write a number above 0"
        if before is not None:
            fewer, slower = before
            if workers <= fewer:
                return f"names {workers} workers after {fewer}: write them in ascending order, each once"
            if speed <= slower:
                return f"falls from {slower:g} on {fewer} workers to {speed:g} on {workers}: more must be faster"
            if speed * fewer > slower * workers * (1 + ROUNDING):
                fair = slower * workers / fewer
                return f"is {speed:g} on {workers} workers, more than in proportion to {fewer} ({fair:g}): write less"
        before = workers, speed
    return ""


def batch_wrong(batch: BatchLimits, least: int, most: int) -> tuple[str, str]:
    """(field, why it cannot be right for ``least`` to ``most`` workers); two empty texts when it can."""
    for name in ("first", "most", "local_least", "local_most"):
        value = getattr(batch, name)
        if not 1 <= value <= MOST_BATCH:
            return name, f"must be from 1 to {MOST_BATCH}, not {value}"
    if batch.most < batch.first:
        return "most", f"is {batch.most}, below the {batch.first} that it begins with: write at least that"
    if batch.local_most < batch.local_least:
        return "local_most", f"is {batch.local_most}, below local_least ({batch.local_least}): write at least that"
    if batch.local_least * most > batch.most:
        return "most", f"is {batch.most}, and {most} workers take at least {batch.local_least * most}: write more"
    if batch.first < least:
        return "first", f"is {batch.first}: each of {least} workers needs at least one example of it"
    return "", ""


def wrong_with(said: Elasticity, sizes: tuple[int, int] | None) -> Iterator[tuple[str, str]]:
    """(field, sentence) for all that can never be right. ``sizes`` are the least and the most workers; None for a job
    that does not change its number of workers."""
    if sizes is None:
        if said.speedup:
            yield "speedup", "is given for a job whose number of workers does not change: give workers a min below max"
        if said.batch is not None:
            yield "batch", "is given for a job whose number of workers does not change: give workers a min below max"
        return
    wrong = speedup_wrong(said.speedup, *sizes) if said.speedup else ""
    if wrong:
        yield "speedup", wrong
    field, why = batch_wrong(said.batch, *sizes) if said.batch is not None else ("", "")
    if field:
        yield f"batch.{field}", why
