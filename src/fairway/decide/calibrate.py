"""Ranges that say what came of the ranges before them.

A range that was played (``expect``) knows nothing of who will come, of who goes past whom, or of run times that nobody
has seen yet. So what jobs were told is kept beside when they started, and a new range is stretched by the quantiles of
how far the earlier ones were off: the *ratio* of the real wait to the one that was said. That is conformal prediction
(Romano, Patterson and Candes, *Conformalized Quantile Regression*, NeurIPS 2019) over a window that moves on (Gibbs and
Candes, *Adaptive Conformal Inference Under Distribution Shift*, NeurIPS 2021). Those that still wait are not left out,
which would count the short waits only: their ratio is known to be larger than so much, and the quantiles are those of
Kaplan and Meier (*Nonparametric Estimation from Incomplete Observations*, JASA 1958). Only ranges count that said a
wait of about the same length (Guan, *Localized Conformal Prediction*, Biometrika 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from statistics import NormalDist

import numpy as np

from fairway.model.reasons import Range
from fairway.model.time import HOUR, MINUTE, NEVER, Instant
from fairway.state.columns import Bools, Floats

PRIOR = 16
"""As many ranges as what is believed beforehand counts for."""
PRIOR_P50, PRIOR_P90 = 1.2, 0.6
"""How far p50 and p90 are believed to be off, as the mean of a logarithm: plays say too early (``bench.starts``)."""
PRIOR_SPREAD = 1.2
"""How far they are off more or less than that, as the standard deviation of a logarithm."""
GRAIN = MINUTE
"""Waits are compared as if they were so much longer: whether a job starts in one second or in three tells nothing."""
SOON, LONG = 5 * MINUTE, HOUR
"""A wait that short is believed as it was said; one that long to be off as told above."""
ALIKE = 4.0
"""Ranges count that said a wait at most so many times as long, or as short: who is said to start in a minute learns
nothing from who is said to start next week."""
MOST_RATIO = 100.0
"""How far a range is stretched at the most."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a job was told ``at`` some instant, before any correction; ``came`` is when it started; None while
    it waits."""

    at: Instant
    said: Range
    came: Instant | None = None


def corrected(said: Range, now: Instant, before: Sequence[Told]) -> Range:
    """A range that was said ``now``, corrected by what had come of others ``before``; p50 is never after p90."""
    p50 = _later(said.p50, now, before, 0.5, [each.said.p50 for each in before], PRIOR_P50)
    p90 = _later(said.p90, now, before, 0.9, [each.said.p90 for each in before], PRIOR_P90)
    return Range(p50, max(p50, p90))


def quantile(values: Floats, seen: Bools, q: float) -> float:
    """The least of ``values`` (R,) that is not exceeded with probability ``q``, where those that are not ``seen`` are
    only known to be larger than theirs; the largest where that is beyond all of them. Kaplan and Meier, 1958."""
    if not len(values):
        return float("nan")
    by_value = np.lexsort((~seen, values))  # of equal ones, those that are seen come first
    at_risk = len(values) - np.arange(len(values))
    survive = np.cumprod(np.where(seen[by_value], 1 - 1 / at_risk, 1.0))
    reached = np.flatnonzero(survive <= 1 - q + 1e-9)
    return float(values[by_value][reached[0] if len(reached) else -1])


def _later(
    said: Instant, now: Instant, before: Sequence[Told], q: float, told: Sequence[Instant], mean: float
) -> Instant:
    """When a job that was said to start then will have started with probability ``q``; ``told`` is what was said of
    those before."""
    wait = max(said - now, 0) + GRAIN
    began = np.array([each.at for each in before], np.float64)
    until = np.array([now if each.came is None else each.came for each in before], np.float64)
    waits = np.maximum(until - began, 0) + GRAIN
    of = np.log(np.maximum(np.array(told, np.float64) - began, 0) + GRAIN)
    alike = np.abs(of - log(wait)) <= log(ALIKE)
    seen = np.array([each.came is not None for each in before], np.bool_)[alike]
    believed = _believed(wait, mean)
    values = np.concatenate([np.log(waits[alike]) - of[alike], believed])
    stretch = min(float(np.exp(quantile(values, np.concatenate([seen, np.ones(PRIOR, np.bool_)]), q))), MOST_RATIO)
    return Instant(now + int(min(max(wait * stretch - GRAIN, 0.0), float(NEVER // 4))))


def _believed(wait: int, mean: float) -> list[float]:
    """By how much waits of about this length are off, as logarithms, while nothing has been seen of such: the longer it
    is, the more may come ahead meanwhile."""
    long = min(max(log(wait / SOON) / log(LONG / SOON), 0.0), 1.0)
    return [long * (mean + PRIOR_SPREAD * NormalDist().inv_cdf((at + 0.5) / PRIOR)) for at in range(PRIOR)]
