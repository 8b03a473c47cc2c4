"""Where nodes stand and what they are called: an index of labels and domains, and which nodes each constraint allows.

Everything here is derived from the nodes' specs and follows their changes: a node that comes or changes costs a step
for each constraint in use, a constraint that is new one pass over columns of codes. ``model.where.permits`` is the
plain twin.
"""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from fairway.model.node import Node, Topology
from fairway.model.phases import Lifecycle
from fairway.model.where import Level, Selector, Where, domain_of, labels_of, permits, tolerated
from fairway.state.columns import Bools, Ints

LEVELS: tuple[Level, ...] = tuple(Level)
LEVEL_CODE: dict[Level, int] = {level: code for code, level in enumerate(LEVELS)}


MOST_MASKS = 512
"""Constraints whose nodes are kept; the oldest is forgotten first, and looked up again when somebody asks."""

MOST_KEPT = 512
"""Things that are kept about the nodes; of more, all are found again."""
Found = TypeVar("Found")


class _Column:
    """One label, or one name of the topology, over all nodes: a code per row, -1 where a node has none."""

    def __init__(self, rows: int) -> None:
        self.codes: Ints = np.full(rows, -1, np.int64)
        self.values: dict[str, int] = {}

    def set(self, row: int, value: str | None) -> None:
        """What a node has now."""
        self.codes[row] = -1 if value is None else self.values.setdefault(value, len(self.values))

    def among(self, values: tuple[str, ...]) -> Bools:
        """(N,) whether each node has one of these."""
        wanted = [self.values[value] for value in values if value in self.values]
        return np.isin(self.codes, np.array(wanted, np.int64))

    def grow(self, rows: int) -> None:
        """Have space for so many nodes."""
        self.codes = np.concatenate([self.codes, np.full(rows - len(self.codes), -1, np.int64)])


class Places:
    """A column per label and per level; rows are those of the node table."""

    def __init__(self) -> None:
        self._rows = 16
        self._labels: dict[str, _Column] = {}
        self._topology: dict[str, _Column] = {name: _Column(16) for name in ("region", "zone", "cluster")}
        self._taints: dict[tuple[str, ...], int] = {}
        self._taint: Ints = np.zeros(16, np.int64)
        self._spot: Bools = np.zeros(16, np.bool_)
        self._allowed: dict[Where, Bools] = {}
        self.domain: Ints = np.zeros((len(LEVELS), 16), np.int64)
        """(levels, N): code of the node's domain at each level."""
        self.names: list[list[str]] = [[] for _ in LEVELS]
        """What people call each domain, by level and code: ``rack r1``, or ``node n1`` where that stands alone."""
        self._known: dict[tuple[str, Topology], tuple[int, ...]] = {}
        """Codes of the domains that all nodes of a place share; -1 at levels where each stands alone."""
        self._codes: list[dict[tuple[str, ...], int]] = [{} for _ in LEVELS]
        self._kept: dict[Any, Any] = {}

    def keep(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What follows from the nodes' specs alone, found once until one comes or changes. Not to be written."""
        if key not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = find()
        return self._kept[key]

    def put(self, row: int, node: Node) -> None:
        """Take over where a node stands, new or changed."""
        self._kept.clear()
        while row >= self._rows:
            self._grow()
        labels = labels_of(node)
        for key in labels.keys() - self._labels.keys():
            self._labels[key] = _Column(self._rows)
        for key, column in self._labels.items():
            column.set(row, labels.get(key))
        for key, column in self._topology.items():
            column.set(row, getattr(node.topology, key))
        self._taint[row] = self._taints.setdefault(node.taints, len(self._taints))
        self._spot[row] = node.lifecycle is Lifecycle.SPOT
        self._stand(row, node)
        for where, allowed in self._allowed.items():
            allowed[row] = permits(where, node)

    def _stand(self, row: int, node: Node) -> None:
        """Which domain of each level a node is in. Nodes of one island, or rack, share all but what each is itself."""
        place = node.executor, node.topology
        known = self._known.get(place)
        for index, level in enumerate(LEVELS):
            if known is None or known[index] < 0:
                key, codes = domain_of(node, level), self._codes[index]
                code = codes.setdefault(key, len(codes))
                if code == len(self.names[index]):
                    self.names[index].append(f"{key[1]} {key[-1]}")
                self.domain[index, row] = code
            else:
                self.domain[index, row] = known[index]
        if known is None:
            own = [domain_of(node, level)[1] == Level.NODE for level in LEVELS]
            here = self.domain[:, row].tolist()
            self._known[place] = tuple(-1 if alone else code for alone, code in zip(own, here, strict=True))

    def allowed(self, where: Where, height: int) -> Bools:
        """(N,) which of the first ``height`` nodes are allowed; kept up to date, so not to be written."""
        site = where.site
        found = self._allowed.get(site)
        if found is None:
            if len(self._allowed) >= MOST_MASKS:
                del self._allowed[next(iter(self._allowed))]
            found = self._allowed[site] = self._match(site)
        return found[:height]

    def domains(self, level: Level, height: int) -> Ints:
        """(N,) the code of each node's domain at a level."""
        return self.domain[LEVEL_CODE[level], :height]

    def domain_name(self, level: Level, code: int) -> str:
        """``rack r1``, or ``node n1`` where that stands alone."""
        return self.names[LEVEL_CODE[level]][code]

    def domain_count(self, level: Level) -> int:
        """How many domains of a level there have ever been."""
        return len(self.names[LEVEL_CODE[level]])

    def _match(self, where: Where) -> Bools:
        fine = np.array([all(tolerated(t, where.tolerates) for t in taints) for taints in self._taints], np.bool_)
        ok = fine[self._taint] if len(fine) else np.ones(self._rows, np.bool_)
        if not where.spot:
            ok = ok & ~self._spot
        for key, names in (("region", where.regions), ("zone", where.zones), ("cluster", where.clusters)):
            if names:
                ok = ok & self._topology[key].among(names)
        for selector in where.labels:
            ok = ok & self._selected(selector)
        return ok

    def _selected(self, selector: Selector) -> Bools:
        column = self._labels.get(selector.key)
        if column is None:
            return np.full(self._rows, selector.without, np.bool_)
        has = column.among(selector.values) if selector.values else column.codes >= 0
        return has != selector.without

    def _grow(self) -> None:
        more = self._rows
        self._rows += more
        for column in (*self._labels.values(), *self._topology.values()):
            column.grow(self._rows)
        self._taint = np.concatenate([self._taint, np.zeros(more, np.int64)])
        self._spot = np.concatenate([self._spot, np.zeros(more, np.bool_)])
        self.domain = np.concatenate([self.domain, np.zeros((len(LEVELS), more), np.int64)], axis=1)
        for where, allowed in self._allowed.items():
            self._allowed[where] = np.concatenate([allowed, np.zeros(more, np.bool_)])
