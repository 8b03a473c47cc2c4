"""Worlds small enough to read, with one executor on two nodes.

``SmallWorld`` does what it is told and answers in the next batch. ``Unruly`` loses and repeats commands and answers, by
a seed, and an inventory now and then puts it right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from fairway.engine.commands import Command, ForgetAttempt, StartAttempt, StopAttempt, WakeAt
from fairway.engine.loop import Loop
from fairway.engine.memory_journal import MemoryJournal
from fairway.engine.ports import View
from fairway.model import facts as f
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import Job, Priority, PriorityClass, Retry, Role
from fairway.model.node import Node
from fairway.model.phases import Cause
from fairway.model.plan import Plan
from fairway.model.policy import Policy
from fairway.model.resources import Request
from fairway.model.time import Duration, Instant
from fairway.state.cluster import ClusterState

LOCAL = ExecutorId("local")
NODES = tuple(Node(NodeId(f"n{i}"), LOCAL, 8_000, 32_000, gpus=2, gpu_type="H100", virtual=i == 1) for i in range(2))

ENDS = (f.Outcome(Cause.SUCCEEDED, 0), f.Outcome(Cause.FAILED, 1), f.Outcome(Cause.FAILED, 75))


def job(name: str, **kwargs: object) -> Job:
    """A job of 2 CPUs unless told otherwise."""
    given = {"queue": QueueId("team"), "roles": (Role(request=Request(cpu_milli=2_000)),)} | kwargs
    return Job(JobId(name), name, **given)  # type: ignore[arg-type]


@dataclass
class Run:
    """An attempt inside the executor."""

    started: Instant
    ended: Instant | None = None
    outcome: f.Outcome | None = None


@dataclass
class SmallWorld:
    """Meets ``engine.ports.World``. ``script`` is a list of (instant, facts)."""

    script: list[tuple[int, tuple[f.Fact, ...]]] = field(default_factory=list)
    now: int = 1_000
    seq: int = 0
    runs: dict[AttemptId, Run] = field(default_factory=dict)
    answers: list[f.Fact] = field(default_factory=list)
    sent: list[tuple[int, Command]] = field(default_factory=list)
    wakes: list[int] = field(default_factory=list)
    accepts: bool = True

    def facts(self) -> Iterator[f.Facts]:
        """Batches in order of time: answers one millisecond after their question."""
        while True:
            due = [at for at, _ in self.script] + self.wakes + ([self.now + 1] if self.answers else [])
            if not due:
                return
            self.now = max(self.now, min(due))
            items = [fact for at, some in self.script if at <= self.now for fact in some]
            self.script = [entry for entry in self.script if entry[0] > self.now]
            self.wakes = [at for at in self.wakes if at > self.now]
            items += self.answers
            self.answers = []
            yield f.Facts(Instant(self.now), tuple(items))

    def accept(self, plan: Plan) -> Plan:
        return plan if self.accepts else Plan()

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self.sent.append((self.now, command))
            self.take(command)

    def take(self, command: Command) -> None:
        """What the executor does with a command."""
        match command:
            case WakeAt(at):
                self.wakes.append(at)
            case StartAttempt(_, attempt):
                if attempt not in self.runs:
                    self.runs[attempt] = Run(Instant(self.now))
                    self.answers.append(f.AttemptStarted(attempt, LOCAL, self.next_seq(), Instant(self.now)))
            case StopAttempt(_, attempt):
                self.end(attempt, f.Outcome(Cause.FAILED, signal=15))
            case ForgetAttempt(_, attempt):
                self.runs.pop(attempt, None)

    def end(self, attempt: AttemptId, outcome: f.Outcome) -> None:
        """An attempt ends, or is said again to have ended."""
        run = self.runs.setdefault(attempt, Run(Instant(self.now)))
        if run.outcome is None:
            run.ended, run.outcome = Instant(self.now), outcome
        self.answers.append(f.AttemptEnded(attempt, LOCAL, self.next_seq(), run.ended or Instant(0), run.outcome))

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def inventory(self) -> f.Inventory:
        """Everything there is."""
        seen = tuple(f.Observed(a, run.started, run.ended, run.outcome) for a, run in self.runs.items())
        return f.Inventory(LOCAL, self.next_seq(), NODES, seen)

    def of(self, kind: type[Command]) -> list[Command]:
        """Commands of one kind that were sent."""
        return [command for _, command in self.sent if isinstance(command, kind)]


@dataclass
class Unruly(SmallWorld):
    """Loses commands and answers, repeats them, ends attempts at random, and sends more of everything for a while."""

    random: Random = field(default_factory=lambda: Random(0))
    rounds: int = 60

    def facts(self) -> Iterator[f.Facts]:
        for _ in range(self.rounds):
            self.now += self.random.choice((0, 1, 50, 3_000, 20_000))
            yield f.Facts(Instant(self.now), tuple(self._happening()))

    def _happening(self) -> list[f.Fact]:
        pick = self.random
        items: list[f.Fact] = [answer for answer in self.answers for _ in range(pick.choice((0, 1, 1, 1, 2)))]
        self.answers = []
        for attempt, run in self.runs.items():
            if run.outcome is None and pick.random() < 0.2:
                self.end(
                    attempt, f.Outcome(*pick.choice(((Cause.SUCCEEDED, 0), (Cause.FAILED, 1), (Cause.FAILED, 75))))
                )
        if pick.random() < 0.4:
            items += [self._submission(pick) for _ in range(pick.randrange(1, 5))]
        if pick.random() < 0.1 and self.runs:
            items.append(f.CancelAsked(pick.choice(list(self.runs)).job, "test"))
        if pick.random() < 0.15:
            items.append(self.inventory())
        if pick.random() < 0.05:
            items.append(f.NodeGone(pick.choice(NODES).id))
        if pick.random() < 0.1:
            items.append(f.NodeCordoned(pick.choice(NODES).id, pick.random() < 0.5))
        return items

    def _submission(self, pick: Random) -> f.JobSubmitted:
        number = self.next_seq()
        request = Request(pick.choice((500, 2_000, 6_000)), 100, pick.choice((0, 0, 1, 2)))
        return f.JobSubmitted(
            job(
                f"job-{number}",
                queue=QueueId(pick.choice(("a", "a/b", "c"))),
                roles=(Role(request=request, count=pick.choice((1, 1, 3))),),
                priority=Priority(pick.choice(tuple(PriorityClass))),
                retry=Retry(limit=2, backoff=Duration(2_000)),
                max_runtime=pick.choice((None, Duration(5_000))),
                not_before=pick.choice((None, None, Instant(self.now + 10_000))),
                submitted=Instant(self.now),
            )
        )

    def take(self, command: Command) -> None:
        if self.random.random() < 0.8 or isinstance(command, WakeAt):
            super().take(command)


def looped(world: SmallWorld, views: Sequence[View] = (), *, journal: MemoryJournal | None = None) -> Loop:
    """A loop on a world of its own, not yet run."""
    return Loop(ClusterState(), world, journal or MemoryJournal(encoded=True), Policy(), views)
