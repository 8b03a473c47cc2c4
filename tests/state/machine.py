"""The same moves as in ``weather``, drawn by Hypothesis: fewer of them, and shrunk to the least that breaks."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fairway.model import facts as f
from fairway.model.ids import AttemptId, JobId, LoanId, NodeId, QueueId, ServiceId
from fairway.model.job import Priority, Retry, Role
from fairway.model.loan import Lent, Loan
from fairway.model.phases import Cause, JobPhase
from fairway.model.queue import Queue
from fairway.model.resources import Amount
from fairway.model.service import Service
from fairway.model.time import Duration, Instant
from tests.state import weather
from tests.state.weather import CLASSES, EXECUTORS, NODES, QUEUES, Cluster, a_node_of

REQUESTS = st.sampled_from(weather.REQUESTS)
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


class Anything(Cluster, RuleBasedStateMachine):
    """Every move is a batch of facts."""

    @initialize(shapes=st.lists(st.integers(0, 4), min_size=1, max_size=4), split=st.booleans())
    def begin(self, shapes, split):
        """Some nodes, of one executor or two."""
        for index, shape in enumerate(shapes):
            self.it.tell(f.NodeSeen(a_node_of(NODES[index], shape, EXECUTORS[index % 2 if split else 0])))

    # People

    @rule(
        roles=ROLES,
        queue=st.sampled_from(QUEUES),
        cls=st.sampled_from(CLASSES),
        number=st.integers(0, 1),
        copies=st.integers(1, 3),
        wait=st.none() | st.integers(0, 30_000),
        deadline=st.none() | st.integers(40_000, 90_000),
        limit=st.none() | st.integers(1, 30_000),
        retry=st.builds(Retry, st.integers(0, 2), st.sampled_from((0, 5000)).map(Duration)),
    )
    def submit(self, roles, queue, cls, number, copies, wait, deadline, limit, retry):
        now = self.it.state.now
        more = {
            "number": number,
            "not_before": None if wait is None else Instant(now + wait),
            "deadline": None if deadline is None else Instant(now + deadline),
            "max_runtime": limit,
            "retry": retry,
        }
        self.say(*self.jobs(copies, roles, queue, cls, **more))

    @rule(which=st.integers(0, 20))
    def cancel(self, which):
        self.say(f.CancelAsked(JobId(f"j{which}")))

    @rule(queue=st.sampled_from(QUEUES), quota=AMOUNTS, borrow=AMOUNTS, lend=AMOUNTS)
    def set_queue(self, queue, quota, borrow, lend):
        self.say(f.QueueSet(Queue(QueueId(queue), quota=quota, borrow=borrow, lend=lend)))

    @rule(
        name=st.integers(0, 4),
        lender=st.sampled_from(QUEUES),
        borrower=st.sampled_from(QUEUES),
        amount=AMOUNTS,
        begins=st.integers(0, 9000),
        lasts=st.integers(0, 60_000),
    )
    def lend(self, name, lender, borrower, amount, begins, lasts):
        first = self.it.state.now + begins
        part = Lent(QueueId(lender), QueueId(borrower), amount, Instant(first), Instant(first + lasts))
        self.say(f.QuotaLent(Loan(LoanId(f"l{name}"), (part,))))

    @rule(name=st.integers(0, 4))
    def recall(self, name):
        self.say(f.LoanEnded(LoanId(f"l{name}")))

    @rule(
        name=st.sampled_from("st"),
        replicas=st.integers(0, 3),
        request=REQUESTS,
        cls=st.sampled_from(CLASSES),
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
        self.say(f.NodeSeen(a_node_of(name, shape, executor)))

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
        self.say(self.start(data.draw(st.sampled_from(self.live()))))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), outcome=OUTCOMES)
    def ended(self, data, outcome):
        self.say(self.end(data.draw(st.sampled_from(self.live())), outcome))

    @precondition(lambda self: self.live(JobPhase.STOPPING))
    @rule(outcome=OUTCOMES)
    def all_stops_done(self, outcome):
        self.say(*(self.end(job, outcome) for job in self.live(JobPhase.STOPPING)))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), step=st.none() | st.integers(0, 9), at=st.none() | SMALL_INSTANTS)
    def progressed(self, data, step, at):
        job = data.draw(st.sampled_from(self.live()))
        self.say(f.Progressed(self.it.attempt(job), step, 9, None if at is None else Instant(at)))

    @rule(executor=st.sampled_from(EXECUTORS), missing=st.integers(0, 3), dark=st.integers(0, 3))
    def take_stock(self, executor, missing, dark):
        """All an executor has, but for every ``missing``-th attempt and ``dark``-th node."""
        nodes, attempts = self.inventory(executor)
        there = tuple(node for i, node in enumerate(nodes) if not dark or i % dark)
        listed = tuple(attempt for i, attempt in enumerate(attempts) if not missing or i % missing)
        self.say(f.Inventory(executor, self.next_seq(executor), there, listed))

    # Executors that repeat themselves, or lie

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def repeated(self, data):
        self.say(data.draw(st.sampled_from(self.said)))

    @rule(
        attempt=st.builds(AttemptId, st.integers(0, 20).map(lambda i: JobId(f"j{i}")), st.integers(-1, 4)),
        executor=st.sampled_from(EXECUTORS),
        seq=st.integers(0, 9),
        at=SMALL_INSTANTS.map(Instant),
        outcome=st.none() | OUTCOMES,
    )
    def lied(self, attempt, executor, seq, at, outcome):
        if outcome is None:
            self.say(f.AttemptStarted(attempt, executor, seq, at))
        else:
            self.say(f.AttemptEnded(attempt, executor, seq, at, outcome))

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
        self.finish()
