from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fairway.engine.commands import Command, ForgetAttempt, StartAttempt, StopAttempt, WakeAt
from fairway.engine.reconcile import RESEND_FIRST, RESEND_MOST, Reconciler
from fairway.model import facts as f
from fairway.model.ids import AttemptId, JobId
from fairway.model.phases import Cause
from fairway.model.time import SECOND, Instant
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from tests.engine.small_world import LOCAL, NODES, SmallWorld, job, looped

FIRST = AttemptId(JobId("j1"), 1)


def placed() -> ClusterState:
    """A state with one job that was decided to start, and nothing sent yet."""
    small = SmallWorld()
    small.script = [(1_000, (small.inventory(), f.JobSubmitted(job("j1"))))]
    loop = looped(small)
    loop.turn(next(small.facts()))
    assert loop.state.unmet
    return loop.state


def orders(commands: list[Command]) -> list[Command]:
    return [command for command in commands if not isinstance(command, WakeAt)]


def test_what_is_unmet_is_sent_once_and_then_after_growing_pauses() -> None:
    state, reconciler = placed(), Reconciler()
    at = [now // SECOND for now in range(1_000, 300_000, 1_000) if orders(reconciler.commands(state, Instant(now)))]
    assert [b - a for a, b in pairwise(at)] == [5, 10, 20, 40, 60, 60, 60]
    assert (RESEND_FIRST, RESEND_MOST) == (5_000, 60_000)


def test_a_new_reconciler_sends_everything_again() -> None:
    state = placed()
    first = orders(Reconciler().commands(state, state.now))
    assert first == orders(Reconciler().commands(state, state.now))
    assert isinstance(first[0], StartAttempt)
    assert first[0].attempt == FIRST


def test_a_stop_follows_a_start_without_a_pause() -> None:
    state, reconciler = placed(), Reconciler()
    assert isinstance(orders(reconciler.commands(state, state.now))[0], StartAttempt)
    state.news.clear()
    apply(state, f.Facts(state.now, (f.CancelAsked(JobId("j1")),)))
    assert orders(reconciler.commands(state, state.now)) == [StopAttempt(LOCAL, FIRST, job("j1").grace)]


def test_what_is_met_is_not_sent_again() -> None:
    state, reconciler = placed(), Reconciler()
    reconciler.commands(state, state.now)
    apply(state, f.Facts(state.now, (f.AttemptStarted(FIRST, LOCAL, 5, state.now),)))
    state.news.clear()
    assert orders(reconciler.commands(state, Instant(state.now + 10**6))) == []


def test_an_attempt_that_nobody_wants_is_stopped() -> None:
    state, reconciler = placed(), Reconciler()
    reconciler.commands(state, state.now)
    stray = AttemptId(JobId("other-1"), 4)
    state.news.clear()
    apply(state, f.Facts(state.now, (f.AttemptStarted(stray, LOCAL, 6, state.now),)))
    assert [command.attempt for command in orders(reconciler.commands(state, state.now))] == [stray]
    later = orders(reconciler.commands(state, Instant(state.now + RESEND_FIRST)))
    assert {type(command) for command in later} == {StartAttempt, StopAttempt}


def test_a_believed_end_is_forgotten_by_its_executor() -> None:
    state, reconciler = placed(), Reconciler()
    reconciler.commands(state, state.now)
    state.news.clear()
    apply(state, f.Facts(state.now, (f.AttemptEnded(FIRST, LOCAL, 7, state.now, f.Outcome(Cause.SUCCEEDED, 0)),)))
    assert orders(reconciler.commands(state, state.now)) == [ForgetAttempt(LOCAL, FIRST)]


def test_a_wake_up_is_asked_for_once_and_moved_forward_only() -> None:
    state, reconciler = placed(), Reconciler()
    wake = [c for c in reconciler.commands(state, state.now) if isinstance(c, WakeAt)]
    assert wake == [WakeAt(Instant(state.now + RESEND_FIRST), repeat=True)]
    assert reconciler.commands(state, Instant(state.now + 1)) == []
    soon = Instant(state.now + 2_000)
    apply(state, f.Facts(state.now, (f.JobSubmitted(job("j2", not_before=soon)),)))
    assert reconciler.commands(state, Instant(state.now + 1)) == [WakeAt(soon)]


def test_nothing_unmet_needs_nothing() -> None:
    state = ClusterState()
    apply(state, f.Facts(Instant(5), tuple(f.NodeSeen(node) for node in NODES)))
    assert Reconciler().commands(state, Instant(5)) == []


@given(st.lists(st.integers(0, 30_000), max_size=40))
def test_every_unmet_intent_is_due_again_within_the_longest_pause(steps: list[int]) -> None:
    """However turns fall: after any of them the world owes a wake-up, and no pause passes without the order."""
    state, reconciler = placed(), Reconciler()
    now, sent, wake = int(state.now), int(state.now), None
    for step in [0, *steps]:
        now += step
        if wake is not None and now >= wake:
            wake = None
        commands = reconciler.commands(state, Instant(now))
        state.news.clear()
        for command in commands:
            if isinstance(command, WakeAt):
                assert command.at > now
                wake = command.at if wake is None else min(wake, command.at)
            else:
                sent = now
        assert now - sent < RESEND_MOST
        assert wake is not None
        assert wake <= now + RESEND_MOST
