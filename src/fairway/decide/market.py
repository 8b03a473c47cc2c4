"""Discounts at which typical work fills an empty fleet and no group of it is used more often than there is of it.

The worth of the fleet is a smooth convex function of the values of tasks, and how often each is used is its slope
(``kernels.used``). So the market clears at the discounts, of 0 and more, where demand . discounts + worth(values -
discounts) is least: a small bounded convex problem, solved by damped Newton steps (Levenberg, 1944; Marquardt, 1963).
"""

import numpy as np

from fairway.state.columns import Bools, Floats, Ints

ROUNDS = 200
"""Steps at most; 10 to 30 are usual."""
TOLERANCE = 1e-3
"""How far from demand the use may be, as a part of it."""


class Market:
    """Groups of tasks, and the fleet that they fill.

    ``values``, ``gpus`` and ``demand`` (G,): milli-GPUs and devices of a task, and how many tasks there are. ``sizes``
    (G, T): levels of a device that a task takes, 0 where it may not run. ``nodes`` (T, most + 1): how many of each
    kind have k devices.
    """

    def __init__(self, values: Floats, gpus: Ints, sizes: Ints, demand: Floats, nodes: Ints, heat: float) -> None:
        self.values, self.gpus, self.sizes = values, gpus, sizes
        self.demand, self.nodes, self.heat = demand, nodes, heat

    def at(self, discounts: Floats) -> tuple[float, Floats]:
        """(height, use (G,)): what is to be least, and how many tasks of each group the fleet then holds."""
        from fairway.decide import kernels

        use = np.empty(len(discounts))
        worth = kernels.used(self.values - discounts, self.gpus, self.sizes, self.nodes, self.heat, use)
        return worth + float(self.demand @ discounts), use

    def cleared(self, discounts: Floats, use: Floats) -> bool:
        """Whether no group is used more than there is of it, and less only where its discount is 0."""
        excess = use / self.demand - 1
        return bool((np.where(discounts > 0, np.abs(excess), excess) <= TOLERANCE).all())

    def clear(self) -> tuple[Floats, Floats]:
        """(discounts, use), both (G,)."""
        discounts, damping = np.zeros(len(self.values)), 1.0
        height, use = self.at(discounts)
        for _ in range(ROUNDS):
            if self.cleared(discounts, use):
                break
            slope = self.demand - use
            moves = (discounts > 0) | (slope < 0)
            curvature, brake = self._curvature(discounts, use, moves), self._brake(use)[moves]
            while True:
                step = np.zeros(len(discounts))
                step[moves] = np.linalg.solve(curvature + np.diag(damping * brake), -slope[moves])
                following = np.maximum(0.0, discounts + step)
                lower, next_use = self.at(following)
                downhill = min(float(slope @ (following - discounts)), 0.0)
                if not lower > height + 1e-4 * downhill + 1e-13 * abs(height):
                    break
                damping *= 4
            discounts, height, use, damping = following, lower, next_use, damping / 8
        return discounts, use

    def _brake(self, use: Floats) -> Floats:
        """(G,) a curvature that keeps a step to about one heat per device: far from the answer there is hardly any."""
        reach = self.heat * self.gpus * self.sizes.max(axis=1) / self.sizes.max()
        return np.maximum(self.demand, use) / reach

    def _curvature(self, discounts: Floats, use: Floats, moves: Bools) -> Floats:
        """The second derivative among the discounts that move, from differences of use."""
        free, nudge = np.flatnonzero(moves), self.heat / 1000
        curvature = np.empty((len(free), len(free)))
        for column, group in enumerate(free.tolist()):
            nudged = discounts.copy()
            nudged[group] += nudge
            curvature[:, column] = (use - self.at(nudged)[1])[free] / nudge
        return (curvature + curvature.T) / 2
