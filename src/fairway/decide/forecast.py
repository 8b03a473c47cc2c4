"""How long work will take, as quantiles, from what such work has taken before; every array is (R,), a job to an entry.

A job is compared with the finest kind of work that has samples enough *beyond what it has already done*: (shape, user,
name pattern), (shape, user), (shape), all (``state.history``). Where its user gave an estimate, that is corrected by
how far such estimates were off; of the two forecasts the one with the narrower range is believed. A program that
reports its steps is believed before both. Work that has outlived everything known is expected to go on for as long as
it has run (Lindy's law: of lifetimes with a Pareto tail of index 1, half of those that reached t reach 2 t).
"""

import math
from dataclasses import dataclass

import numpy as np

from fairway.model.phases import JobPhase
from fairway.model.time import DAY, HOUR, NEVER
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.history import BUCKETS, NO_CHANGE, PER_DOUBLING, RATIO, RUN, WAIT, RunTimes
from fairway.state.jobs import PHASE_CODE, JobTable

ENOUGH = 4
"""Samples of a kind from which it is preferred to a coarser one."""
UNKNOWN_P50, UNKNOWN_P90 = HOUR, DAY
"""What is said of work of which nothing at all is known."""
OF_STEPS = 1.25
"""How much longer than its steps so far say a program may take, nine times of ten."""
BEYOND = 1.5
"""How much longer than the longest sample a run that is drawn from beyond it takes."""
_LEVELS = 4


@dataclass(frozen=True, slots=True)
class Span:
    """Milliseconds that work takes from now on: half the time at most ``p50``, nine times of ten at most ``p90``.

    ``known`` is false where nothing but Lindy's law, or nothing at all, speaks for it. ``drawn`` is the quantile that
    was asked for, if any.
    """

    p50: Floats
    p90: Floats
    known: Bools
    drawn: Floats


def pending(history: RunTimes, jobs: JobTable, rows: Ints, at: Floats | float = 0.5) -> Span:
    """What waiting jobs will take from their start, at full pace; a job that was stopped has some of it behind it.
    ``at`` is the quantile to draw, of each job or of all."""
    span = _ahead(history, jobs, rows, jobs.ran[rows].astype(np.float64), at)
    return _capped(span, jobs.longest[rows].astype(np.float64))


def after(history: RunTimes, jobs: JobTable, rows: Ints, done: Floats) -> Span:
    """What jobs, waiting or running, will take beyond ``done`` milliseconds of work, at full pace."""
    return _ahead(history, jobs, rows, done, 0.5)


def running(history: RunTimes, jobs: JobTable, rows: Ints, now: int, at: Floats | float = 0.5) -> Span:
    """What live attempts will still take on what they have; one that is being stopped, next to nothing. ``at`` as in
    ``pending``."""
    pace = np.where(jobs.pace[rows] > 0, jobs.pace[rows], 1.0)
    began = np.where(jobs.started_at[rows] > 0, jobs.started_at[rows], now)
    ran = np.maximum(now - began, 0).astype(np.float64)
    done = jobs.ran[rows] + ran * pace
    span = _ahead(history, jobs, rows, done, at)
    p50, p90, drawn = span.p50 / pace, span.p90 / pace, span.drawn / pace
    step, total = jobs.step[rows], jobs.total_steps[rows]
    told = (step > 0) & (total >= step) & (done > 0)
    left = done * (total - step) / np.maximum(step, 1) / pace
    p50, p90 = np.where(told, left, p50), np.where(told, left * OF_STEPS, p90)
    drawn = np.where(told, left * OF_STEPS ** ((at - 0.5) / 0.4), drawn)
    ends = jobs.phase[rows] == PHASE_CODE[JobPhase.STOPPING]
    p50, p90, drawn = (np.where(ends, 1.0, span) for span in (p50, p90, drawn))
    return _capped(Span(p50, p90, span.known | told | ends, drawn), jobs.longest[rows] - ran)


def waits(history: RunTimes, kinds: Ints, waited: Floats) -> Span:
    """How much longer jobs stand in line that have stood there for ``waited``, from how long such jobs did (Nurmi,
    Brevik and Wolski, JSSPP 2007); by Lindy's law where none did. ``kinds`` are rows of ``RunTimes.row_of_wait``."""
    guess = _left(history, kinds, WAIT, waited, 1.0, 0.5)
    p50, p90 = np.where(guess.known, guess.p50, waited), np.where(guess.known, guess.p90, 9 * waited)
    return Span(p50, p90, np.full(len(kinds), bool(history.total[0, WAIT])), p50)


def _ahead(history: RunTimes, jobs: JobTable, rows: Ints, done: Floats, q: Floats | float) -> Span:
    """Work left after ``done`` milliseconds of it; a service's replica never ends."""
    kinds = jobs.history[rows]
    runs = _left(history, kinds, RUN, done, 1.0, q)
    estimate = jobs.estimate[rows].astype(np.float64)
    if (estimate > 0).any():
        ratios = _left(history, kinds, RATIO, done, np.maximum(estimate, 1.0), q)
        runs = _better(runs, ratios, estimate, done)
    p50, p90, known = runs.p50, runs.p90, runs.known
    lindy = ~known
    p50 = np.where(lindy, np.maximum(done, 0.0), p50)
    p90 = np.where(lindy, 9 * np.maximum(done, 0.0), p90)
    fresh = lindy & (done < UNKNOWN_P50)
    p50, p90 = np.where(fresh, float(UNKNOWN_P50), p50), np.where(fresh, float(UNKNOWN_P90), p90)
    guessed = np.where(fresh, UNKNOWN_P50 * (UNKNOWN_P90 / UNKNOWN_P50) ** ((q - 0.5) / 0.4), done * q / (1 - q))
    drawn, endless = np.where(lindy, guessed, runs.drawn), estimate < 0
    p50, p90, drawn = (np.where(endless, float(NEVER), span) for span in (p50, p90, drawn))
    return Span(p50, p90, known | endless, drawn)


def _capped(span: Span, most: Floats) -> Span:
    """No attempt outlives its ``max_runtime``."""
    most = np.maximum(most, 1.0)
    p50, p90, drawn = (np.minimum(np.maximum(lasts, 1.0), most) for lasts in (span.p50, span.p90, span.drawn))
    return Span(p50, p90, span.known | (p90 == most), drawn)


@dataclass(frozen=True, slots=True)
class _Guess:
    """Work left by one kind of sketch. ``level`` is how much coarser a kind had to be asked."""

    p50: Floats
    p90: Floats
    known: Bools
    level: Ints
    drawn: Floats


def _better(runs: _Guess, ratios: _Guess, estimate: Floats, done: Floats) -> _Guess:
    """Of run times and corrected estimates, the forecast with the narrower range; an estimate that nobody can correct
    counts as it stands, unless the user's own such work has been measured."""
    given, raw = estimate > 0, np.maximum(estimate - done, 1.0)
    narrower = ratios.p90 * runs.p50 <= runs.p90 * ratios.p50
    corrected = given & ratios.known & (narrower | ~runs.known)
    as_given = given & ~ratios.known & (estimate > done) & ~(runs.known & (runs.level <= 1))
    p50 = np.where(corrected, ratios.p50, np.where(as_given, raw, runs.p50))
    p90 = np.where(corrected, ratios.p90, np.where(as_given, raw, runs.p90))
    drawn = np.where(corrected, ratios.drawn, np.where(as_given, raw, runs.drawn))
    return _Guess(p50, p90, runs.known | corrected | as_given, runs.level, drawn)


def _left(history: RunTimes, kinds: Ints, sketch: int, done: Floats, unit: float | Floats, q: Floats | float) -> _Guess:
    """Quantiles of what is left among the samples beyond ``done``. ``unit`` is what a ratio of 1 stands for."""
    height, below = len(history), history.below_of(kinds)[:, sketch]
    total, at, level = history.total[:height, sketch], kinds.copy(), np.zeros(len(kinds), np.int64)
    offset = NO_CHANGE if sketch == RATIO else 0
    behind = np.floor(PER_DOUBLING * np.log2(np.maximum(done / unit, 2.0**-20))) + offset
    bucket = np.where(done > 0, np.minimum(behind, BUCKETS - 1), -1).astype(np.int64)
    gone = np.zeros(len(kinds), np.int64)
    for depth in range(_LEVELS):
        gone = np.where(bucket >= 0, below[at, np.maximum(bucket, 0)], 0)
        few = (total[at] - gone < ENOUGH) & (at > 0)
        if not few.any():
            break
        at = np.where(few, history.parent[at], at)
        level = np.where(few, depth + 1, level)
    count = total[at] - gone
    known = count >= (ENOUGH if sketch == RATIO else 1)  # one bad estimate says little of the others
    p50, p90, drawn = (
        np.maximum(_value(below, at, gone + _rank(count, each), each, offset) * unit - done, 1.0)
        for each in (0.5, 0.9, q)
    )
    # Beyond the longest of so few samples there is more: one in (n + 1) takes longer still.
    drawn = np.where(np.asarray(q) * (count + 1) > count, drawn * BEYOND, drawn)
    return _Guess(p50, p90, known, level, drawn)


def _rank(count: Ints, q: Floats | float) -> Ints:
    """Which of so many samples bounds the next one with probability ``q``: ceil(q (n + 1)), at most the last."""
    return np.minimum(np.ceil(q * (count + 1)).astype(np.int64), np.maximum(count, 1))


def _value(below: np.ndarray, at: Ints, rank: Ints, q: Floats | float, offset: int) -> Floats:
    """The sample of that rank, by bisection over the cumulated counts: it lies in the first bucket that reaches it."""
    low, high = np.zeros(len(at), np.int64), np.full(len(at), BUCKETS - 1, np.int64)
    for _ in range(math.ceil(math.log2(BUCKETS))):
        middle = (low + high) // 2
        reached = below[at, middle] >= rank
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
    return np.exp2((np.minimum(low, BUCKETS - 1) - offset + (q if not offset else q - 0.5)) / PER_DOUBLING)


def instants(now: int, span: Floats) -> Ints:
    """``now`` plus spans, as instants that never overflow."""
    return now + np.minimum(np.ceil(span), float(NEVER // 4)).astype(np.int64)
