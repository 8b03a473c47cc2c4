"""The one loop. Live, shadow and simulated worlds run this code and no other.

A turn: remember what became known, believe it, think, decide, make all of it durable in one step, act, show. Nothing is
sent, acknowledged or shown before it is durable. The state changes only by frames that are in the journal, so that
replaying the journal gives exactly the state that the loop had (``docs/decisions/0002-one-commit-per-turn.md``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fairway.decide.pipeline import decide
from fairway.engine.ports import Journal, View, World
from fairway.engine.reconcile import Reconciler
from fairway.model.facts import Facts, PolicySet, Ruled
from fairway.model.plan import Plan
from fairway.model.policy import Policy
from fairway.model.time import Instant
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.codec import dump
from fairway.state.snapshot import Snapshot, snapshot

CHECKPOINT_EVERY = 20_000
"""Facts and actions between checkpoints of a small state; half the number of its jobs is added for a large one. A
restart replays some 25,000 of them a second; a checkpoint costs as much as replaying half as many as there are jobs."""

Decide = Callable[[Snapshot, Policy], Plan]


@dataclass(slots=True)
class Loop:
    """What a turn needs. ``seq`` is the last frame of the journal, which ``state`` adds up to; ``since`` counts the
    facts and actions after the newest checkpoint. ``policy``, where one is given, is set by the first turn; decisions
    follow that of the state."""

    state: ClusterState
    world: World
    journal: Journal
    policy: Policy | None = None
    views: Sequence[View] = ()
    seq: int = 0
    decide: Decide = decide
    checkpoint_every: int = CHECKPOINT_EVERY
    reconciler: Reconciler = field(default_factory=Reconciler)
    since: int = 0

    def turn(self, facts: Facts) -> Plan:
        """One turn: believe ``facts``, decide, make durable, act, show. Returns what was decided and accepted.

        A tick that brings nothing, and makes no timer due, is not written down and changes nothing; what is still unmet
        is sent again all the same. Raises StoreFull and StaleEpoch as the journal does; the loop is then spent.
        """
        state, before = self.state, self.seq
        if self.policy is not None and self.policy != state.policy:
            facts = Facts(facts.now, (PolicySet(self.policy), *facts.items))
        now = Instant(max(state.now, facts.now))
        due = state.next_timer()
        if facts.items or (due is not None and due <= now):
            self._remember(facts if facts.now == now else Facts(now, facts.items), len(facts.items) or 1)
        seen = snapshot(state)
        if seen.now != now:
            seen = seen._replace(now=now)
        plan = self.world.accept(self.decide(seen, state.policy))
        if plan:
            self._remember(Facts(now, (Ruled(plan),)), plan.size)
        if self.seq != before:
            self.journal.commit()
            self.policy = None  # it is in the journal by now, or was there before
        self.world.send(self.reconciler.commands(state, now))
        if self.seq != before:
            for view in self.views:
                view.fold(self.seq, now, state)
            state.news.clear()
            if self.since >= self.checkpoint_every + (len(state.jobs) + len(state.ended)) // 2:
                self.checkpoint()
        return plan

    def checkpoint(self) -> None:
        """Keep the whole state, so that a restart replays only what comes after."""
        if self.since:
            self.journal.checkpoint(self.seq, dump(self.state))
            self.since = 0

    def _remember(self, facts: Facts, weight: int) -> None:
        self.seq = self.journal.append(facts)
        apply(self.state, facts)
        self.since += weight


def run(
    state: ClusterState,
    world: World,
    journal: Journal,
    policy: Policy | None = None,
    views: Sequence[View] = (),
    *,
    seq: int = 0,
    decide: Decide = decide,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> None:
    """Turn after turn until the world is over. ``state`` is what the journal's frames up to ``seq`` add up to;
    a ``policy`` that is given replaces the state's."""
    loop = Loop(state, world, journal, policy, views, seq, decide, checkpoint_every)
    for facts in world.facts():
        loop.turn(facts)
