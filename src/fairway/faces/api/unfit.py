"""Whether a job could ever run here: asked with the same functions that decide, on nodes that are empty."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fairway.decide.explain import never_fits
from fairway.engine.status import NodeStatus
from fairway.model.facts import Facts, NodeSeen
from fairway.model.ids import ExecutorId, NodeId
from fairway.model.job import Job
from fairway.model.node import Node
from fairway.model.offer import Pool
from fairway.model.reasons import NeverFits
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
        self._built: tuple[object, Snapshot] | None = None

    def never(self, job: Job, nodes: Iterable[NodeStatus], pools: Iterable[Pool] = ()) -> NeverFits | None:
        """Why ``job`` could not start even if everything were empty and every pool full; None when it could, and while
        no node and no pool is known: then nothing can be said."""
        known, declared = list(nodes), [pool for pool in pools if pool.max_nodes]
        if not known and not declared:
            return None
        key = tuple((node.id, node.total, node.gpu_type, len(node.devices_free)) for node in known), tuple(declared)
        if self._built is None or self._built[0] != key:
            state = ClusterState()
            empty = [*map(_node, known), *(node for pool in declared for node in _imagined(pool))]
            apply(state, Facts(Instant(0), tuple(map(NodeSeen, empty))))
            self._built = key, snapshot(state)
        return never_fits(self._built[1], shape_of(job))


def _node(status: NodeStatus) -> Node:
    cpu, memory, disk, network = status.total
    return Node(
        id=status.id,
        executor=status.executor,
        cpu_milli=cpu,
        memory_mib=memory,
        disk_mib=disk,
        network_mbps=network,
        gpus=len(status.devices_free),
        gpu_type=status.gpu_type,
        gpu_memory_mib=status.gpu_memory_mib,
    )


def _imagined(pool: Pool) -> Iterator[Node]:
    for index in range(min(pool.max_nodes, MOST_OF_A_POOL)):
        yield replace(pool.shape, id=NodeId(f"{pool.id}-to-come-{index}"), executor=ExecutorId("none"))
