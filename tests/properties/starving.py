"""2. *Nobody starves.*

Who fits, starts: nobody waits in line whom free room would hold (``promises``). And whoever could run on empty nodes
starts within

    ``after + 2 D (1 + ahead + late)``

of when it came in line, or when something last came from outside: ``after`` is ``backfill.after``, D the longest time
that any job holds room, ``ahead`` how many others have started meanwhile that are ahead of it, and ``late`` how many
were let into kept room and did not leave it as forecast. For what is running when it becomes the first in line ends
within D; whoever passes it before then has it keep room, and that is free within another D, unless somebody there is
late. Who is *behind* it, and so does not count, was submitted later, to the same queue, in the same or a lower class,
with no higher number, no deadline and no guaranteed quota that could put it first, in order of submission (``fifo``
without ageing). Starts of all others count as ahead: higher classes and poorer queues go first by design. With
``backfill.mode: none`` everybody does, and so does everybody where the job waits for a limit of its queue, as no room
could be kept for it.

Tenants: of n sibling queues with weights that add up to W, on C GPUs, with jobs of one GPU, a queue of weight w that
runs nothing and has a job in line starts one within ``D + H x max(0, log2(h C (W - w) / (w (C - n + 1))))``, where H is
the half-life and h the weight of the past (derived in ``tests/decide/test_fairness_bound``); with swarms of short jobs
w counts ``fairness.swarm.least`` times.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import log2

from fairway.decide.order import discipline_of
from fairway.model.ids import JobId, QueueId, ancestry
from fairway.model.job import Job
from fairway.model.plan import Plan, Start
from fairway.model.policy import Policy
from fairway.model.time import Instant
from fairway.state.snapshot import snapshot
from tests.properties.books import Books, Entry, empty, fits
from tests.properties.make import Made

SLACK = 1_000
"""Milliseconds: instants are rounded."""


@dataclass(slots=True)
class Clock:
    """How long one has waited, and for whom."""

    since: Instant
    ahead: int = 0
    late: int = 0


@dataclass(slots=True)
class Waits:
    """Clocks of all who stand in line. ``longest`` is D so far."""

    clocks: dict[JobId, Clock] = field(default_factory=dict[JobId, Clock])
    longest: int = 0
    lent: dict[JobId, Instant] = field(default_factory=dict[JobId, Instant])
    """Who was started while room was kept for others, and until when at most that room was lent."""

    def outside(self) -> None:
        """Something came from outside: everybody's wait begins anew."""
        self.clocks.clear()

    def started(self, books: Books, plan: Plan, policy: Policy) -> None:
        """Count who starts for those that go on waiting. ``books`` are those before the plan was believed."""
        kept = [reserved.expected.p50 for reserved in books.state.reserved.values()]
        used = books.used()
        for action in plan.each():
            if not isinstance(action, Start):
                continue
            other = books.entries[action.attempt.job]
            if kept:
                self.lent[other.id] = min(kept)
            for name, clock in self.clocks.items():
                waits = books.entries[name]
                after = behind(books, waits, other, policy) and books.within_limits(waits.job, used)
                clock.ahead += waits is not other and not after

    def starved(self, books: Books, policy: Policy) -> Iterator[str]:
        """Promise 2, once everything is decided."""
        self._look_for_late(books)
        waiting = {entry.id for entry in books.entries.values() if entry.in_line and not books.spent(entry.job)}
        for name in [name for name in self.clocks if name not in waiting]:
            del self.clocks[name]
        for name in sorted(waiting):
            clock = self.clocks.setdefault(name, Clock(books.now))
            bound = policy.backfill.after + 2 * self.longest * (1 + clock.ahead + clock.late) + SLACK
            if books.now - clock.since > bound and _could_run(books, books.entries[name].job):
                told = f"{clock.ahead} ahead, {clock.late} late, D {self.longest}"
                yield f"2: job {name} has waited {books.now - clock.since} ms, {bound} at most ({told})"
                clock.since = books.now

    def _look_for_late(self, books: Books) -> None:
        for name, until in list(self.lent.items()):
            entry = books.entries.get(name)
            if entry is None or not entry.phase.live:
                del self.lent[name]
            elif books.now > until:
                del self.lent[name]
                for clock in self.clocks.values():
                    clock.late += 1


def behind(books: Books, waits: Entry, other: Entry, policy: Policy) -> bool:
    """Whether one who starts was to come after one who waits."""
    snap, jobs = snapshot(books.state), books.state.jobs
    mine, its = waits.job, other.job
    if policy.backfill.mode == "none" or policy.order.ageing is not None or mine.queue != its.queue:
        return False
    if discipline_of(snap, policy, books.state.queues.row_of[mine.queue]) != "fifo" or books.guard(mine.queue):
        return False
    if mine.deadline or its.deadline or its.priority.cls < mine.priority.cls:
        return False
    number = its.priority.cls > mine.priority.cls or its.priority.number <= mine.priority.number
    return number and bool(jobs.ordinal[other.row] > jobs.ordinal[waits.row])


def _could_run(books: Books, job: Job) -> bool:
    whole = [empty(node) for node in books.open_nodes(job)]
    return len(job.roles) == 1 and books.within_limits(job, {}) and bool(fits(job, whole, []))


@dataclass(slots=True)
class Tenants:
    """The bound of a case of its own kind; ``longest`` is D."""

    made: Made
    since: dict[QueueId, Instant] = field(default_factory=dict[QueueId, Instant])

    def starved(self, books: Books, longest: int) -> Iterator[str]:
        """Queues that have waited for their first start longer than they may."""
        runs = {queue for entry in books.entries.values() if entry.phase.live for queue in ancestry(entry.job.queue)}
        waits = {entry.job.queue for entry in books.entries.values() if entry.in_line}
        for name in sorted(set(self.since) - (waits - runs)):
            del self.since[name]
        for name in sorted(waits - runs):
            since = self.since.setdefault(name, books.now)
            bound = self.bound(name, longest)
            if books.now - since > bound:
                yield f"2: queue {name} has run nothing for {books.now - since} ms, {bound} at most"

    def bound(self, name: QueueId, longest: int) -> float:
        """Milliseconds."""
        gpus, fairness = sum(node.gpus for node in self.made.nodes), self.made.policy.fairness
        weights = {queue.id: queue.weight for queue in self.made.queues}
        least = fairness.swarm.least if fairness.swarm.within else 1.0
        weight, others, held = weights[name] * least, sum(weights.values()) - weights[name], gpus - len(weights) + 1
        if held <= 0:
            return float("inf")  # more queues than GPUs: rounding may leave one out for longer
        fading = fairness.history * gpus * others / (weight * held)
        return longest + fairness.half_life * max(log2(fading), 0.0) + SLACK if fading else longest + SLACK
