"""What could be bought, and the pools it would join."""

from dataclasses import dataclass

from fairway.model.ids import PoolId
from fairway.model.money import MicroDollars
from fairway.model.node import Node
from fairway.model.phases import Lifecycle


@dataclass(frozen=True, slots=True)
class Offer:
    """A node one could buy: ``shape`` (its id is a template), price per hour, lifecycle, how many are to be had."""

    provider: str
    shape: Node
    hourly: MicroDollars
    lifecycle: Lifecycle
    available: int | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes of one kind with a least and a most."""

    id: PoolId
    shape: Node
    min_nodes: int = 0
    max_nodes: int = 0
