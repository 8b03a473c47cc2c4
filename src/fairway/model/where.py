"""Where a job may run: which nodes will do, whom it keeps away from, and how close together its tasks must stand.

The domains of a fleet, narrowest first: a node, its NVLink island, rack, block, cluster, zone and region. A node's rack
is known by everything around it, so that rack ``r1`` of one block is not rack ``r1`` of another; where a node does not
say, its next narrower domain stands for it, at last the node itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from fairway.model.node import Node
from fairway.model.phases import Lifecycle


class Level(StrEnum):
    """The domains, narrowest first."""

    NODE = "node"
    ISLAND = "island"
    RACK = "rack"
    BLOCK = "block"
    CLUSTER = "cluster"
    ZONE = "zone"
    REGION = "region"

    @property
    def path(self) -> tuple[str, ...]:
        """The fields of ``Topology`` that name a domain of this level, widest first; none for a node."""
        return () if self is Level.NODE else _FIELDS[: _FIELDS.index(self.value) + 1]


_FIELDS = ("region", "zone", "cluster", "block", "rack", "island")


@dataclass(frozen=True, slots=True)
class Selector:
    """A node's label ``key`` has one of ``values``, or any where none is listed; with ``without`` it must not."""

    key: str
    values: tuple[str, ...] = ()
    without: bool = False

    def __str__(self) -> str:
        values = "|".join(self.values)
        if not values:
            return f"no label {self.key}" if self.without else f"label {self.key}"
        return f"label {self.key}{'!=' if self.without else '='}{values}"


@dataclass(frozen=True, slots=True)
class Apart:
    """Not in one domain of ``level`` with a running job that has label ``key`` = ``value`` (any where empty), or, by
    ``of``, that is of the same array or replica of the same service; ``key`` then names it."""

    of: Literal["label", "array", "service"] = "label"
    key: str = ""
    value: str = ""
    level: Level = Level.NODE

    def __str__(self) -> str:
        who = f"{self.of} {self.key}" if self.of != "label" else f"{self.key}{'=' if self.value else ''}{self.value}"
        return f"a {self.level} apart from {who.strip()}"


@dataclass(frozen=True, slots=True)
class Together:
    """All tasks inside one domain of ``level``, the tightest that holds them; a wider one only if not ``required``."""

    level: Level
    required: bool = True

    def __str__(self) -> str:
        return f"in one {self.level}" if self.required else f"in one {self.level} if it can be"


@dataclass(frozen=True, slots=True)
class Where:
    """What a job asks of the nodes it runs on; one that asks nothing runs on any that is neither tainted nor spot.

    ``regions``, ``zones`` and ``clusters`` list those that will do, empty for any. ``tolerates`` lists taints: ``key``,
    ``key=value``, or ``*`` for every one. Every one of ``labels`` and ``apart`` must hold.
    """

    labels: tuple[Selector, ...] = ()
    regions: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    tolerates: tuple[str, ...] = ()
    spot: bool = False
    apart: tuple[Apart, ...] = ()
    together: Together | None = None

    @property
    def site(self) -> "Where":
        """The part that each node answers for itself, whatever runs: equal ones allow the same nodes."""
        return replace(self, apart=(), together=None) if self.apart or self.together else self

    def without(self) -> Iterator[tuple[str, "Where"]]:
        """(name, the rest) for every single constraint that leaves nodes out: what it would be like without it."""
        for index, selector in enumerate(self.labels):
            yield str(selector), replace(self, labels=self.labels[:index] + self.labels[index + 1 :])
        for name, one in (("regions", "region"), ("zones", "zone"), ("clusters", "cluster")):
            if listed := getattr(self, name):
                yield f"{one} {'|'.join(listed)}", replace(self, **{name: ()})
        if "*" not in self.tolerates:
            yield "the taints that it does not tolerate", replace(self, tolerates=("*",))
        if not self.spot:
            yield "not saying that spot is fine", replace(self, spot=True)

    def __str__(self) -> str:
        parts = [str(each) for each in self.labels]
        parts += [f"{one} {'|'.join(names)}" for one, names in self._listed() if names]
        parts += [f"tolerates {'|'.join(self.tolerates)}"] if self.tolerates else []
        parts += ["spot is fine"] if self.spot else []
        parts += [str(self.together)] if self.together else []
        return ", ".join([*parts, *map(str, self.apart)])

    def _listed(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ("region", self.regions), ("zone", self.zones), ("cluster", self.clusters)


ANYWHERE = Where()
"""Of a job that asks nothing."""


def tolerated(taint: str, tolerates: tuple[str, ...]) -> bool:
    """Whether a taint (``key`` or ``key=value``) is among what a job tolerates."""
    return taint in tolerates or taint.partition("=")[0] in tolerates or "*" in tolerates


def labels_of(node: Node) -> dict[str, str]:
    """What selectors see of a node: its labels, and under ``node``, ``pool``, ``executor``, ``accelerator`` and the
    names of its domains what is known anyway. Its own labels come first."""
    place = node.topology
    known = {name: getattr(place, name) for name in _FIELDS}
    known |= {"node": node.id, "pool": node.pool or "", "executor": node.executor, "accelerator": node.gpu_type}
    return {**{name: value for name, value in known.items() if value}, **dict(node.labels)}


def permits(where: Where, node: Node) -> bool:
    """Whether a node answers for everything that ``where`` asks of it by itself: all but ``apart`` and ``together``."""
    place = node.topology
    if node.lifecycle is Lifecycle.SPOT and not where.spot:
        return False
    if any(not tolerated(taint, where.tolerates) for taint in node.taints):
        return False
    listed = ((where.regions, place.region), (where.zones, place.zone), (where.clusters, place.cluster))
    if any(names and name not in names for names, name in listed):
        return False
    if not where.labels:
        return True
    labels = labels_of(node)
    return all(
        (each.key in labels and (not each.values or labels[each.key] in each.values)) != each.without
        for each in where.labels
    )


def domain_of(node: Node, level: Level) -> tuple[str, ...]:
    """The domain of a node: its executor, as no gang spans two, what sort of domain it is, and its names from the
    widest to that. Where a node does not say, its next narrower domain stands for it, at last the node itself: so wider
    domains are always made of whole narrower ones."""
    names = tuple(getattr(node.topology, name) for name in _FIELDS)
    for index in range(len(level.path) or len(names) + 1, len(names) + 1):
        if names[index - 1]:
            return (node.executor, _FIELDS[index - 1], *names[:index])
    return (node.executor, "node", node.id)
