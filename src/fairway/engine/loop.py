"""The one loop. Live, shadow and simulated worlds run this code and no other.

A turn: remember what became known, believe it, think, decide, make all of it durable in one step, act, show. Nothing is
sent, acknowledged or shown before it is durable. The state changes only by frames that are in the journal, so that
replaying the journal gives exactly the state that the loop had (``docs/decisions/0002-one-commit-per-turn.md``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from fairway.decide.pipeline import decide
from fairway.decide.policy import Policy
from fairway.engine.ports import Journal, View, World
from fairway.engine.reconcile import Reconciler
from fairway.model.facts import Facts, Ruled
from fairway.model.plan import Plan
from fairway.model.time import Instant
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.codec import dump
from fairway.state.snapshot import Snapshot, snapshot

CHECKPOINT_EVERY = 20_000
"""Frames between checkpoints: what a restart replays at most, and how often a turn pays for writing the whole state."""

Decide = Callable[[Snapshot, Policy], Plan]


@dataclass(slots=True)
class Loop:
    """What a turn needs. ``seq`` is the last frame of the journal, which ``state`` adds up to."""

    state: ClusterState
    world: World
    journal: Journal
    policy: Policy
    views: Sequence[View] = ()
    seq: int = 0
    decide: Decide = decide
    checkpoint_every: int = CHECKPOINT_EVERY
    reconciler: Reconciler = field(default_factory=Reconciler)
    kept: int = -1
    """The last frame that a checkpoint holds; -1 for the one the loop began with."""

    def __post_init__(self) -> None:
        self.kept = self.seq if self.kept < 0 else self.kept

    def turn(self, facts: Facts) -> Plan:
        """One turn: believe ``facts``, decide, make durable, act, show. Returns what was decided and accepted.

        A tick that brings nothing, and makes no timer due, is not written down and changes nothing; what is still unmet
        is sent again all the same. Raises StoreFull and StaleEpoch as the journal does; the loop is then spent.
        """
        state, before = self.state, self.seq
        now = Instant(max(state.now, facts.now))
        due = state.next_timer()
        if facts.items or (due is not None and due <= now):
            self._remember(Facts(now, facts.items))
        seen = snapshot(state)
        if seen.now != now:
            seen = replace(seen, now=now)
        plan = self.world.accept(self.decide(seen, self.policy))
        if plan:
            self._remember(Facts(now, (Ruled(plan),)))
        if self.seq != before:
            self.journal.commit()
        self.world.send(self.reconciler.commands(state, now))
        if self.seq != before:
            for view in self.views:
                view.fold(self.seq, now, state)
            state.news.clear()
            if self.seq - self.kept >= self.checkpoint_every:
                self.checkpoint()
        return plan

    def checkpoint(self) -> None:
        """Keep the whole state, so that a restart replays only what comes after."""
        if self.seq > self.kept:
            self.journal.checkpoint(self.seq, dump(self.state))
            self.kept = self.seq

    def _remember(self, facts: Facts) -> None:
        self.seq = self.journal.append(facts)
        apply(self.state, facts)


def run(
    state: ClusterState,
    world: World,
    journal: Journal,
    policy: Policy,
    views: Sequence[View] = (),
    *,
    seq: int = 0,
    decide: Decide = decide,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> None:
    """Turn after turn until the world is over. ``state`` is what the journal's frames up to ``seq`` add up to."""
    loop = Loop(state, world, journal, policy, views, seq, decide, checkpoint_every)
    for facts in world.facts():
        loop.turn(facts)
