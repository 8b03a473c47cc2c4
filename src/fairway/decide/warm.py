"""Getting the kernels ready: they are compiled once per machine and version, and loaded once per process."""

from fairway.decide import elastic, walk_fast
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
    """Walk a line of two jobs with the kernel, one of which it leaves to others, and size an elastic job: that compiles
    or loads all that decisions use. Takes one to thirty seconds."""
    state = ClusterState()
    role = Role(request=Request(1_000, 1, 1))
    jobs = [Job(JobId(f"warm-{len(roles)}"), "warm", QueueId("warm"), roles) for roles in ((role,), (role, role))]
    node = Node(NodeId("warm"), cpu_milli=1_000, memory_mib=1, gpus=1)
    apply(state, Facts(Instant(0), (NodeSeen(node), *map(JobSubmitted, jobs))))
    snap = snapshot(state)
    trial = Trial(snap)
    for _ in Line(snap, trial, Policy()).walk_fast():
        trial.changes.append(0)
    walk_fast.ready = True
    elastic.LOOPS.load()
