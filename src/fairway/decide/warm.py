"""Getting the kernel ready: it is compiled once per machine and version, and loaded once per process."""

import threading

from fairway.decide import walk_fast
from fairway.decide.line import Line
from fairway.model.facts import Facts, JobSubmitted, NodeSeen
from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.job import Job, Role
from fairway.model.node import Node
from fairway.model.policy import Policy
from fairway.model.resources import Request
from fairway.model.time import Instant
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.snapshot import Trial, snapshot

LARGE = 64
"""Nodes from which on the kernel is worth its memory."""


def warm() -> None:
    """Walk a line of one job with the kernel, which compiles or loads it. Takes one to thirty seconds."""
    state = ClusterState()
    job = Job(JobId("warm"), "warm", QueueId("warm"), (Role(request=Request(1_000, 1, 1)),))
    node = Node(NodeId("warm"), cpu_milli=1_000, memory_mib=1, gpus=1)
    apply(state, Facts(Instant(0), (NodeSeen(node), JobSubmitted(job))))
    snap = snapshot(state)
    line = Line(snap, Trial(snap), Policy())
    list(line.walk_fast())
    walk_fast.ready = True


class WarmUp:
    """A view of the loop that has the kernel made ready in the background as soon as a cluster is large enough to need
    it. Decisions made meanwhile are the same, and slower."""

    def __init__(self, nodes: int = LARGE) -> None:
        self._nodes = nodes
        self.thread: threading.Thread | None = None

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        """Start to warm up, once."""
        if self.thread is None and state.nodes.height >= self._nodes:
            self.thread = threading.Thread(target=warm, name="warm-up", daemon=True)
            self.thread.start()
