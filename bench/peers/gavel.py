"""Gavel (Narayanan et al., OSDI'20) and least attained service, as functions from a round to its jobs' types.

The paper's policies are linear programs over time shares (section 4.1: max-min fairness of normalised throughput;
4.2: makespan); its mechanism (section 5, algorithm 1) then picks, round by round, the job and type with the highest
share per time received, until no more fit. Shares are computed anew when a job comes or goes, and what a job is still
owed then is carried over. The LPs are solved by ``fairway.decide.typemarket.share``, which is within 0.1 % of their
optimum. Without space sharing. A job that keeps its type from one round to the next does not restart.
"""

from collections.abc import Callable

import numpy as np

from fairway.decide.hetero import WAITS, Fleet, equal_part
from fairway.decide.typemarket import share
from fairway.state.columns import Floats, Ints

Goal = Callable[[Fleet, Floats], tuple[Floats, Floats]]
"""(fleet, work left (J,)) to (speed (J, T), goal (J,)) of the linear program."""


def max_min(fleet: Fleet, left: Floats) -> tuple[Floats, Floats]:
    """Heterogeneity-aware least attained service: throughput over that of an equal part of every type."""
    return fleet.speed, equal_part(fleet)


def makespan(fleet: Fleet, left: Floats) -> tuple[Floats, Floats]:
    """All jobs end at the same, earliest time."""
    return fleet.speed, left


def blind(fleet: Fleet, left: Floats) -> tuple[Floats, Floats]:
    """Least attained service that takes one type for as good as another: device time is what counts."""
    speed = (fleet.speed > 0).astype(np.float64)
    return speed, 1.0 / fleet.gang


class Mechanism:
    """Rounds that follow the shares of a policy."""

    def __init__(self, goal: Goal, types: int) -> None:
        self.goal = goal
        self.ids: Ints = np.zeros(0, np.int64)
        self.time: Floats = np.zeros((0, types))
        self.got: Floats = np.zeros((0, types))
        self.rounds = 0

    def pick(self, ids: Ints, fleet: Fleet, left: Floats) -> Ints:
        """(J,) types for a round. ``ids`` (J,) names the jobs from one round to the next."""
        if not np.array_equal(ids, self.ids):
            self._recompute(ids, fleet, left)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            owed = np.where(self.got > 0, self.time * max(1, self.rounds) / self.got, np.inf)
        priority = np.where(self.time > 1e-6, owed, 0.0)
        types = _by_priority(fleet, priority, self.time)
        self.rounds += 1
        self.got[np.arange(len(ids)), types] += types != WAITS
        return types

    def _recompute(self, ids: Ints, fleet: Fleet, left: Floats) -> None:
        owed = {int(job): self.time[row] * self.rounds - self.got[row] for row, job in enumerate(self.ids)}
        none = np.zeros(len(fleet.count))
        speed, goal = self.goal(fleet, left)
        self.ids, self.rounds = ids.copy(), 0
        self.time = share(speed, fleet.gang, fleet.count, goal).time
        self.got = -np.array([owed.get(int(job), none) for job in ids])


def _by_priority(fleet: Fleet, priority: Floats, time: Floats) -> Ints:
    """Algorithm 1: pairs of job and type from the highest priority down, each job once, while devices last.

    Equal priorities, as in the first round, go by the share itself.
    """
    types = np.full(len(fleet.gang), WAITS, np.int64)
    free = fleet.count.copy()
    rows, kinds = np.nonzero(priority > 0)
    for at in np.lexsort((-time[rows, kinds], -priority[rows, kinds])).tolist():
        row, kind = int(rows[at]), int(kinds[at])
        if types[row] == WAITS and free[kind] >= fleet.gang[row]:
            types[row] = kind
            free[kind] -= fleet.gang[row]
    return types
