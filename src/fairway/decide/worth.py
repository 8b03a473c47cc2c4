"""What a node's free capacity is still worth: how many milli-GPUs typical work could make of it.

Placing a task costs a node some of that worth, and the best node is the one that loses least. Three things make it up:

1. **A market for devices.** Imagine the fleet empty, and as much typical work as would use up its first resource. Fill
   every device at random with multisets of shares, each in proportion to exp(value / heat), where the value of a share
   is its milli-GPUs less a discount. The discounts are those at which no group of equal shares is used more often than
   there is work. Small shares, which fill the gaps of others, are few: so most of their value is discounted, and a gap
   is worth little. Tasks of several devices fill nodes in the same way.
2. **A device with a share r free** is worth heat x log(sum over the multisets that fit r of exp(value / heat)): a
   smooth maximum of what typical work would bid for it.
3. **CPU and memory** may run out on a node while its GPUs idle. The worth of a node is the least, over a fixed family
   of price vectors, of (its free CPU or memory at that price) + (its devices, filled by work that pays that price): the
   Lagrangian bound on what fits. Where CPU is short, a CPU-heavy task thus costs more than a light one.

The tables depend on the fleet and on the mix of work alone, not on what runs: they are made in milliseconds when either
changes, and read in nanoseconds. Sources: the configuration LP of cutting stock (Gilmore and Gomory, 1961), here with
entropy, which makes its prices unique and smooth; bid prices (Talluri and van Ryzin, 1998); packing by the gradient of
such a potential (Gupta and Radovanovic, "Interior-point-based online stochastic bin packing", 2020). What was tried and
how it measures is in docs/decisions/0010-placement-score.md.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairway.decide.market import Market
from fairway.decide.packing import Need, Nodes, Scored, Work
from fairway.model.errors import InvalidField
from fairway.model.resources import WHOLE
from fairway.state.columns import Floats, Ints

HEAT = 15.0
"""How random fillings are, in milli-GPUs. From 10 to 40 results differ little; towards 0 prices are those of an LP."""
STEPS = 10
"""Prices tried for each flat resource: doubling from 1/64 of its fair price up to 8 times that."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """All nodes when empty.

    ``nodes`` (T, most + 1) is how many of each kind have k devices, ``flat`` (F,) what all of them have together,
    ``beside`` (F,) what those with GPUs have.
    """

    nodes: Ints
    flat: Ints
    beside: Ints

    @property
    def devices(self) -> Ints:
        """(T,) devices of each kind."""
        counts: Ints = self.nodes * np.arange(self.nodes.shape[1], dtype=np.int64)
        return counts.sum(axis=1)

    @property
    def gpu_milli(self) -> float:
        """Milli-GPUs of all devices."""
        return float(self.devices.sum()) * WHOLE


class Worth(NamedTuple):
    """Tables to value nodes by, in milli-GPUs, for every kind of node and every one of L price vectors.

    ``prices`` (L, F) of a unit of each flat resource; ``device`` (T, L, levels + 1), the worth of a device with a level
    free; ``idle`` (T, L, most + 1), the worth of k idle devices.
    """

    prices: Floats
    device: Floats
    idle: Floats


def least_worth(worth: Worth, nodes: Nodes, rows: Ints, need: Need) -> Scored:
    """Fairway's score: milli-GPUs of typical work that the node could no longer take."""
    from fairway.decide import kernels

    return kernels.score_worth(rows, nodes, need.flats, need.gpus, need.millis, worth)


def node_worth(worth: Worth, nodes: Nodes, row: int) -> tuple[float, Floats]:
    """What a node is worth now, in milli-GPUs, and the prices (F,) of its flat resources at which it is."""
    from fairway.decide import kernels

    by_line = np.empty(len(worth.prices))
    kernels.line_worths(row, nodes, worth, by_line)
    line = int(by_line.argmin())
    return float(by_line[line]), worth.prices[line]


def fleet_of(total: Ints, gpus: Ints, kind: Ints, kinds: int) -> Fleet:
    """The sum of nodes: ``total`` (N, F) flat resources, ``gpus`` (N,) devices, a ``kind`` (N,) below ``kinds``."""
    nodes = np.zeros((kinds, int(gpus.max(initial=0)) + 1), np.int64)
    np.add.at(nodes, (kind, gpus), 1)
    return Fleet(nodes, total.sum(axis=0), total[gpus > 0].sum(axis=0))


def worth_of(work: Work, fleet: Fleet, heat: float = HEAT) -> Worth:
    """The tables for this mix of work on this fleet. Raises InvalidField for a heat at which sums would overflow."""
    from fairway.decide import kernels

    if not 5 <= heat <= WHOLE:
        raise InvalidField("policy.heat", f"must be from 5 to {WHOLE} milli-GPUs, not {heat:g}")
    groups, prices = _grouped(work, fleet), _prices(work, fleet)
    kinds, most = len(fleet.nodes), fleet.nodes.shape[1] - 1
    if not len(groups.values):
        lines = len(prices)
        return Worth(prices, np.zeros((kinds, lines, kernels.LEVELS + 1)), np.zeros((kinds, lines, most + 1)))
    levels = np.maximum((groups.milli * kernels.LEVELS + WHOLE // 2) // WHOLE, 1)
    sizes = np.where(groups.milli <= WHOLE, levels, 0)
    demand = groups.share * _amount(work, fleet, groups)
    discounts, _ = Market(groups.values, groups.gpus, sizes, demand, fleet.nodes, heat).clear()
    net = groups.values - discounts
    return Worth(
        prices,
        *kernels.tables(net, groups.gpus, sizes, groups.group, groups.part, groups.flat, prices, heat, most),
    )


@dataclass(frozen=True, slots=True)
class _Groups:
    """Classes that use GPUs, grouped by how they do: they differ in flat needs. Shapes (G,), ``milli`` (G, T).

    Of the classes: ``group`` (M,) where each belongs, ``part`` (M,) of it, ``flat`` (M, F) needs.
    """

    gpus: Ints
    milli: Ints
    values: Floats
    share: Floats
    group: Ints
    part: Floats
    flat: Ints


def _grouped(work: Work, fleet: Fleet) -> _Groups:
    runs = (work.milli <= WHOLE) & (fleet.devices > 0)
    kept = np.flatnonzero((work.gpus > 0) & runs.any(axis=1))
    keys = np.column_stack((work.gpus, work.milli))[kept]
    distinct, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1).astype(np.int64)
    share = np.zeros(len(distinct))
    np.add.at(share, group, work.share[kept])
    gpus, milli = distinct[:, 0].copy(), distinct[:, 1:].copy()
    # A task is worth what it takes where it takes least: a larger share of a smaller device is no gain.
    values = (gpus * milli.min(axis=1, initial=WHOLE)).astype(np.float64)
    return _Groups(gpus, milli, values, share, group, work.share[kept] / share[group], work.flat[kept])


def _amount(work: Work, fleet: Fleet, groups: _Groups) -> float:
    """How many tasks of the mix use up the first resource of the fleet."""
    amount = fleet.gpu_milli / float(groups.share @ groups.values)
    for need, total in zip((work.share @ work.flat).tolist(), fleet.flat.tolist(), strict=True):
        if need > 0:
            amount = min(amount, total / need)
    return amount


def _prices(work: Work, fleet: Fleet) -> Floats:
    """(L, F): nothing has a price, or one flat resource that typical work asks for has one of ``STEPS``.

    Its fair price is the one at which all of it that lies beside GPUs costs as much as these GPUs.
    """
    asked = np.flatnonzero((work.flat > 0).any(axis=0) & (fleet.beside > 0))
    prices = np.zeros((1 + STEPS * len(asked), work.flat.shape[1]))
    for index, resource in enumerate(asked.tolist()):
        fair = fleet.gpu_milli / float(fleet.beside[resource])
        prices[1 + index * STEPS : 1 + (index + 1) * STEPS, resource] = fair / 64 * 2.0 ** np.arange(STEPS)
    return prices
