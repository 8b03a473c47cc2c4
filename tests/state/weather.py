"""A cluster that anything may happen to: people submit, cancel and change limits; nodes come, go, shrink and are
cordoned; executors tell the truth, repeat it, tell it late, or lie.

After every move one decision is made, and ``Rehearsal.problems`` must be empty before and after.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from fairway.model import facts as f
from fairway.model.ids import AttemptId, ExecutorId, JobId, LoanId, NodeId, QueueId, ServiceId
from fairway.model.job import ArrayIndex, Dependency, Job, Priority, PriorityClass, Retry, Role
from fairway.model.loan import Lent, Loan
from fairway.model.node import Node
from fairway.model.phases import Cause, JobPhase
from fairway.model.policy import Defrag, Policy, Preemption
from fairway.model.queue import Queue
from fairway.model.resources import Accelerator, Amount, Request
from fairway.model.service import Service
from fairway.model.time import Duration, Instant
from fairway.testing.builders import Rehearsal, same

EXECUTORS = (ExecutorId("e1"), ExecutorId("e2"))
NODES = tuple(f"n{i}" for i in range(1, 6))
QUEUES = ("", "a", "a/b", "a/c", "d")
CLASSES = tuple(PriorityClass)
CAUSES = tuple(Cause)

REQUESTS = (
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
SHAPES = ((0, "", 0, 8), (2, "X", 1000, 8), (4, "X", 1000, 4), (4, "Y", 0, 8), (11, "Y", 3000, 16))
"""Of nodes: GPUs, type, memory of each, cores. The last has more devices than the columns have to begin with."""


def a_node_of(name: str, shape: int, executor: ExecutorId) -> Node:
    gpus, kind, memory, cores = SHAPES[shape]
    return Node(NodeId(name), executor, cores * 1000, 8000, 500, 0, gpus, kind, memory)


class Cluster:
    """A rehearsal with the executors' numbering of messages, and a memory of what they have said."""

    def __init__(self, policy: Policy | None = None) -> None:
        super().__init__()
        rules = Preemption(protect=Duration(6000), per_job=3, per_hour=12)
        moves = Defrag(Duration(1000), Duration(0), Duration(1000), moves_per_hour=8, consolidate=Duration(9000))
        self.it = Rehearsal(policy or Policy(cores_per_gpu=4, preemption=rules, defrag=moves))
        self.seq = dict.fromkeys(EXECUTORS, 0)
        self.said: list[f.Fact] = []
        self.submitted = 0
        self.arrays = 0
        self.loans = 0

    def say(self, *items: f.Fact, after: int = 0) -> None:
        """Tell the state, prove it sound, decide once and prove it again."""
        for item in items:
            if isinstance(item, f.AttemptStarted | f.AttemptEnded | f.Progressed | f.Inventory | f.JobSubmitted):
                self.said.append(item)
        self.it.tell(*items, after=after)
        self.it.prove()
        if self.it.decide():
            self.it.prove()

    def next_seq(self, executor: ExecutorId) -> int:
        self.seq[executor] += 1
        return self.seq[executor]

    def live(self, phase: JobPhase | None = None) -> list[JobId]:
        """Jobs with a live attempt, all or those in one phase."""
        jobs = self.it.state.jobs
        rows = [row for row in jobs.rows() if jobs.phase_of(row).live]
        return [jobs.id_of(row) for row in rows if phase in (None, jobs.phase_of(row))]

    def owner(self, job: JobId) -> ExecutorId:
        jobs, nodes = self.it.state.jobs, self.it.state.nodes
        return nodes.node(nodes.row_of[jobs.placement[jobs.row_of[job]][0].node]).executor

    def jobs(
        self, copies: int, roles: tuple[Role, ...], queue: str, cls: PriorityClass, **more: object
    ) -> list[f.JobSubmitted]:
        """So many equal jobs, submitted now."""
        facts: list[f.JobSubmitted] = []
        for _ in range(copies):
            self.submitted += 1
            name, now = f"j{self.submitted}", self.it.state.now
            priority = Priority(cls, more.get("number", 0))
            fields = {key: value for key, value in more.items() if key != "number"}
            facts.append(
                f.JobSubmitted(Job(JobId(name), name, QueueId(queue), roles, priority, submitted=now, **fields))
            )
        return facts

    def start(self, job: JobId) -> f.Fact:
        executor = self.owner(job)
        return f.AttemptStarted(self.it.attempt(job), executor, self.next_seq(executor), self.it.state.now)

    def end(self, job: JobId, outcome: f.Outcome) -> f.Fact:
        executor = self.owner(job)
        return f.AttemptEnded(self.it.attempt(job), executor, self.next_seq(executor), self.it.state.now, outcome)

    def inventory(self, executor: ExecutorId) -> tuple[list[Node], list[f.Observed]]:
        """All that an executor has."""
        state = self.it.state
        nodes = [node for node in map(state.nodes.node, state.nodes.rows()) if node.executor == executor]
        held = [job for job in self.live() if self.owner(job) == executor]
        return nodes, [f.Observed(self.it.attempt(job), state.now) for job in held]

    def finish(self) -> None:
        """Decisions come to an end by themselves, with everybody awake who should be; the same facts give the same."""
        self.it.settle()
        self.it.prove()
        assert same(self.it.replayed(), self.it.state)


class Storm(Cluster):
    """Moves drawn from a seed, most of them sensible: clusters fill up, jobs preempt each other, holds meet."""

    def __init__(self, seed: int, policy: Policy | None = None) -> None:
        super().__init__(policy)
        self.rng = Random(seed)
        executors = 1 + (self.rng.random() < 0.3)
        for index in range(self.rng.randint(1, 5)):
            shape = self.rng.randrange(len(SHAPES))
            self.it.tell(f.NodeSeen(a_node_of(NODES[index], shape, EXECUTORS[index % executors])))

    def blow(self, steps: int) -> None:
        """So many moves, and the end. Raises AssertionError with what is broken."""
        moves = (
            (30, self.submit), (12, self.one_starts), (14, self.some_stop), (14, self.one_ends),
            (3, self.one_progresses), (4, self.cancel), (3, self.set_queue), (3, self.see_node), (2, self.lose_node),
            (3, self.cordon), (2, self.set_service), (1, self.repeat), (1, self.restart), (2, self.take_stock),
            (2, self.lie), (4, self.tick),
        )  # fmt: skip
        names, weights = [move for _, move in moves], [weight for weight, _ in moves]
        names, weights = [*names, *self.errands()], [*weights, *[4] * len(self.errands())]
        for _ in range(steps):
            self.rng.choices(names, weights)[0]()
        self.finish()

    def errands(self) -> list[Callable[[], None]]:
        """More moves, for storms of another kind."""
        return []

    def roles(self) -> tuple[Role, ...]:
        rng, request = self.rng, self.rng.choice(REQUESTS)
        kind = rng.choices(("one", "gang", "elastic", "roles"), (50, 20, 18, 12))[0]
        if kind == "one":
            return (Role(request=request),)
        if kind == "gang":
            return (Role("w", rng.randint(2, 4), request),)
        if kind == "elastic":
            count = rng.randint(1, 4)
            return (Role("w", count, request, rng.randint(1, count)),)
        return (Role("head", 1, request), Role("w", rng.randint(1, 3), rng.choice(REQUESTS)))

    def submit(self) -> None:
        rng, now = self.rng, self.it.state.now
        more = {
            "number": rng.randint(0, 1),
            "not_before": Instant(now + rng.randint(0, 9000)) if rng.random() < 0.1 else None,
            "deadline": Instant(now + rng.randint(1, 9000)) if rng.random() < 0.3 else None,
            "max_runtime": Duration(rng.randint(1, 9000)) if rng.random() < 0.2 else None,
            "retry": Retry(rng.randint(0, 2), Duration(rng.choice((0, 3000)))),
        }
        self.say(*self.jobs(rng.randint(1, 3), self.roles(), rng.choice(QUEUES), rng.choice(CLASSES), **more))

    def outcome(self, causes: tuple[Cause, ...] = CAUSES) -> f.Outcome:
        return f.Outcome(self.rng.choice(causes), self.rng.choice((None, 0, 1, 75)), self.rng.choice((None, 15)))

    def one_starts(self) -> None:
        if starting := self.live(JobPhase.STARTING):
            self.say(self.start(self.rng.choice(starting)))

    def some_stop(self) -> None:
        if stopping := self.live(JobPhase.STOPPING):
            those = stopping if self.rng.random() < 0.5 else [self.rng.choice(stopping)]
            self.say(*(self.end(job, self.outcome((Cause.FAILED, Cause.SUCCEEDED))) for job in those))

    def one_ends(self) -> None:
        if live := self.live():
            self.say(self.end(self.rng.choice(live), self.outcome()))

    def one_progresses(self) -> None:
        if live := self.live():
            taken = Instant(self.it.state.now - self.rng.randint(0, 5000))
            self.say(f.Progressed(self.it.attempt(self.rng.choice(live)), self.rng.randint(0, 9), 9, taken))

    def any_job(self) -> JobId:
        return JobId(f"j{self.rng.randint(1, self.submitted + 1)}")

    def cancel(self) -> None:
        self.say(f.CancelAsked(self.any_job()))

    def set_queue(self) -> None:
        rng = self.rng
        quota = Amount(gpu_milli=rng.choice((None, 0, 2000, 4000)), cpu_milli=rng.choice((None, 3000)))
        borrow = Amount(gpu_milli=rng.choice((None, None, 0, 2000)), cpu_milli=rng.choice((None, None, 0)))
        lend = Amount(gpu_milli=Random(self.submitted).choice((None, 0, 1000)))  # the storms of old seeds stay
        self.say(f.QueueSet(Queue(QueueId(rng.choice(QUEUES)), quota=quota, borrow=borrow, lend=lend)))

    def lend(self) -> None:
        rng, now = self.rng, self.it.state.now
        self.loans += 1
        parts: list[Lent] = []
        for _ in range(rng.choice((1, 1, 2))):
            begins = Instant(now + rng.choice((0, 0, 5000)))
            amount = Amount(gpu_milli=rng.choice((1000, 2000)))
            pair = QueueId(rng.choice(QUEUES[1:])), QueueId(rng.choice(QUEUES[1:]))
            parts.append(Lent(*pair, amount, begins, Instant(begins + rng.choice((1000, 20_000)))))
        self.say(f.QuotaLent(Loan(LoanId(f"l{self.loans}"), tuple(parts))))

    def recall(self) -> None:
        self.say(f.LoanEnded(LoanId(f"l{self.rng.randint(1, self.loans + 1)}"), "ada"))

    def see_node(self) -> None:
        rng = self.rng
        executor = rng.choice(EXECUTORS) if rng.random() < 0.2 else EXECUTORS[0]
        self.say(f.NodeSeen(a_node_of(rng.choice(NODES), rng.randrange(len(SHAPES)), executor)))

    def lose_node(self) -> None:
        self.say(f.NodeGone(NodeId(self.rng.choice(NODES))))

    def cordon(self) -> None:
        self.say(f.NodeCordoned(NodeId(self.rng.choice(NODES)), self.rng.random() < 0.4))

    def set_service(self) -> None:
        rng = self.rng
        name, priority = ServiceId(rng.choice("st")), Priority(rng.choice(CLASSES))
        if rng.random() < 0.2:
            self.say(f.ServiceRemoved(name))
        else:
            request = rng.choice(REQUESTS)
            self.say(f.ServiceSet(Service(name, QueueId("a"), rng.randint(0, 3), request=request, priority=priority)))

    def repeat(self) -> None:
        if self.said:
            self.say(self.rng.choice(self.said))

    def restart(self) -> None:
        self.it.restart()

    def take_stock(self) -> None:
        """An inventory that misses some of what is there."""
        executor = self.rng.choice(EXECUTORS)
        nodes, attempts = self.inventory(executor)
        there = tuple(node for node in nodes if self.rng.random() < 0.9)
        listed = tuple(attempt for attempt in attempts if self.rng.random() < 0.8)
        self.say(f.Inventory(executor, self.next_seq(executor), there, listed))

    def lie(self) -> None:
        attempt, executor = AttemptId(self.any_job(), self.rng.randint(0, 3)), self.rng.choice(EXECUTORS)
        at, seq = Instant(self.rng.randint(-10, 100_000)), self.rng.randint(0, 9)
        if self.rng.random() < 0.3:
            self.say(f.AttemptStarted(attempt, executor, seq, at))
        else:
            self.say(f.AttemptEnded(attempt, executor, seq, at, self.outcome((Cause.FAILED, Cause.SUCCEEDED))))

    def tick(self) -> None:
        """Time passes, stands still or steps back."""
        self.say(after=self.rng.choice((-5000, 0, 1, 1000, 5000, 20_000)))


class Errands(Storm):
    """A storm in which jobs come after others, stand in arrays, and are held and released."""

    def errands(self) -> list[Callable[[], None]]:
        return [self.submit_after, self.submit_array, self.hold, self.release]

    def submit_after(self) -> None:
        rng = self.rng
        names = {self.any_job() if rng.random() < 0.8 else JobId(f"a{rng.randint(1, 9)}") for _ in range(3)}
        after = tuple(
            Dependency(name, rng.choice(("succeeded", "ended")), rng.choice(("fail", "wait")))
            for name in sorted(names)
            if rng.random() < 0.7
        )
        more = {"after": after, "checkpoints": rng.random() < 0.7}
        self.say(*self.jobs(rng.randint(1, 2), self.roles(), rng.choice(QUEUES), rng.choice(CLASSES), **more))

    def submit_array(self) -> None:
        rng, self.arrays = self.rng, self.arrays + 1
        stem, size = JobId(f"a{self.arrays}"), rng.randint(1, 4)
        limit = rng.choice((None, 1, 2))
        facts = self.jobs(size, self.roles(), rng.choice(QUEUES), rng.choice(CLASSES), retry=Retry(1, Duration(3000)))
        elements = [replace(fact.job, array=ArrayIndex(stem, i, size, limit)) for i, fact in enumerate(facts)]
        self.say(*map(f.JobSubmitted, elements))

    def hold(self) -> None:
        self.say(f.JobHeld(self.any_job(), "ada"))

    def release(self) -> None:
        self.say(f.JobReleased(self.any_job(), "ada"))
