"""A cluster that anything may happen to: the moves of the stateful tests, sensible or not.

People submit, cancel and change limits; nodes come, go, shrink and are cordoned; executors tell the truth, repeat it,
tell it late, or lie. After every move one decision is made, and ``Rehearsal.problems`` must be empty before and after.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fairway.decide.admit import validate
from fairway.decide.policy import Policy
from fairway.model import facts as f
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId, ServiceId
from fairway.model.job import Job, Priority, PriorityClass, Retry, Role
from fairway.model.node import Node
from fairway.model.phases import Cause, JobPhase
from fairway.model.queue import Queue
from fairway.model.resources import Accelerator, Amount, Request
from fairway.model.service import Service
from fairway.model.time import Duration, Instant
from fairway.testing.builders import Rehearsal, same

EXECUTORS = (ExecutorId("e1"), ExecutorId("e2"))
NODES = tuple(f"n{i}" for i in range(1, 6))
QUEUES = ("", "a", "a/b", "a/c", "d")
TYPES = ("X", "Y")

PLAIN_REQUESTS = (
    Request(cpu_milli=1000),
    Request(cpu_milli=4000, memory_mib=2000),
    Request(gpus=1),
    Request(gpus=1, cpu_milli=1000, accelerators=(Accelerator("X", 2.0), Accelerator("Y"))),
    Request(gpus=1, accelerators=(Accelerator("Y"),)),
    Request(gpus=2, cpu_milli=2000),
    Request(gpus=4, memory_mib=1000),
    Request(gpus=1, gpu_milli=300),
    Request(gpus=1, gpu_milli=700, cpu_milli=500),
    Request(gpus=1, gpu_memory_mib=500),
    Request(disk_mib=100),
    Request(),
)
REQUESTS = st.sampled_from(PLAIN_REQUESTS)
ROLES = st.one_of(
    REQUESTS.map(lambda r: (Role(request=r),)),
    REQUESTS.map(lambda r: (Role(request=r),)),
    st.builds(lambda r, n: (Role("w", n, r),), REQUESTS, st.integers(2, 4)),
    st.builds(lambda r, n, m: (Role("w", n, r, min(m, n)),), REQUESTS, st.integers(2, 4), st.integers(1, 3)),
    st.builds(lambda a, b, n: (Role("head", 1, a), Role("w", n, b)), REQUESTS, REQUESTS, st.integers(1, 3)),
)
AMOUNTS = st.builds(
    Amount,
    cpu_milli=st.none() | st.sampled_from((0, 2000, 8000)),
    memory_mib=st.none() | st.sampled_from((0, 3000)),
    gpu_milli=st.none() | st.sampled_from((0, 1000, 2500, 4000)),
)
SMALL_INSTANTS = st.integers(-10, 100_000)
OUTCOMES = st.builds(
    f.Outcome,
    st.sampled_from(tuple(Cause)),
    st.none() | st.sampled_from((0, 1, 75)),
    st.none() | st.sampled_from((9, 15)),
)


def node(name: str, shape: int, executor: ExecutorId) -> Node:
    """One of a few nodes: with and without GPUs, of two types, with more devices than most."""
    gpus, kind, memory, cpu = (
        (0, "", 0, 8000),
        (2, "X", 1000, 8000),
        (4, "X", 1000, 4000),
        (4, "Y", 0, 8000),
        (11, "Y", 3000, 16000),
    )[shape]
    return Node(NodeId(name), executor, cpu, 8000, 500, 0, gpus, kind, memory)


class Anything(RuleBasedStateMachine):
    """Every move is a batch of facts; ``_turn`` proves what must hold."""

    deciding = True

    def __init__(self) -> None:
        super().__init__()
        self.it = Rehearsal(Policy(cores_per_gpu=4))
        self.seq = dict.fromkeys(EXECUTORS, 0)
        self.said: list[f.Fact] = []
        self.submitted = 0

    @initialize(shapes=st.lists(st.integers(0, 4), min_size=1, max_size=4), split=st.booleans())
    def begin(self, shapes, split):
        """Some nodes, of one executor or two."""
        for index, shape in enumerate(shapes):
            self.it.tell(f.NodeSeen(node(NODES[index], shape, EXECUTORS[index % 2 if split else 0])))

    # What the world says

    def say(self, *items: f.Fact, after: int = 0) -> None:
        """Tell the state, prove it sound, decide once and prove it again."""
        for item in items:
            if isinstance(item, f.AttemptStarted | f.AttemptEnded | f.Progressed | f.Inventory | f.JobSubmitted):
                self.said.append(item)
        self.it.tell(*items, after=after)
        self.it.prove()
        self.it.decide()
        self.it.prove()

    def next_seq(self, executor: ExecutorId) -> int:
        self.seq[executor] += 1
        return self.seq[executor]

    def live(self) -> list[JobId]:
        jobs = self.it.state.jobs
        return [jobs.id_of(row) for row in jobs.rows() if jobs.phase_of(row).live]

    def owner(self, job: JobId) -> ExecutorId:
        jobs, nodes = self.it.state.jobs, self.it.state.nodes
        return nodes.node(nodes.row_of[jobs.placement[jobs.row_of[job]][0].node]).executor

    # People

    @rule(
        roles=ROLES,
        queue=st.sampled_from(QUEUES),
        cls=st.sampled_from(tuple(PriorityClass)),
        number=st.integers(0, 1),
        copies=st.integers(1, 3),
        wait=st.none() | st.integers(0, 30_000),
        deadline=st.none() | st.integers(40_000, 90_000),
        limit=st.none() | st.integers(1, 30_000),
        retry=st.builds(Retry, st.integers(0, 2), st.sampled_from((0, 5000)).map(Duration)),
    )
    def submit(self, roles, queue, cls, number, copies, wait, deadline, limit, retry):
        jobs: list[f.Fact] = []
        now = self.it.state.now
        for _ in range(copies):
            self.submitted += 1
            job = Job(
                JobId(f"j{self.submitted}"), f"j{self.submitted}", QueueId(queue), roles, Priority(cls, number),
                submitted=now, not_before=None if wait is None else Instant(now + wait),
                deadline=None if deadline is None else Instant(now + deadline), max_runtime=limit, retry=retry,
            )  # fmt: skip
            assert validate(job) == []
            jobs.append(f.JobSubmitted(job))
        self.say(*jobs)

    @rule(which=st.integers(0, 20))
    def cancel(self, which):
        self.say(f.CancelAsked(JobId(f"j{which}")))

    @rule(queue=st.sampled_from(QUEUES), quota=AMOUNTS, borrow=AMOUNTS)
    def set_queue(self, queue, quota, borrow):
        self.say(f.QueueSet(Queue(QueueId(queue), quota=quota, borrow=borrow)))

    @rule(
        name=st.sampled_from("st"),
        replicas=st.integers(0, 3),
        request=REQUESTS,
        cls=st.sampled_from(tuple(PriorityClass)),
    )
    def set_service(self, name, replicas, request, cls):
        self.say(
            f.ServiceSet(Service(ServiceId(name), QueueId("a"), replicas, request=request, priority=Priority(cls)))
        )

    @rule(name=st.sampled_from("stu"))
    def remove_service(self, name):
        self.say(f.ServiceRemoved(ServiceId(name)))

    # Nodes

    @rule(name=st.sampled_from(NODES), shape=st.integers(0, 4), executor=st.sampled_from(EXECUTORS))
    def see_node(self, name, shape, executor):
        self.say(f.NodeSeen(node(name, shape, executor)))

    @rule(name=st.sampled_from((*NODES, "unknown")))
    def lose_node(self, name):
        self.say(f.NodeGone(NodeId(name)))

    @rule(name=st.sampled_from((*NODES, "unknown")), on=st.booleans())
    def cordon(self, name, on):
        self.say(f.NodeCordoned(NodeId(name), on))

    # Executors that tell the truth

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def started(self, data):
        job = data.draw(st.sampled_from(self.live()))
        executor = self.owner(job)
        self.say(f.AttemptStarted(self.it.attempt(job), executor, self.next_seq(executor), self.it.state.now))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), outcome=OUTCOMES)
    def ended(self, data, outcome):
        job = data.draw(st.sampled_from(self.live()))
        executor = self.owner(job)
        self.say(f.AttemptEnded(self.it.attempt(job), executor, self.next_seq(executor), self.it.state.now, outcome))

    @precondition(lambda self: any(self.it.phase(j) is JobPhase.STOPPING for j in self.live()))
    @rule(outcome=OUTCOMES)
    def all_stops_done(self, outcome):
        ends: list[f.Fact] = []
        for job in self.live():
            if self.it.phase(job) is JobPhase.STOPPING:
                executor = self.owner(job)
                seq = self.next_seq(executor)
                ends.append(f.AttemptEnded(self.it.attempt(job), executor, seq, self.it.state.now, outcome))
        self.say(*ends)

    @precondition(lambda self: self.live())
    @rule(
        data=st.data(),
        step=st.none() | st.integers(0, 9),
        total=st.none() | st.integers(0, 9),
        at=st.none() | SMALL_INSTANTS,
    )
    def progressed(self, data, step, total, at):
        job = data.draw(st.sampled_from(self.live()))
        self.say(f.Progressed(self.it.attempt(job), step, total, None if at is None else Instant(at)))

    @rule(executor=st.sampled_from(EXECUTORS), missing=st.integers(0, 3), dark=st.integers(0, 3))
    def inventory(self, executor, missing, dark):
        """All an executor has, but for every ``missing``-th attempt and ``dark``-th node."""
        state = self.it.state
        nodes = [n for n in (state.nodes.node(row) for row in state.nodes.rows()) if n.executor == executor]
        held = [job for job in self.live() if self.owner(job) == executor]
        attempts = [f.Observed(self.it.attempt(job), state.now) for job in held]
        self.say(
            f.Inventory(
                executor,
                self.next_seq(executor),
                tuple(n for i, n in enumerate(nodes) if not dark or i % dark),
                tuple(a for i, a in enumerate(attempts) if not missing or i % missing),
            )
        )

    # Executors that repeat themselves, or lie

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def repeated(self, data):
        fact = data.draw(st.sampled_from(self.said))
        self.it.tell(fact)
        self.it.prove()
        self.it.decide()
        self.it.prove()

    @rule(
        job=st.integers(0, 20),
        n=st.integers(-1, 4),
        executor=st.sampled_from(EXECUTORS),
        seq=st.integers(0, 9),
        at=SMALL_INSTANTS,
        outcome=st.none() | OUTCOMES,
    )
    def lied(self, job, n, executor, seq, at, outcome):
        attempt = AttemptId(JobId(f"j{job}"), n)
        if outcome is None:
            self.say(f.AttemptStarted(attempt, executor, seq, Instant(at)))
        else:
            self.say(f.AttemptEnded(attempt, executor, seq, Instant(at), outcome))

    # Time

    @rule()
    def restart(self):
        """What is told from now on meets a restored state; ``teardown`` compares it with one that never stopped."""
        self.it.restart()

    @rule(after=st.sampled_from((0, 1, 1000, 5000, 20_000, 600_000)))
    def tick(self, after):
        self.say(after=after)

    @rule()
    def back(self):
        """A clock that steps back."""
        self.say(after=-5000)

    def teardown(self) -> None:
        """Decisions come to an end by themselves, with everybody awake who should be; the same facts give the same."""
        self.it.settle()
        self.it.prove()
        assert same(self.it.replayed(), self.it.state)
