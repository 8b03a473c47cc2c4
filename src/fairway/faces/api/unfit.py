"""Whether a job could ever run here, and whether it looks like a mistake: asked with the same functions that decide, on
nodes that are empty."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fairway.decide.explain import never_fits
from fairway.decide.suspect import suspicions
from fairway.engine.status import NodeStatus
from fairway.model.admission import Admission
from fairway.model.facts import Facts, NodeSeen
from fairway.model.ids import ExecutorId, NodeId
from fairway.model.job import Job
from fairway.model.node import Node
from fairway.model.offer import Pool
from fairway.model.reasons import NeverFits, Suspicious
from fairway.model.time import Instant
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.groups import shape_of
from fairway.state.snapshot import Snapshot, snapshot

MOST_OF_A_POOL = 1_000
"""Nodes of one pool that are imagined: enough to tell one node from many."""


class Fitting:
    """Answers for one set of nodes; built anew only when nodes come, go or change size."""

    def __init__(self) -> None:
        self._built: tuple[object, Snapshot, tuple[Node, ...]] | None = None

    def never(self, job: Job, nodes: Iterable[NodeStatus], pools: Iterable[Pool] = ()) -> NeverFits | None:
        """Why ``job`` could not start even if everything were empty and every pool full; None when it could, and while
        no node and no pool is known: then nothing can be said."""
        built = self._on(nodes, pools)
        return never_fits(built[1], shape_of(job)) if built[2] else None

    def odd(self, job: Job, nodes: Iterable[NodeStatus], pools: Iterable[Pool], limits: Admission) -> list[Suspicious]:
        """What about ``job`` looks like a mistake, seen beside every sort of node there is."""
        return suspicions(job, self._on(nodes, pools)[2], limits)

    def _on(self, nodes: Iterable[NodeStatus], pools: Iterable[Pool]) -> tuple[object, Snapshot, tuple[Node, ...]]:
        known, declared = [node.spec for node in nodes], [pool for pool in pools if pool.max_nodes]
        key = tuple(known), tuple(declared)
        if self._built is None or self._built[0] != key:
            state = ClusterState()
            empty = [*known, *(node for pool in declared for node in _imagined(pool))]
            apply(state, Facts(Instant(0), tuple(map(NodeSeen, empty))))
            sorts = {(node.flat, node.gpus, node.gpu_type, node.virtual): node for node in empty}
            self._built = key, snapshot(state), tuple(sorts.values())
        return self._built


def _imagined(pool: Pool) -> Iterator[Node]:
    for index in range(min(pool.max_nodes, MOST_OF_A_POOL)):
        yield replace(pool.shape, id=NodeId(f"{pool.id}-to-come-{index}"), executor=ExecutorId("none"))
