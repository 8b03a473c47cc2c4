"""Prices of accelerator types: what a device of each is worth to jobs that run at different speeds on them.

``share`` finds the time shares under which every job runs at the same multiple of its goal, and that multiple is as
large as the types allow. The goal decides the policy (Gavel, Narayanan et al., OSDI'20, section 4):

- what a job would do with an equal part of every type: the multiple is the least normalised throughput (max-min);
- the work that is left: the multiple is one over the time until the last job ends, the makespan. For jobs of one GPU
  that is the bound of Lawler and Labetoulle (1978) for preemptive work on unrelated machines.

``welfare`` finds the prices at which jobs that take what is worth most to them want no more than there is.

Both are linear programs. Here they are solved without a solver. Given prices, what is cheapest for a job is a minimum
over few options: to reach a rate, one type for part of the time, or two types for all of it. So the sum over jobs is a
concave function of as many variables as there are types, and prices are right where it is highest. With the minimum
smoothed a little, Newton's method gets there in a few steps, and how the options are then mixed are the shares.
``Shares.bound`` is what no shares can beat at these prices, so how far from the best they are is known, and is tested.

Letters in shapes: J jobs, T types, O options.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from fairway.model.errors import InvalidField
from fairway.state.columns import Bools, Floats, Ints

BLUR: Final = (0.3, 0.03, 0.003)
"""How much of the whole cost smoothing may hide, coarse first: each step starts from the prices of the one before."""
STEPS: Final = 40
"""Newton steps at most for one blur; 3 to 8 are usual."""
CLOSE: Final = 1e-3
"""How near to its capacity the dearest type is loaded, as a part of it, when the search for the level ends."""
PROBES: Final = 60
GIVE_UP: Final = 1e12
"""A damping at which a Newton step no longer moves anything."""


@dataclass(frozen=True, slots=True)
class Shares:
    """``time`` (J, T): the part of the time that a job has its gang on each type. ``rate`` (J,): the speed it gets,
    in the units of ``speed``. ``level``: rate / goal of every job that is not as fast as it can be already. ``bound``:
    no shares reach a higher level. ``prices`` (T,): of a type's whole capacity; they add up to 1."""

    time: Floats
    rate: Floats
    level: float
    bound: float
    prices: Floats


def usable(speed: Floats, gang: Ints, count: Ints) -> Floats:
    """(J, T) speeds, with 0 where there are fewer devices of a type than the gang needs."""
    return np.where(gang[:, None] <= count, speed, 0.0)


def share(speed: Floats, gang: Ints, count: Ints, goal: Floats, copies: Ints | None = None) -> Shares:
    """The shares of time that give every job the same, highest multiple of its goal; one that is as fast as it can
    ever be stays there while the others rise.

    ``speed`` (J, T): work per second of the whole gang, 0 where it cannot run; ``gang`` (J,) and ``count`` (T,):
    devices; ``goal`` (J,): work per second, or work. Jobs without a goal, or that fit nowhere, get nothing. With
    ``copies`` (J,) a row stands for so many equal jobs, and says what each of them gets.
    Raises InvalidField when the shapes disagree or a number is negative.
    """
    _checked(speed, gang, count, goal)
    can = usable(speed, gang, count)
    best = can.max(axis=1, initial=0.0)
    rows = np.flatnonzero((goal > 0) & (best > 0))
    types = np.flatnonzero(count > 0)
    empty = Shares(np.zeros(speed.shape), np.zeros(len(goal)), 0.0, 0.0, np.zeros(len(count)))
    if not rows.size or not types.size:
        return empty
    devices = gang if copies is None else gang * copies
    found = _Market(can[np.ix_(rows, types)], devices[rows], count[types], goal[rows]).highest()
    empty.time[np.ix_(rows, types)] = found.time
    empty.rate[rows] = found.rate
    empty.prices[types] = found.prices
    return Shares(empty.time, empty.rate, found.level, found.bound, empty.prices)


def welfare(worth: Floats, gang: Ints, count: Ints, copies: Ints | None = None) -> Floats:
    """(T,) the price of one device of each type at which the jobs, taking what is worth most to them beyond its price
    or nothing, want about as many devices as there are; 0 where there are enough for everybody.

    ``worth`` (J, T): of running now on a type, 0 and less where a job had rather wait; ``gang`` and ``count`` as in
    ``share``, ``copies`` too. Worth and prices are in the same unit.
    """
    prices = np.zeros(len(count))
    can = usable(worth, gang, count)
    rows, types = np.flatnonzero(can.max(axis=1, initial=0.0) > 0), np.flatnonzero(count > 0)
    if not rows.size:
        return prices
    alike = np.ones(len(gang), np.int64) if copies is None else copies
    value = can[np.ix_(rows, types)] * alike[rows][:, None]
    whole = float(value.max(axis=1).sum())
    ways = np.zeros((len(rows), len(types) + 1, len(types)))
    each = np.arange(len(types))
    ways[:, each, each] = (gang * alike)[rows][:, None] / count[types]
    off = np.column_stack([value <= 0, np.zeros(len(rows), np.bool_)])
    base = np.column_stack([-value / whole, np.zeros(len(rows))])
    hill = _Hill(ways, off, base, linear=True)
    found = np.full(len(types), 1.0 / len(types))
    for blur in BLUR:
        found = hill.top(found, blur)
    prices[types] = found * whole / count[types]
    return prices


def _checked(speed: Floats, gang: Ints, count: Ints, goal: Floats) -> None:
    if speed.shape != (len(gang), len(count)) or goal.shape != gang.shape:
        wanted = f"({len(gang)}, {len(count)})"
        raise InvalidField("speed", f"is {speed.shape} for goals {goal.shape}: give one row a job, {wanted}")
    if speed.size and (not np.isfinite(speed).all() or speed.min() < 0):
        raise InvalidField("speed", "must be finite and not negative")
    if len(gang) and (gang.min() < 1 or not np.isfinite(goal).all() or goal.min() < 0):
        raise InvalidField("goal", "must be finite and not negative, for gangs of 1 or more")


@lru_cache(maxsize=64)
def _pairs(types: int) -> tuple[Ints, Ints]:
    first, second = np.triu_indices(types, 1)
    return first.astype(np.int64), second.astype(np.int64)


def options(speed: Floats, rate: Floats) -> Floats:
    """(J, O, T) parts of the time: the ways for a job to run at a rate, each type alone and then each pair for the
    whole time; infinite where a way cannot reach it. ``rate`` (J,) is at most the job's highest speed."""
    jobs, types = speed.shape
    first, second = _pairs(types)
    ways = np.zeros((jobs, types + len(first), types))
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = np.where(speed * (1 + 1e-12) >= rate[:, None], rate[:, None] / speed, np.inf)
    each: Ints = np.arange(types, dtype=np.int64)
    ways[:, each, each] = np.where(alone > 1, np.where(np.isinf(alone), np.inf, 1.0), alone)
    if len(first):
        a, b = speed[:, first], speed[:, second]
        fast, slow = np.maximum(a, b), np.minimum(a, b)
        with np.errstate(divide="ignore", invalid="ignore"):
            part = (rate[:, None] - slow) / (fast - slow)
        real = (slow > 0) & (slow < rate[:, None]) & (rate[:, None] < fast)
        on_a = np.where(real, np.where(a >= b, part, 1 - part), np.inf)
        pair = types + np.arange(len(first))
        ways[:, pair, first] = on_a
        ways[:, pair, second] = np.where(real, 1 - on_a, np.inf)
    return ways


class _Market:
    """Prices of types for jobs that all can run somewhere. ``load`` means parts of a type's capacity."""

    def __init__(self, speed: Floats, gang: Ints, count: Ints, goal: Floats) -> None:
        self.speed, self.goal = speed, goal
        self.weight = gang[:, None] / count
        self.best = speed.max(axis=1)
        self.prices = np.full(len(count), 1.0 / len(count))

    def highest(self) -> Shares:
        """The highest level with every load at most 1, found between one that fits and one that does not."""
        first, ceiling = (float(bound) for bound in np.quantile(self.best / self.goal, (0, 1)))
        low, high, level = 0.0, ceiling, min(ceiling, self._guess())
        reached, time = 0.0, np.zeros_like(self.speed)
        for probe in range(PROBES):
            tried, load = self._clear(level)
            # Shares that ask for hardly too much are shares all the same, of a level that is lower by as much.
            if load <= 1 + CLOSE and level / max(1.0, load) > reached:
                reached, time = level / max(1.0, load), tried / max(1.0, load)
            if load <= 1:
                low = level
            else:
                high = level
            if high <= reached * (1 + CLOSE):
                break
            level = level / load
            if probe % 3 == 2 or not low < level < high:
                level = high if high == ceiling and load <= 1 else max(low, high / 1e3) * 0.5 + high * 0.5
        rate = np.minimum((time * self.speed).sum(axis=1), self.best)
        return Shares(time, rate, reached, self._bound(min(reached, first), first), self.prices)

    def _guess(self) -> float:
        """The level at which the least possible use of devices adds up to all of them."""
        with np.errstate(divide="ignore"):
            least = np.where(self.speed > 0, self.weight / self.speed, np.inf).min(axis=1)
        return self.speed.shape[1] / float((least * self.goal).sum())

    def _bound(self, low: float, first: float) -> float:
        """A least rate / goal that is out of reach: by the prices, or because some job is no faster than that."""
        for step in np.geomspace(1e-4, 1.0, 17).tolist():
            beyond = low * (1 + step)
            if beyond >= first:
                break
            if self._least(*_finite(self._ways(beyond)), self.prices).sum() > self.prices.sum():
                return beyond
        return first

    def _ways(self, level: float) -> Floats:
        """(J, O, T) load of each option."""
        ways = options(self.speed, np.minimum(level * self.goal, self.best))
        return ways * self.weight[:, None, :]

    def _clear(self, level: float) -> tuple[Floats, float]:
        """(time (J, T), load): shares that reach the level, and the highest load of a type, which is near the least."""
        ways, off = _finite(self._ways(level))
        cheapest = float(self._least(ways, off, self.prices).sum())
        hill = _Hill(ways, off)
        prices = self.prices * max(1e-9, cheapest)
        for blur in BLUR:
            prices = hill.top(prices, blur * float(prices.sum()))
        mix = hill.mix(prices, BLUR[-1] * float(prices.sum()))
        self.prices = prices / prices.sum()
        load = float(np.einsum("jo,jot->t", mix, ways).max())
        return np.einsum("jo,jot->jt", mix, ways) / self.weight, load

    @staticmethod
    def _least(ways: Floats, off: Bools, prices: Floats) -> Floats:
        costs = ways @ prices
        costs[off] = np.inf
        return costs.min(axis=1)


def _finite(ways: Floats) -> tuple[Floats, Bools]:
    """(ways, off (J, O)): options with 0 for those that are none, and which those are."""
    off: Bools = np.asarray(~np.isfinite(ways).all(axis=2), np.bool_)
    return np.where(off[:, :, None], 0.0, ways), off


class _Hill:
    """The sum over jobs of the least cost of their options at given prices, less what the prices themselves cost.

    ``ways`` (J, O, T): how much of every type's capacity an option uses; ``off`` (J, O): options that are none;
    ``base`` (J, O): cost of an option that no price changes. With ``linear`` prices cost their sum, so that at the top
    every type with a price is used up; else half the square of their sum, so that at the top all types with a price
    are used equally, by their sum, and the others less.
    """

    def __init__(self, ways: Floats, off: Bools, base: Floats | None = None, linear: bool = False) -> None:
        self.ways, self.off, self.linear = ways, off, linear
        self.base = np.zeros(off.shape) if base is None else base
        self.spread = len(ways) * max(1.0, float(np.log(ways.shape[1])))

    def mix(self, prices: Floats, loss: float) -> Floats:
        """(J, O) how much of each option a job takes, if smoothing may lower the sum by ``loss`` at most."""
        return self._mixed(prices, loss / self.spread)[0]

    def _mixed(self, prices: Floats, heat: float) -> tuple[Floats, float]:
        costs = self.base + self.ways @ prices
        costs[self.off] = np.inf
        least = costs.min(axis=1)
        odds = np.exp((least[:, None] - costs) / heat)
        total = odds.sum(axis=1)
        return odds / total[:, None], float((least - heat * np.log(total)).sum())

    def _at(self, prices: Floats, heat: float) -> tuple[float, Floats, Floats]:
        """(height, slope (T,), minus the second derivative (T, T))."""
        mix, cost = self._mixed(prices, heat)
        use = np.einsum("jo,jot->jt", mix, self.ways)
        bend = (np.einsum("jo,jot,jou->tu", mix, self.ways, self.ways) - use.T @ use) / heat
        total = float(prices.sum())
        if self.linear:
            return cost - total, use.sum(axis=0) - 1.0, bend + np.eye(len(prices)) * 1e-12
        return cost - total**2 / 2, use.sum(axis=0) - total, bend + 1.0

    def top(self, prices: Floats, loss: float) -> Floats:
        """The prices of 0 and more at the top: damped Newton steps from others (Levenberg, 1944; Marquardt, 1963)."""
        heat, damping = loss / self.spread, 1e-3
        height, slope, bend = self._at(prices, heat)
        for _ in range(STEPS):
            moves = (prices > 0) | (slope > 0)
            scale = 1.0 if self.linear else max(float(prices.sum()), 1e-12)
            if float(np.abs(np.where(moves, slope, 0.0)).max()) < 1e-4 * scale:
                break
            free = np.flatnonzero(moves)
            inner = bend[np.ix_(free, free)]
            brake = np.diag(inner) + 1e-9 * float(np.diag(inner).max())
            following, tried = prices, (height, slope, bend)
            while damping < GIVE_UP:
                step = np.zeros(len(prices))
                step[free] = np.linalg.solve(inner + damping * np.diag(brake), slope[free])
                following = np.maximum(0.0, prices + step)
                tried = self._at(following, heat)
                if tried[0] >= height - 1e-12 * abs(height):
                    break
                damping *= 8
            if damping >= GIVE_UP:
                break
            prices, (height, slope, bend), damping = following, tried, max(1e-9, damping / 8)
        return prices
