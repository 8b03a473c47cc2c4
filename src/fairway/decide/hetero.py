"""Who gets which accelerator type, from how fast every job runs on each. Pure functions over columns, chosen by name.

- ``max_min``: whoever has attained least comes first, counted in device-seconds at the job's own best speed, so that
  time on a slow type counts as the little that it is (Gavel's heterogeneity-aware least attained service);
- ``makespan``: the last job ends as early as can be. Jobs that would have to run for nearly all of the time that is
  left run now; the others give way only to those, and so are seldom moved.

A decision says for each job which type its whole gang has from now on, or none. What is running is moved only for what
a restart costs. Prices of types come from ``typemarket``: a job goes where it gains most for what others lose.

Letters in shapes: J jobs, T types.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairway.decide.typemarket import share, usable, welfare
from fairway.model.errors import InvalidField
from fairway.state.columns import Bools, Floats, Ints

WAITS: Final = -1
"""The type of a job that gets none."""
CRITICAL_PART: Final = 0.7
"""A waiting job takes the place of a running one when it has to run for more than this part of the time left."""
USELESS: Final = 0.02
"""A type whose part in a job's shares is smaller than this came out of smoothing."""
POOR_FIT: Final = 0.3
"""Left-over devices go to a job only if they do at least this part of what its best type does for the price."""
QUANTUM_S: Final = 3600.0
"""Device-seconds of attained service that count as none: no job is moved before it has had that much."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Jobs that could run now and the devices there are. ``speed`` (J, T): work per second of the whole gang, 0 where
    it cannot run; ``gang`` (J,): its devices; ``count`` (T,): devices of a type; ``current`` (J,): the type it runs on
    now, or ``WAITS``; ``restart``: the part of the time until the next decision that a start costs."""

    speed: Floats
    gang: Ints
    count: Ints
    current: Ints
    restart: float = 0.0

    def __post_init__(self) -> None:
        jobs, types = len(self.gang), len(self.count)
        if self.speed.shape != (jobs, types) or self.current.shape != (jobs,):
            raise InvalidField("speed", f"is {self.speed.shape}, current {self.current.shape}: not ({jobs}, {types})")
        if not 0 <= self.restart <= 1:
            raise InvalidField("restart", f"is a part of a round, between 0 and 1, not {self.restart:g}")

    @property
    def can(self) -> Floats:
        """(J, T) speeds where the whole gang would fit an empty fleet, else 0."""
        return usable(self.speed, self.gang, self.count)

    @property
    def best(self) -> Floats:
        """(J,) the highest speed a job could have; 0 where it fits nowhere."""
        return self.can.max(axis=1, initial=0.0)

    @property
    def here(self) -> Floats:
        """(J, T) 1 for the type a job runs on now."""
        return (np.arange(len(self.count)) == self.current[:, None]).astype(np.float64)


def equal_part(fleet: Fleet) -> Floats:
    """(J,) what each job would do with an equal part of the devices of every type: the goal of max-min fairness.

    A larger gang has its part for less of the time, as in Gavel, section 4.1.
    """
    devices = max(1, int(fleet.count.sum()))
    time = np.minimum(1.0, devices / max(1, len(fleet.gang)) / fleet.gang)
    return (fleet.can * fleet.count).sum(axis=1) / devices * time


def by_worth(fleet: Fleet, worth: Floats) -> Ints:
    """(J,) types that make the worth of all that runs about as high as it can be. ``worth`` (J, T): of a job's run on a
    type until the next decision; a start costs the fleet's ``restart`` of it.

    Who gains most beyond the price of its devices comes first: of what gains most per device, or in all, whichever is
    worth more in the end; the one may leave no room for a large gang, the other may put it before several small ones.
    """
    net = np.where(fleet.can > 0, worth, 0.0) * (1 - fleet.restart * (1 - fleet.here))
    gang = fleet.gang[:, None]
    profit = net - welfare(net, fleet.gang, fleet.count) * gang
    liking = np.where((net > 0) & (profit > -1e-9), profit, -np.inf)
    rest = np.where(net > 0, net, -np.inf)
    best, most = np.full(len(fleet.gang), WAITS, np.int64), -1.0
    for size in (gang, np.ones_like(gang)):
        types = np.full(len(fleet.gang), WAITS, np.int64)
        _fill(fleet, types, (liking / size).max(axis=1, initial=-np.inf), liking)
        _fill(fleet, types, (rest / size).max(axis=1, initial=-np.inf), rest)
        runs = np.flatnonzero(types != WAITS)
        total = float(net[runs, types[runs]].sum())
        if total > most * (1 + 1e-12):
            best, most = types, total
    return best


def levels(attained: Floats) -> Floats:
    """(J,) attained service in powers of two of ``QUANTUM_S``: jobs of one level do not take turns."""
    return np.floor(np.log2(1 + attained / QUANTUM_S))


def max_min(fleet: Fleet, attained: Floats) -> Ints:
    """(J,) types when whoever has attained least comes first. ``attained`` (J,): device-seconds at the best speed.

    A level halves what a device is worth to a job. Where run times are heavy-tailed that is how likely the job is to
    end soon, too, so the mean completion time is short without knowing any run time.
    """
    part = np.divide(fleet.can, fleet.best[:, None], out=np.zeros_like(fleet.can), where=fleet.best[:, None] > 0)
    weight = np.exp2(-levels(attained)) * fleet.gang.astype(np.float64)
    return by_worth(fleet, part * weight[:, None])


def makespan(fleet: Fleet, left: Floats) -> Ints:
    """(J,) types that end the last job as early as can be. ``left`` (J,): work."""
    shares = share(fleet.speed, fleet.gang, fleet.count, left)
    must = shares.time.sum(axis=1)
    runs: Bools = np.not_equal(fleet.current, WAITS)
    urgency = must.copy()
    urgency[runs] = np.maximum(must[runs], CRITICAL_PART) + must[runs] * 1e-3
    types = np.full(len(fleet.gang), WAITS, np.int64)
    planned = shares.time > USELESS * must[:, None]
    _fill(
        fleet, types, urgency, np.where(planned, shares.time / np.maximum(must, 1e-12)[:, None] + fleet.here, -np.inf)
    )
    price = np.maximum(shares.prices / np.maximum(1, fleet.count), 1e-12)
    yields = fleet.can / price / fleet.gang[:, None]
    fit = yields / np.maximum(yields.max(axis=1, keepdims=True, initial=0.0), 1e-300)
    _fill(fleet, types, urgency, np.where(fit > POOR_FIT, fit + fleet.here * fleet.restart, -np.inf))
    return types


def _fill(fleet: Fleet, types: Ints, first: Floats, liking: Floats) -> None:
    """Give jobs without a type, highest ``first`` (J,), the one they like best (J, T) among those with room for them;
    none where it is minus infinity. Writes ``types`` (J,)."""
    free = fleet.count - np.bincount(types[types >= 0], fleet.gang[types >= 0], len(fleet.count)).astype(np.int64)
    waiting = np.flatnonzero((types == WAITS) & (liking.max(axis=1, initial=-np.inf) > -np.inf))
    for row in waiting[np.argsort(-first[waiting], kind="stable")].tolist():
        liked = np.where(free >= fleet.gang[row], liking[row], -np.inf)
        kind = int(liked.argmax())
        if liked[kind] > -np.inf:
            types[row] = kind
            free[kind] -= fleet.gang[row]


Chooser = Callable[[Fleet, Floats, Floats], Ints]
"""(fleet, attained device-seconds (J,), work left (J,)) to types (J,)."""

POLICIES: Final[dict[str, Chooser]] = {
    "max_min": lambda fleet, attained, left: max_min(fleet, attained),
    "makespan": lambda fleet, attained, left: makespan(fleet, left),
}
