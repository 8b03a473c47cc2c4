"""Every kind of fault can catch something: with a bug planted that only this kind brings to light, an ordeal breaks.

Each bug is one that such systems really have had. Without faults it stays hidden; with its kind alone it is found.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import pytest

from fairway.engine.commands import Command, StartAttempt
from fairway.engine.memory_journal import MemoryJournal
from fairway.engine.reconcile import Reconciler
from fairway.model import facts as f
from fairway.model.phases import Cause
from fairway.sim.faults import KINDS, Faults
from fairway.sim.site import Site
from fairway.state import apply, lifecycle
from fairway.state.cluster import ClusterState
from fairway.state.jobs import JobTable
from tests.sim.ordeal import STORM, Broken, ordeal

TRIES = 40
"""Seeds among which the bug must be found; most are found within five."""

Patch = AbstractContextManager[Any]


def instead(where: Any, name: str, make: Callable[[Any], Any]) -> Patch:
    """``where.name`` replaced by what ``make`` makes of it."""
    return mock.patch.object(where, name, make(getattr(where, name)))


def believing(kind: type, make: Callable[[Any], Any]) -> Patch:
    """What the state believes of one kind of fact, replaced."""
    return mock.patch.dict(apply._APPLY, {kind: make(apply._APPLY[kind])})


@contextmanager
def together(*patches: Patch) -> Iterator[None]:
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def sends_once() -> Patch:
    """Lost: whoever sends each command once, and trusts the network, waits for ever."""
    sent: dict[int, set[tuple[type, Any]]] = {}

    def make(commands: Any) -> Any:
        def once(self: Reconciler, state: ClusterState, now: Any) -> list[Command]:
            known = sent.setdefault(id(self), set())
            fresh = [c for c in commands(self, state, now) if (type(c), getattr(c, "attempt", now)) not in known]
            known |= {(type(c), getattr(c, "attempt", None)) for c in fresh}
            return fresh

        return once

    return instead(Reconciler, "commands", make)


def believes_any_attempt() -> Patch:
    """Duplicated: an end that is heard twice ends the attempt that runs now, when attempts are not told apart."""

    def make(current: Any) -> Any:
        def newest(jobs: JobTable, attempt: Any) -> int | None:
            row = jobs.row_of.get(attempt.job)
            return row if row is not None and jobs.is_live(row) else None

        return newest

    return instead(JobTable, "current", make)


def wants_starts_before_ends() -> Patch:
    """Reordered: an end that overtakes its start is taken for nonsense, and then never heard of again."""

    def make(ended: Any) -> Any:
        def only_started(state: ClusterState, fact: f.AttemptEnded) -> None:
            row = state.jobs.current(fact.attempt)
            if row is None or state.jobs.started_at[row] or fact.outcome.cause is Cause.START_FAILED:
                ended(state, fact)
            else:
                state.news.settled[fact.attempt] = fact.executor

        return only_started

    return together(believing(f.AttemptEnded, make), instead(apply, "_attempt_ended", make))


def trusts_old_inventories() -> Patch:
    """Late: an inventory from before a start does not list it, and it is written off while it runs."""

    def make(inventory: Any) -> Any:
        def any_seq(state: ClusterState, fact: f.Inventory) -> None:
            inventory(state, replace(fact, seq=1 << 40))
            state.inventory_seq[fact.executor] = 0

        return any_seq

    return believing(f.Inventory, make)


def knows_the_node_already() -> Patch:
    """Node loss: a node that comes back as it was is nothing new, so it stays lost."""

    def make(seen: Any) -> Any:
        def unchanged(state: ClusterState, fact: f.NodeSeen) -> None:
            row = state.nodes.row_of.get(fact.node.id)
            if row is None or state.nodes.spec[row] != fact.node:
                seen(state, fact)

        return unchanged

    return together(believing(f.NodeSeen, make), instead(apply, "_node_seen", make))


def stops_no_strays() -> Patch:
    """Partition: what was written off and runs on behind the cut is nobody's business."""

    def make(commands: Any) -> Any:
        def without_strays(self: Reconciler, state: ClusterState, now: Any) -> Any:
            strays, state.strays = state.strays, {}
            try:
                return commands(self, state, now)
            finally:
                state.strays = strays

        return without_strays

    return instead(Reconciler, "commands", make)


def starts_while_starting() -> Patch:
    """Slow starts: a start that is asked for again before it is done is begun again."""

    def make(start: Any) -> Any:
        def impatient(self: Site, command: StartAttempt) -> None:
            run = self.runs.get(command.attempt)
            if run is not None and run.began is None:
                self._prepare(run)
            else:
                start(self, command)

        return impatient

    return instead(Site, "start", make)


def keeps_room_of_failed_starts() -> Patch:
    """Failing starts: what never ran gives nothing back."""

    def make(end_attempt: Any) -> Any:
        def unless_failed(state: ClusterState, row: int, fact: f.AttemptEnded) -> None:
            if fact.outcome.cause is Cause.START_FAILED:
                for task in state.jobs.placement[row]:
                    state.nodes.take(state.nodes.row_of[task.node], (1, 0, 0, 0), (), 0)
            end_attempt(state, row, fact)

        return unless_failed

    return instead(lifecycle, "end_attempt", make)


def believes_any_clock() -> Patch:
    """Clock steps: a start is believed to have been when an executor's clock says so, before it was even placed."""

    def make(started: Any) -> Any:
        def as_told(state: ClusterState, fact: f.AttemptStarted) -> None:
            row = state.jobs.current(fact.attempt)
            fresh = row is not None and not state.jobs.started_at[row]
            started(state, fact)
            if fresh and row is not None:
                state.jobs.started_at[row] = fact.at or 1

        return as_told

    return together(believing(f.AttemptStarted, make), instead(apply, "_attempt_started", make))


def forgets_what_it_acknowledged() -> Patch:
    """Crash: a disk that says "done" before it is. The last frames are gone when the power is."""

    def make(crashed: Any) -> Any:
        def short(self: MemoryJournal) -> MemoryJournal:
            del self.disk.frames[max(len(self.disk.frames) - 4, 0) :]
            self.disk.checkpoints = {
                seq: state for seq, state in self.disk.checkpoints.items() if seq <= len(self.disk.frames)
            }
            return crashed(self)

        return short

    return instead(MemoryJournal, "crashed", make)


@dataclass(frozen=True)
class Planted:
    """A bug, and the kind of fault that brings it to light."""

    kind: str
    bug: Callable[[], Patch]


BUGS = [
    Planted("lost", sends_once),
    Planted("duplicated", believes_any_attempt),
    Planted("reordered", wants_starts_before_ends),
    Planted("late", trusts_old_inventories),
    Planted("node_loss", knows_the_node_already),
    Planted("partition", stops_no_strays),
    Planted("slow_starts", starts_while_starting),
    Planted("failing_starts", keeps_room_of_failed_starts),
    Planted("clock_steps", believes_any_clock),
    Planted("crash", forgets_what_it_acknowledged),
]


def test_there_is_a_bug_for_every_kind_of_fault() -> None:
    assert tuple(planted.kind for planted in BUGS) == KINDS


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.kind)
def test_a_fault_brings_its_bug_to_light(planted: Planted) -> None:
    with planted.bug():
        for seed in range(TRIES):
            try:
                ordeal(seed, STORM.only(planted.kind))
            except Broken:
                return
    pytest.fail(f"{planted.bug.__name__} went unnoticed through {TRIES} seeds of {planted.kind}")


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.kind)
def test_without_faults_the_bug_stays_hidden(planted: Planted) -> None:
    with planted.bug():
        for seed in range(3):
            ordeal(seed, Faults())
