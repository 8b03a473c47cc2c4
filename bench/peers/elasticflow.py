"""ElasticFlow (Gu et al., "ElasticFlow: An Elastic Serverless Training Platform for Distributed Deep Learning",
ASPLOS'23): admission by minimum satisfactory share (its Algorithm 1), then free GPUs by marginal return (Algorithm 2).

Written from the paper. A job is admitted at its arrival, and for good, if with it every admitted job can still meet its
deadline: in order of deadline, each is filled into the slots ahead with the smallest size that is enough, in each slot
as much of it as is free. One that cannot be admitted is refused. Then, while GPUs are free now, the job whose GPU-time
until its end falls most (or rises least) per GPU added now goes up a size.

Beyond the paper, in its favour: filling knows what a restart takes. An admitted job whose restarts made it late after
all runs behind the others, as fast as what they leave allows, and keeps nobody out.
"""

import numpy as np
from numba import njit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from bench.slots import View
from fairway.decide.elastic import Workers
from fairway.state.columns import Bools, Floats, Ints

TINY = 1e-9


@njit(cache=True)
def fill(
    w: Workers, j: int, first: int, step: int, slot: float, free: Ints, plan: Ints, book: int
) -> tuple[bool, float]:
    """Fill a job into the slots from 0 with at most ``step``, but ``first`` in slot 0 (-1: as in all others).

    Returns whether it ends in time, and its GPU-time in slots. ``book`` 1 takes it off ``free``, 2 writes it to
    ``plan`` as well.
    """
    rest, spent = w.need[j] * (1 - TINY), 0.0
    for t in range(len(free)):
        use = first if t == 0 and first >= 0 else step
        while use >= 0 and w.sizes[j, use] > free[t]:
            use -= 1
        if book == 2:
            plan[t] = 0
        if use < 0:
            continue
        width = min(slot, w.left[j] - t * slot)
        if width <= 0:
            break
        if t == 0 and w.sizes[j, use] != w.held[j]:
            width = max(width - w.restart[j], 0.0)
        rest -= width * w.speed[j, use]
        spent += w.sizes[j, use]
        if book >= 1:
            free[t] -= w.sizes[j, use]
        if book == 2:
            plan[t] = w.sizes[j, use]
        if rest <= 0:
            if book == 2:
                plan[t + 1 :] = 0
            return True, spent
    return False, spent


@njit(cache=True)
def smallest(w: Workers, j: int) -> int:
    """A step below which nothing is enough, whatever is free."""
    for step in range(w.steps[j]):
        if w.speed[j, step] * w.left[j] >= w.need[j] * (1 - TINY):
            return step
    return w.steps[j]


@njit(cache=True)
def satisfy(w: Workers, order: Ints, slot: float, free: Ints, plans: Ints) -> tuple[Bools, Floats]:
    """Algorithm 1 for jobs in order of deadline: whether each can be satisfied, and its GPU-time. Those that cannot are
    booked when all others are, at their largest size, past their deadline, and are without one from here on."""
    able, spent = np.zeros(len(w.need), np.bool_), np.zeros(len(w.need))
    for j in order:
        for step in range(smallest(w, j), w.steps[j]):
            if fill(w, j, -1, step, slot, free, plans[j], 0)[0]:
                able[j] = True
                spent[j] = fill(w, j, -1, step, slot, free, plans[j], 2)[1]
                break
    for j in order:
        if not able[j]:
            w.left[j] = np.inf
            spent[j] = fill(w, j, -1, int(w.steps[j]) - 1, slot, free, plans[j], 2)[1]
    return able, spent


@njit(cache=True)
def refill(w: Workers, j: int, first: int, slot: float, free: Ints, plan: Ints, book: bool) -> float:
    """GPU-time of a job with ``first`` in slot 0 and the smallest sufficient size behind it; infinite if none is."""
    for step in range(w.steps[j]):
        done, spent = fill(w, j, first, step, slot, free, plan, 0)
        if done:
            if book:
                fill(w, j, first, step, slot, free, plan, 2)
            return spent
    return np.inf


@njit(cache=True)
def marginal(w: Workers, able: Bools, spent: Floats, slot: float, free: Ints, plans: Ints) -> None:
    """Algorithm 2: while GPUs are free in slot 0, the job with the greatest marginal return goes up a size there."""
    jobs = len(w.need)
    value, target, fresh = np.full(jobs, -np.inf), np.full(jobs, -1, np.int64), np.zeros(jobs, np.bool_)
    while free[0] > 0:
        pick = -1
        for j in range(jobs):
            if not fresh[j]:
                fresh[j], value[j], target[j] = True, -np.inf, -1
                above = 0
                while above < w.steps[j] and w.sizes[j, above] <= plans[j, 0]:
                    above += 1
                if above < w.steps[j] and able[j] and w.sizes[j, above] - plans[j, 0] <= free[0]:
                    free += plans[j]
                    total = refill(w, j, above, slot, free, plans[j], False)
                    free -= plans[j]
                    if total < np.inf:
                        value[j], target[j] = (spent[j] - total) / (w.sizes[j, above] - plans[j, 0]), above
            if (
                target[j] >= 0
                and w.sizes[j, target[j]] - plans[j, 0] <= free[0]
                and (pick < 0 or value[j] > value[pick])
            ):
                pick = j
        if pick < 0:
            return
        free += plans[pick]
        spent[pick] = refill(w, pick, target[pick], slot, free, plans[pick], True)
        fresh[pick] = False


@njit(cache=True)
def admit(w: Workers, inside: Bools, new: Ints, slot: float, slots: int, capacity: int) -> Bools:
    """(A,) who is inside when jobs ask to be let in one after the other; (A,) ``inside`` are there already.

    A job that is inside and late does not keep others out.
    """
    order = np.argsort(w.left, kind="mergesort")
    nowhere = np.zeros(0, np.int64)
    within = inside.copy()
    fine = _all_in_time(w, within, within, order, slot, slots, capacity, nowhere)
    for at in new:
        trial = within.copy()
        trial[at] = True
        then = _all_in_time(w, trial, within, order, slot, slots, capacity, nowhere)
        if then[at] and not (fine & ~then).any():
            within, fine = trial, then
    return within


@njit(cache=True)
def _all_in_time(
    w: Workers, within: Bools, old: Bools, order: Ints, slot: float, slots: int, capacity: int, nowhere: Ints
) -> Bools:
    """(A,) who of those ``within`` ends in time; gives up at the first new one that does not."""
    free, able = np.full(slots, capacity), np.zeros(len(within), np.bool_)
    for j in order:
        if within[j]:
            for step in range(smallest(w, j), w.steps[j]):
                if fill(w, j, -1, step, slot, free, nowhere, 0)[0]:
                    able[j] = True
                    fill(w, j, -1, step, slot, free, nowhere, 1)
                    break
            if not able[j] and not old[j]:
                return able
    return able


class ElasticFlow:
    """The policy. It remembers whom it admitted."""

    def __init__(self) -> None:
        self._admitted: dict[int, bool] = {}

    def __call__(self, view: View) -> Ints:
        """GPUs for each job; -1 refuses one. Jobs without a deadline run behind, on what is left of slot 0."""
        w = view.workers()
        deadlined = np.isfinite(w.left)
        slots = max(int(np.ceil(w.left[deadlined].max(initial=0.0) / view.slot - TINY)), 1)
        inside = self._admit(view, w, deadlined, slots)
        given = np.where(deadlined & ~inside, -1, 0)
        rows = np.flatnonzero(inside)
        some = Workers(*(column[rows] for column in w))  # pyright: ignore[reportArgumentType]
        free, plans = np.full(slots, view.capacity), np.zeros((len(rows), slots), np.int64)
        able, spent = satisfy(some, np.argsort(some.left, kind="stable"), view.slot, free, plans)
        for at in np.flatnonzero(~deadlined):
            asked = view.jobs.asked[view.rows[at]]
            if asked <= free[0] and asked in w.sizes[at, : w.steps[at]]:
                given[at] = asked
                free[0] -= asked
        marginal(some, able, spent, view.slot, free, plans)
        given[rows] = plans[:, 0]
        return given

    def _admit(self, view: View, w: Workers, deadlined: Bools, slots: int) -> Bools:
        known = [self._admitted.get(int(row)) for row in view.rows]
        inside = np.array([admitted is True for admitted in known])
        new = np.flatnonzero(np.array([admitted is None for admitted in known]) & deadlined)
        if len(new):
            inside = admit(w, inside, new, view.slot, slots, view.capacity)
            for at in new:
                self._admitted[int(view.rows[at])] = bool(inside[at])
        return inside
