"""3. *No preemption loop.*

While nothing comes from outside and neither a job nor a booking ends of its own, the cluster does not go in a circle:
what runs where, with how many workers, on what rooms held, is never again as it was, once it has changed. This is asked
of every stop, hold and start together: preemption, reclaim, turns, shrinking, growing and moving. And

- at one instant nobody is stopped twice, and decisions come to an end; who has shrunk or grown, and goes on, may shrink
  or grow further, in the same direction: nobody gives up a worker more than is needed, and there are only so many;
- nobody grows into idle room within ``elastic.settle`` of its start (which may be 0: then even who has just shrunk);
- no job gives up a hold twice: what is taken for it is used, or not taken again;
- a victim causes no further preemption: whoever was stopped for another stops nobody while it waits. By design a queue
  may take back what it is guaranteed even then, when its job had to yield to a higher class; whom it stops for that has
  only borrowed, and stops nobody in turn.
- a job that takes turns (``las``, ``srsf``) is not stopped before its ``least_run``, nor within a second when that is
  less; taking turns is going in a circle, by design, but each level is ``margin`` times as long as the one before: as
  many circles are allowed as levels.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from math import ceil, log

from fairway.model.ids import JobId
from fairway.model.phases import Cause
from fairway.model.plan import Plan, Release, Stop
from fairway.model.policy import Policy
from fairway.model.reasons import Grown, Outranked, PreemptedBy, ReclaimedBy, Shrunk
from fairway.model.time import SECOND, Instant
from tests.properties.books import Books

MOST_ROUNDS = 40
"""Decisions at one instant; each of them starts, stops or holds something."""


@dataclass(slots=True)
class Loops:
    """What has happened since somebody came, went, or ended."""

    since: int = 0
    seen: Counter[Hashable] = field(default_factory=Counter[Hashable])
    before: Hashable = None
    turns: bool = False
    released: Counter[JobId] = field(default_factory=Counter[JobId])
    stopped_now: dict[JobId, type] = field(default_factory=dict[JobId, type])
    at: int = -1

    def outside(self, now: Instant) -> None:
        """Something came from outside, or a job or a booking has ended: from here on anything may be as it was."""
        self.since, self.turns, self.before = now, False, None
        self.seen.clear()
        self.released.clear()
        self.stopped_now.clear()

    def wrong(self, books: Books, plan: Plan, policy: Policy) -> Iterator[str]:
        """What a plan does that it may not; ``books`` are those before it was believed."""
        if books.now != self.at:
            self.at, self.stopped_now = books.now, {}
        for action in plan.each():
            if isinstance(action, Release):
                self.released[action.job] += 1
                if self.released[action.job] > 1:
                    yield f"3: job {action.job} gives up a hold again, and nothing has happened"
            if not isinstance(action, Stop):
                continue
            job = action.attempt.job
            before = self.stopped_now.get(job)
            resized = isinstance(action.reason, Shrunk | Grown) and before in (Shrunk, Grown)
            again = type(action.reason) is before or not policy.elastic.settle
            if before is not None and not (resized and again):
                yield f"3: job {job} is stopped again at once ({action.reason})"
            self.stopped_now[job] = type(action.reason)
            ran = books.now - int(books.state.jobs.placed_at[books.entries[job].row])
            if isinstance(action.reason, Grown) and action.reason.why == "idle" and ran < policy.elastic.settle:
                yield f"3: job {job} grows after {ran} ms"
            if isinstance(action.reason, Outranked):
                self.turns = True
                if ran < max(policy.order.least_run, SECOND):
                    yield f"3: job {job} yields its turn after {ran} ms"
            if isinstance(action.reason, PreemptedBy | ReclaimedBy | Outranked):
                yield from _chain(books, action)

    def settled(self, books: Books, policy: Policy) -> Iterator[str]:
        """Everything is decided for now: it must not be as it was before."""
        now = frozenset(
            (entry.id, entry.placement, entry.hold.placement if entry.hold else ())
            for entry in books.entries.values()
            if entry.placement or entry.hold
        )
        if now == self.before:
            return
        self.before = now
        self.seen[now] += 1
        most = 1
        if self.turns:
            run = max(policy.order.least_run, SECOND)
            most = 2 + ceil(log((books.now - self.since) / run + 1) / log(policy.order.margin)) * len(books.entries)
        if self.seen[now] > most:
            yield f"3: it is as it was {self.seen[now] - 1} times since {self.since}: {sorted(map(str, now))}"


def _chain(books: Books, action: Stop) -> Iterator[str]:
    """Whether the one for whom somebody is stopped was itself stopped for somebody when it last ran."""
    reason = action.reason
    assert isinstance(reason, PreemptedBy | ReclaimedBy | Outranked)
    end = books.state.jobs.last_end[books.entries[reason.by].row]
    if end is None or end.outcome.cause is not Cause.PREEMPTED:
        return
    if isinstance(reason, PreemptedBy):
        yield f"3: {reason.by} was a victim, and stops {action.attempt.job}"
