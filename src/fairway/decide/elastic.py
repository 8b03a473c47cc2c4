"""How many workers each elastic job gets: enough for its deadline first, then where one more worker brings most.

*Minimum satisfactory share* (ElasticFlow, Gu et al., ASPLOS'23): the fewest workers with which a job still meets its
deadline. Which jobs to save when not all can be is ours: none is refused or killed, and at every decision they are
looked at anew, the one that needs the least GPU-time first; each gets room as late as its deadline allows (for jobs of
one worker that finds the most that can be saved, the classic argument for unit tasks), and is saved if there is any.

Then workers are handed out: those that cannot wait, then saved ones by slack, those that run before those that would
have to start; then everybody else, least GPU-time first; then running jobs get back what they hold; then all grow, by
marginal gain: one more worker goes where it adds most speed, in units of the speed of the job's first. So nobody is
preempted, and nobody waits, for the sake of somebody else's growth.

A job that changes its number of workers stops, and starts again from its checkpoint: it grows only where the time
saved is worth several restarts, and not soon after the last change. What a deadline needs it gets all the same.

Letters in shapes: J jobs, L sizes, K buckets of time. Time is in milliseconds, or any unit that is used throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np

from fairway.decide import sizing
from fairway.model.errors import InvalidField
from fairway.state.columns import Bools, Floats, Ints

MANY = 48
"""Jobs from which on the compiled loops are faster, once they are loaded."""
WORTH_LOADING = 16_384
"""Jobs sized by the plain loops in all, from which on it is faster to have loaded the compiled ones: no single decision
is to wait for a compiler where ``decide.warm`` has been asked for them, or only few jobs are sized."""
BUCKETS_AN_OCTAVE = 8
"""How finely the future is divided: so many buckets until the time from now has doubled."""


class Workers(NamedTuple):
    """What sizing has to know of every job. A size is a number of workers; ``sizes`` and ``speed`` grow along a row,
    and behind ``steps`` they mean nothing."""

    sizes: Ints
    """(J, L) numbers of workers it can run with, at least 1, increasing."""
    speed: Floats
    """(J, L) work done per unit of time with that many, increasing."""
    steps: Ints
    """(J,) how many of the sizes are real, at least 1."""
    need: Floats
    """(J,) work that is left."""
    left: Floats
    """(J,) time until the deadline; infinite for none."""
    held: Ints
    """(J,) workers it has now; 0 when it is not running."""
    restart: Floats
    """(J,) time that is lost when it starts on another number of workers."""
    fixed: Bools
    """(J,) whether its last change is too recent to grow."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """``given`` (J,) workers; ``saved`` (J,) whether room for its deadline was found; ``share`` (J,) the minimum
    satisfactory share in workers, 0 where no number is enough or there is no deadline."""

    given: Ints
    saved: Bools
    share: Ints


def useful(sizes: Sequence[int], speeds: Sequence[float]) -> tuple[list[int], list[float]]:
    """The sizes worth having, ascending, and their speeds: more workers must be faster.

    Raises InvalidField when there is none, or a size is below 1.
    """
    kept_sizes, kept_speeds = list[int](), list[float]()
    for size, speed in sorted(zip(sizes, speeds, strict=True)):
        if size < 1:
            raise InvalidField("sizes", f"a job runs with at least 1 worker, not {size}")
        if speed > (kept_speeds[-1] if kept_speeds else 0.0):
            kept_sizes.append(size)
            kept_speeds.append(speed)
    if not kept_sizes:
        raise InvalidField("sizes", "at none of these numbers of workers does the job make progress")
    return kept_sizes, kept_speeds


def bucket_edges(slot: float, until: float) -> Floats:
    """(K + 1,) bounds of buckets from 0 to at least ``until``: the first is ``slot`` wide, later ones ever wider."""
    edges = [0.0, slot]
    factor = 2.0 ** (1.0 / BUCKETS_AN_OCTAVE)
    while edges[-1] < until:
        # Whole slots, so that a simulator in slots, and nobody else, sees round numbers.
        edges.append(slot * max(round(edges[-1] * factor / slot), round(edges[-1] / slot) + 1))
    return np.array(edges)


def demand(w: Workers, least: Ints) -> Floats:
    """(J,) the worker-time each job still needs at a step; of its smallest size where the step is -1."""
    rows, steps = np.arange(len(w.need)), np.maximum(least, 0)
    size, speed = w.sizes[rows, steps], w.speed[rows, steps]
    return size * (w.need / speed + np.where(size == w.held, 0.0, w.restart))


def laxity(w: Workers, step: Ints) -> Floats:
    """(J,) time to spare if it runs at a step from now on."""
    rows = np.arange(len(w.need))
    chosen = np.maximum(step, 0)
    size, speed = w.sizes[rows, chosen], w.speed[rows, chosen]
    return w.left - w.need / speed - np.where(size == w.held, 0.0, w.restart)


class Loops:
    """Which loops are used. They are the same functions, compiled or not, so nothing that is decided depends on it."""

    def __init__(self) -> None:
        self.compiled: ModuleType | None = None
        self.asked = False
        self.plainly = 0

    def of(self, jobs: int) -> ModuleType:
        """The loops for so many jobs."""
        if jobs < MANY:
            return self.compiled or sizing
        self.plainly += 0 if self.compiled else jobs
        if self.plainly >= WORTH_LOADING and not self.asked:
            self.load()
        return self.compiled or sizing

    def load(self) -> None:
        """Load the compiled loops; whoever decides meanwhile uses the plain ones."""
        self.asked = True
        from fairway.decide import kernels_elastic

        many, some = np.ones(1, np.int64), np.ones(1)
        w = Workers(many.reshape(1, 1), some.reshape(1, 1), many, some, some, many, some, np.zeros(1, np.bool_))
        _allocate(kernels_elastic, w, 1, 1.0, 0.0, 1.0)
        self.compiled = kernels_elastic


LOOPS = Loops()


def allocate(w: Workers, capacity: int, slot: float, *, grain: float = 0.0, margin: float = 3.0) -> Sizes:
    """Workers for every job, at most ``capacity`` in all: 0, or one of its sizes.

    ``slot`` is the width of the first bucket, ``grain`` what a stretch of running is rounded up to, where whoever
    calls starts and stops jobs only so often. A running job grows where it saves ``margin`` times the restart.
    """
    return _allocate(LOOPS.of(len(w.need)), w, capacity, slot, grain, margin)


def _allocate(kernel: ModuleType, w: Workers, capacity: int, slot: float, grain: float, margin: float) -> Sizes:
    least = kernel.shares(w)
    cost = demand(w, least)
    deadlined = w.left < np.inf
    farthest = float(w.left[deadlined].max()) if deadlined.any() else slot
    edges = bucket_edges(slot, max(farthest, slot))
    room = np.full(len(edges) - 1, float(capacity))
    order = np.lexsort((np.arange(len(cost)), cost))
    step, now = kernel.save(w, order, least, edges, room, grain)
    saved = step >= 0
    slack = laxity(w, step)
    line = np.lexsort((np.arange(len(cost)), np.where(saved, slack, cost), w.held == 0, ~saved, now == 0))
    given, free = kernel.hand_out(w, line, np.maximum(step, 0), now, capacity)
    free = kernel.grow(w, given, free, margin, True)
    kernel.grow(w, given, free, margin, False)
    rows = np.arange(len(cost))
    share = np.where(least >= 0, w.sizes[rows, np.maximum(least, 0)], 0)
    return Sizes(given, saved, share)
