"""Small crowded clusters of random seeds, run to their ends by the real decision, and six promises after every step.

Where ``tests/state/weather`` lets anything happen to the books, here executors are honest and time passes in order:
jobs come, start after a while (or fail to), report checkpoints, end, and obey when they are told to stop; nodes are
lost and come back, people cancel, hold and change policies and queues. So more can be promised, and is:

1. nothing is given out twice, and no queue uses more than its limit (``promises``);
2. who fits starts, and nobody waits past a bound (``starving``);
3. without something new the cluster does not go in circles, and a victim makes no victims (``loops``);
4. what a queue is guaranteed it can have back at once (``reclaiming``);
5. a gang is placed, started and stopped as a whole, as it asked to be (``promises``);
6. who waits has one reason, and a true one (``promises``)::

    python -m tests.properties.case 10000                     # so many cases; says which seed broke what
    python -m tests.properties.case 10000 --from 1000000 --all   # goes on after a broken one
    python -m tests.properties.case 1 --from 17 --story       # what happens in one
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from random import Random

from fairway.decide.order import take_turns
from fairway.engine.readmodel import ReadModel
from fairway.model.facts import Fact
from fairway.model.plan import Plan, Start, Stop
from fairway.model.time import Instant
from fairway.state.check import check
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, effects, restored_problems
from tests.properties import loops, promises, reclaiming, starving
from tests.properties.books import Books
from tests.properties.make import KINDS_OF_CASES, Kind, Made, make
from tests.properties.world import World

MOST_EVENTS = 3_000
EVERY = 1_000
"""After so many cases it is said how far it is."""
IDLE_TIMERS = 24
"""So many timers in a row may change nothing when nobody runs and nobody comes: then it is over."""


class Broken(AssertionError):
    """A promise is broken; the message says which, and by which seed."""


class Case:
    """One cluster and its jobs. ``run`` plays it to the end. Raises Broken."""

    def __init__(self, seed: int, kind: Kind | None = None, *, story: bool = False) -> None:
        self.seed, self.story = seed, story
        rng = Random(seed)
        self.made: Made = make(rng, kind)
        self.model = ReadModel()
        self.it = Rehearsal(policy=self.made.policy, views=[self.model])
        self.world = World(self.made, self.it, rng)
        self.rng = rng
        self.loops, self.waits, self.tenants = loops.Loops(), starving.Waits(), starving.Tenants(self.made)
        self.counts: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        """What happened, by name."""
        self.world.begin()
        self._settle()
        idle = 0
        for _ in range(MOST_EVENTS):
            due = self.world.next()
            timer = self.it.state.next_timer()
            if due is None and (timer is None or idle > IDLE_TIMERS):
                books = Books(self.it.state)
                self._demand(promises.left_over(books, promises.shown(self.model, books)))
                return self.counts
            at = min(when for when in (due, timer) if when is not None)
            idle = idle + 1 if due is None else 0
            self._happen(Instant(max(at, self.it.state.now)))
            self._settle()
        raise Broken(f"seed {self.seed}: does not come to its end")

    def _happen(self, at: Instant) -> None:
        """Everything that is due at an instant, one after the other."""
        if at > self.it.state.now:
            booked = set(self.it.state.bookings.table)
            self._tell((), after=at - self.it.state.now)
            if booked - set(self.it.state.bookings.table):  # it has ended, or nobody used it: as if it were removed
                self.loops.outside(at)
        for what in self.world.due(at):
            self.counts[what.name] += 1
            if what.outside:
                self.loops.outside(at)
            if what.upsets:
                self.waits.outside()
            self._tell(what.facts)
            self._say(what.name, *what.facts)
        self.world.follow()

    def _tell(self, facts: Iterable[Fact], after: int = 0) -> None:
        self.it.tell(*facts, after=after)
        self._demand(promises.now_wrong(self.it, Books(self.it.state)))

    def _settle(self) -> None:
        """Decide until nothing is left to do at this instant."""
        for _ in range(loops.MOST_ROUNDS):
            before = Books(self.it.state)
            plan = self._decide(before)
            if not effects(plan):
                self._once_settled()
                return
        raise Broken(f"seed {self.seed}: 3: decisions without an end: {[str(each) for each in plan.each()]}")

    def _decide(self, before: Books) -> Plan:
        policy = self.it.state.policy
        plan = self.it.decide()
        self._say("decides", *effects(plan))
        self._demand(promises.wrong_starts(before, plan))
        self._demand(self.loops.wrong(before, plan, policy))
        self.waits.started(before, plan, policy)
        for action in plan.each():
            if isinstance(action, Stop):
                self.counts[f"stopped: {type(action.reason).__name__}"] += 1
            elif isinstance(action, Start):
                self.counts["started"] += 1
        self._demand(promises.now_wrong(self.it, Books(self.it.state)))
        self.world.follow()
        return plan

    def _once_settled(self) -> None:
        books, policy = Books(self.it.state), self.it.state.policy
        self.waits.longest = max(self.waits.longest, self.world.longest)
        self._demand(check(self.it.state))
        self._demand(promises.in_booked(books))
        self._demand(self.loops.settled(books, policy))
        self._demand(reclaiming.unclaimed(books, policy))
        self._demand(self.waits.starved(books, policy))
        if self.made.kind == "tenants":
            self._demand(self.tenants.starved(books, self.waits.longest))
        statuses = promises.shown(self.model, books)
        self._demand(promises.wrong_reasons(books, statuses))
        for status in statuses:
            if not status.phase.live:
                self.counts[f"waits: {status.tier}"] += 1
        if self.rng.random() < 0.01:
            wrong = restored_problems(self.it.state, policy)
            self._demand(each for each in wrong if not (each.startswith("asleep") and self._drifts(books)))

    def _drifts(self, books: Books) -> bool:
        """What time alone changes is seen when something happens: that a deadline cannot be met any more, so that its
        job may shrink; that somebody ranks ahead of the one for whom room is kept; that a turn has come."""
        state = self.it.state
        turns = take_turns(snapshot(state), state.policy).any()
        return bool(state.reserved or turns or any(entry.job.deadline for entry in books.entries.values()))

    def _demand(self, wrong: Iterable[str]) -> None:
        found = list(wrong)
        if found:
            raise Broken(f"seed {self.seed} at {self.it.state.now}: {'; '.join(found)}")

    def _say(self, what: str, *parts: object) -> None:
        if self.story and (parts or what != "decides"):
            print(f"{self.it.state.now:>10} {what}", *(f"\n{'':>12}{part}" for part in parts))


def main() -> int:
    """Run cases one after the other. Exit status 1 when one is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", type=int, nargs="?", default=10_000)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--kind", choices=KINDS_OF_CASES, help="only cases of one kind")
    parser.add_argument("--all", action="store_true", help="go on after a broken one")
    parser.add_argument("--story", action="store_true", help="print what happens")
    options = parser.parse_args()
    total, broken = Counter[str](), 0
    for seed in range(options.first, options.first + options.cases):
        try:
            total += Case(seed, options.kind, story=options.story).run()
        except Broken as error:
            broken += 1
            print(error, file=sys.stderr, flush=True)
            if not options.all:
                return 1
        done = seed + 1 - options.first
        if done % EVERY == 0:
            print(f"{done - broken} of {done} cases hold so far", file=sys.stderr, flush=True)
    print(f"{options.cases - broken} of {options.cases} cases hold: {dict(sorted(total.items()))}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
