"""No queue starves and none monopolises: bounds that hold for every load, tried out in virtual time.

Let C be the GPUs, D the longest run time, w and W the weights of a queue and of all its siblings, n their number, H the
half-life and h the weight of the past. Every job here takes one GPU, so whatever is free fits whoever is next. Let a
queue always have a job in line.

*First start.* While it runs nothing, its share is h x its average / w, which halves every H. Whoever else starts
meanwhile had no larger share, so after D everybody together would hold at most (W - w) x share + n - 1 GPUs; but they
hold all C of them. Hence it starts its first job within D of the moment when its share is below (C - n + 1) / (W - w).

*Its part.* Without the past (h = 0), everybody who starts while the queue waits holds at most its own use per weight,
plus the job started. All that runs has started within D. So in every stretch of length D, the queue at some moment has
at least (C - n + 1) x w / W GPUs, and none of its siblings holds more than what that leaves it, plus one.

*With quotas.* What a sibling's quota covers goes first, and what it keeps of it may stay empty; both together are no
more than its quota. So both bounds hold with C - Q in the place of C, Q being what all are guaranteed, and a sibling
holds at most what it may be guaranteed, or what it held without a quota. Loans move quota about and leave Q as it is.

*With swarms.* A weight is lowered to ``least`` of it at the least, and while a queue runs nothing its own only rises.
So both bounds hold with least x w in the place of w, and W - w as it is.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from math import log2

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.facts import QueueSet, QuotaLent
from fairway.model.ids import AttemptId, LoanId, QueueId
from fairway.model.loan import Lent, Loan
from fairway.model.plan import Start
from fairway.model.policy import Fairness, Policy, Swarm
from fairway.model.queue import Queue
from fairway.model.resources import Amount
from fairway.model.time import HOUR, MINUTE, Duration, Instant
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

LONGEST = 60 * MINUTE
LEAVES = ("a/x", "a/y", "b", "c/z")
TOPS = ("a", "b", "c")


@dataclass
class World:
    """One-GPU jobs of random lengths in virtual time. ``backlog`` says which leaves always have a job in line."""

    gpus: int
    weights: tuple[float, ...]
    history: float
    rng: np.random.Generator
    quotas: tuple[tuple[int, int], ...] = ((0, 0),) * len(TOPS)
    """(GPUs guaranteed, of which others may borrow) of each."""
    swarm: Swarm = field(default_factory=Swarm)
    it: Rehearsal = field(init=False)
    ends: list[tuple[int, AttemptId]] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        # A throttled queue counts as one of less weight: the bounds are for the weights as they are.
        fairness = Fairness(half_life=Duration(2 * HOUR), history=self.history, throttle=1, swarm=self.swarm)
        self.it = Rehearsal(policy=Policy(fairness=fairness))
        self.it.nodes(a_node("n", self.gpus))
        for name, weight, (quota, lend) in zip(TOPS, self.weights, self.quotas, strict=True):
            amounts = Amount(gpu_milli=quota * 1000), Amount(gpu_milli=lend * 1000)
            self.it.tell(QueueSet(Queue(QueueId(name), weight, quota=amounts[0], lend=amounts[1])))

    @property
    def promised(self) -> int:
        """GPUs that all together are guaranteed; with loans any of them may have all of it."""
        return sum(quota for quota, _ in self.quotas)

    @property
    def contested(self) -> int:
        """GPUs beyond all quotas, and those for one job more of every sibling."""
        return self.gpus - self.promised - len(TOPS) + 1

    def least(self, queue: str) -> float:
        """The least that the weight of a queue may count."""
        swarms = self.swarm.within > 0
        return self.weights[TOPS.index(queue)] * (self.swarm.least if swarms else 1)

    def used(self, queue: str) -> int:
        """GPUs that a queue holds now."""
        return int(self.it.state.queues.used[self.it.state.queues.row_of[QueueId(queue)], 2]) // 1000

    def pending(self, queue: str) -> int:
        """Jobs that wait in a leaf."""
        row = self.it.state.queues.row_of.get(QueueId(queue))
        return 0 if row is None else int(self.it.state.queues.pending[row])

    def run(self, until: int, backlog: Callable[[str], bool], seen: Callable[[int], None]) -> None:
        """Let time pass; ``seen`` is called with the instant after every decision."""
        while self.it.state.now < until:
            for leaf in LEAVES:
                while backlog(leaf) and self.pending(leaf) < self.gpus:
                    self.made += 1
                    self.it.tell(submitted(a_job(f"j{self.made}", a_request(1), queue=leaf)))
            self._decide()
            seen(self.it.state.now)
            self._lend()
            upto = min(self.ends[0][0] if self.ends else until, until)
            self.it.tell(after=upto - self.it.state.now)
            while self.ends and self.ends[0][0] <= self.it.state.now:
                attempt = heapq.heappop(self.ends)[1]
                if attempt.job in self.it.state.jobs and self.it.attempt(attempt.job) == attempt:
                    self.it.end(attempt.job)

    def _lend(self) -> None:
        """Now and then somebody lends some of its quota to somebody else: all together are guaranteed the same."""
        if self.rng.random() < 0.1:
            lender, borrower = (QueueId(str(name)) for name in self.rng.choice(TOPS, 2, replace=False))
            now = self.it.state.now
            begins = Instant(now + int(self.rng.integers(0, LONGEST)))
            ends = Instant(begins + int(self.rng.integers(1, 3 * LONGEST)))
            part = Lent(lender, borrower, Amount(gpu_milli=int(self.rng.integers(1, 3)) * 1000), begins, ends)
            self.it.tell(QuotaLent(Loan(LoanId(f"l{now}"), (part,))))

    def _decide(self) -> None:
        """Decide; who is told to stop stops at once, and goes on later for as long as it would have."""
        while True:
            for action in self.it.decide().actions:
                if isinstance(action, Start):
                    length = int(self.rng.integers(1, LONGEST + 1)) if self.rng.random() < 0.7 else LONGEST
                    heapq.heappush(self.ends, (self.it.state.now + length, action.attempt))
            stopped = self.it.stop()
            self.it.start()
            if not stopped:
                return


def other_leaves(top: str) -> Callable[[str], bool]:
    """Everybody but those below ``top``."""
    return lambda leaf: leaf.partition("/")[0] != top


SWARMS = st.builds(
    Swarm,
    # The longest jobs here would do for a swarm: those that are over in no time are then half of them, or nearly all.
    within=st.sampled_from((0, 30 * MINUTE, LONGEST)).map(Duration),
    allowed=st.sampled_from((1, 5)),
    half_life=st.sampled_from((HOUR, 12 * HOUR)).map(Duration),
    least=st.sampled_from((0.1, 0.5)),
)
QUOTAS = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * len(TOPS))


def worlds(*history: float) -> st.SearchStrategy[World]:
    """Worlds of 4 to 12 GPUs in which the past counts one of these ways, with and without quotas."""
    weights = st.tuples(*[st.sampled_from((0.5, 1.0, 2.0, 4.0))] * len(TOPS))
    chance = st.integers(0, 1 << 30).map(np.random.default_rng)
    quotas = st.one_of(st.just(((0, 0),) * len(TOPS)), QUOTAS)
    made = st.builds(World, st.integers(4, 12), weights, st.sampled_from(history), chance, quotas, SWARMS)
    return made.filter(lambda world: world.contested > 0)


@given(worlds(0.0, 1.0, 3.0), st.sampled_from(TOPS), st.integers(0, 12 * HOUR))
def test_whoever_waits_starts_within_the_bound_whatever_it_has_used(world: World, top: str, greed: int) -> None:
    world.run(greed, lambda leaf: not other_leaves(top)(leaf), lambda now: None)
    # What it still runs ends while the others take over; then it comes back.
    begun = greed + LONGEST
    world.run(begun, other_leaves(top), lambda now: None)
    started: list[int] = []
    weight, others = world.least(top), sum(world.weights) - world.weights[TOPS.index(top)]
    fading = world.history * world.gpus * others / (weight * world.contested)
    bound = LONGEST + 2 * HOUR * max(log2(fading), 0.0) if fading else LONGEST
    world.run(begun + int(bound) + 2, lambda leaf: True, lambda now: started.append(now) if world.used(top) else None)
    assert started, f"{top} got nothing within {bound / MINUTE:g} minutes"
    assert started[0] <= begun + bound + 1


@given(worlds(0.0), st.sampled_from(TOPS))
def test_whoever_waits_has_its_part_in_every_stretch_and_nobody_has_it_all(world: World, top: str) -> None:
    use: list[tuple[int, dict[str, int]]] = []
    world.run(2 * LONGEST, other_leaves(top), lambda now: None)
    begun = 2 * LONGEST
    world.run(begun + 6 * LONGEST, lambda leaf: True, lambda now: use.append((now, {q: world.used(q) for q in TOPS})))
    weights = dict(zip(TOPS, world.weights, strict=True))
    for queue in TOPS:
        weight = world.least(queue)
        part = world.contested * weight / (weight + sum(world.weights) - weights[queue])
        for index, (now, held) in enumerate(use):
            if now < begun + 2 * LONGEST:
                continue
            # What was held from the last decision before the stretch on counts as held in it.
            first = max(i for i, (at, _) in enumerate(use) if at <= now - LONGEST)
            most = max(one[queue] for _, one in use[first : index + 1])
            assert most >= part - 1e-9, f"{queue} holds at most {most} of its {part:g}"
            for other in TOPS:
                if other != queue:
                    assert held[other] <= max(world.promised, most * weights[other] / weight + 1 + 1e-9)
