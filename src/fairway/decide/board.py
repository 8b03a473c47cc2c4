"""Costs that follow the change: every class of work keeps its row of costs, and only changed nodes are scored again."""

from dataclasses import dataclass

import numpy as np

from fairway.decide.packing import Need, Nodes, Score
from fairway.state.columns import Floats, Ints


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a task would go: the node's row, the device it would share (-1: none), and what the score says."""

    row: int
    device: int
    cost: float


@dataclass(slots=True)
class _Line:
    """Costs and picks (N,) of one need, right up to change number ``seen``."""

    costs: Floats
    picks: Ints
    seen: int


class Board:
    """The cheapest node for each need on nodes that change one at a time.

    ``nodes`` are columns that the caller goes on writing, saying so with ``changed``; the score must depend on nothing
    else. Of more than ``keep`` needs, those asked for least recently are forgotten.
    """

    def __init__(self, nodes: Nodes, score: Score, keep: int = 512) -> None:
        self._nodes = nodes
        self._score = score
        self._keep = keep
        self._lines: dict[Need, _Line] = {}
        self._changes: list[int] = []
        self._forgotten = 0
        """Changes dropped from the front of the list: a line that has not seen them is scored anew."""

    def changed(self, row: int) -> None:
        """A node's free capacity is no longer what it was."""
        self._changes.append(row)
        if len(self._changes) > 2 * len(self._nodes.gpus) + 64:
            half = len(self._changes) // 2
            del self._changes[:half]
            self._forgotten += half

    def best(self, need: Need) -> Choice | None:
        """The cheapest node, the first among equals; None when the task fits nowhere."""
        line = self._lines.pop(need, None)
        now = self._forgotten + len(self._changes)
        if line is None or line.seen < self._forgotten:
            line = _Line(*self._score(self._nodes, np.arange(len(self._nodes.gpus)), need), now)
        elif line.seen < now:
            rows = np.unique(np.array(self._changes[line.seen - self._forgotten :], np.int64))
            line.costs[rows], line.picks[rows] = self._score(self._nodes, rows, need)
            line.seen = now
        self._lines[need] = line
        if len(self._lines) > self._keep:
            del self._lines[next(iter(self._lines))]
        row = int(line.costs.argmin())
        cost = float(line.costs[row])
        return Choice(row, int(line.picks[row]), cost) if cost < np.inf else None
