"""Copies of the nodes' columns for trials, kept from one trial to the next: only rows that differ are copied again.

The state lends its copy to a trial. The trial gives it back with the rows that it has written, and ``NodeTable`` notes
those that the state has written meanwhile; both together are what the next trial has to copy. A copy that is not given
back, because a trial goes on or has come to grief, is never lent again.
"""

from typing import Any

import numpy as np

from fairway.state.columns import Ints
from fairway.state.tables import NodeTable

FEW = 32
"""Rows up to which they are copied one by one."""


class Copy:
    """``free`` (N, 4), ``device_free`` (N, D), ``idle``, ``share_max`` and ``gpu_free`` (N,), as in ``NodeTable``."""

    def __init__(self, nodes: NodeTable) -> None:
        height = nodes.height
        self.free: Ints = nodes.free[:height].copy()
        self.device_free: Ints = nodes.device_free[:height].copy()
        self.idle: Ints = nodes.idle[:height].copy()
        self.share_max: Ints = nodes.share_max[:height].copy()
        self.gpu_free: Ints = nodes.gpu_free[:height].copy()
        self.changes: list[int] = []
        """Every row that was written, in that order: who keeps something by row looks again at those only."""
        self.known: dict[Any, Any] = {}
        """What decisions keep by row, right up to some place in ``changes``."""
        self._made_for = _layout(nodes)

    def suits(self, nodes: NodeTable) -> bool:
        """Whether the table still has the same nodes, in the same rows."""
        return self._made_for == _layout(nodes)

    def refresh(self, nodes: NodeTable) -> None:
        """Take over every row that was written since the copy was lent."""
        rows: Any = sorted(nodes.written)
        columns = (
            (self.free, nodes.free), (self.device_free, nodes.device_free), (self.idle, nodes.idle),
            (self.share_max, nodes.share_max), (self.gpu_free, nodes.gpu_free),
        )  # fmt: skip
        for at in rows if len(rows) <= FEW else [np.array(rows, np.int64)]:
            for mine, theirs in columns:
                mine[at] = theirs[at]
        if len(self.changes) > 4 * len(self.idle):
            self.changes.clear()
            self.known.clear()
        self.changes += rows


def lend(nodes: NodeTable) -> Copy:
    """A copy of the columns as they are, for one trial to write."""
    copy, nodes.spare = nodes.spare, None
    if isinstance(copy, Copy) and copy.suits(nodes):
        copy.refresh(nodes)
    else:
        copy = Copy(nodes)
    nodes.written.clear()
    nodes.lent = copy
    return copy


def give_back(nodes: NodeTable, copy: Copy, since: int) -> None:
    """A trial is over that has written the rows in ``changes`` from ``since`` on, and no others."""
    if nodes.lent is copy:
        nodes.written.update(copy.changes[since:])
        nodes.spare, nodes.lent = copy, None


def _layout(nodes: NodeTable) -> tuple[int, int, int]:
    return nodes.height, nodes.device_free.shape[1], nodes.version
