"""Getting the kernel ready: it is compiled once per machine and version, and loaded once per process."""

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
