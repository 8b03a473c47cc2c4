from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.engine.loop import Loop
from fairway.engine.memory_journal import Disk, MemoryJournal
from fairway.engine.readmodel import ReadModel
from fairway.engine.reconcile import Reconciler
from fairway.engine.recover import recover
from fairway.model.time import Instant
from fairway.state.check import check
from fairway.state.codec import digest
from tests.engine.small_world import Unruly, looped

SEEDS = st.integers(0, 10_000)


def unruly(seed: int, rounds: int = 25, disk: Disk | None = None) -> Loop:
    return looped(Unruly(random=Random(seed), rounds=rounds), journal=MemoryJournal(disk, encoded=True))


@given(SEEDS)
def test_replay_gives_the_live_state_at_every_cut(seed: int) -> None:
    loop = unruly(seed)
    for facts in loop.world.facts():
        loop.turn(facts)
        assert check(loop.state) == []
        state, seq = recover(loop.journal)
        assert (digest(state), seq) == (digest(loop.state), loop.seq)


@given(SEEDS, st.integers(1, 30))
def test_a_checkpoint_and_its_tail_give_what_the_whole_journal_gives(seed: int, every: int) -> None:
    loop = unruly(seed)
    loop.checkpoint_every = every
    for facts in loop.world.facts():
        loop.turn(facts)
        short, long = recover(loop.journal), recover(loop.journal, from_start=True)
        assert digest(short.state) == digest(long.state) == digest(loop.state)
        assert short.seq == long.seq == loop.seq


@given(SEEDS, st.integers(2, 24))
def test_a_loop_that_was_recovered_goes_on_as_the_other_would_have(seed: int, cut: int) -> None:
    """The same facts and the same plans from then on: nothing that matters was left out of a checkpoint."""
    loop, disk = unruly(seed), Disk()
    twin: Loop | None = None
    for turn, facts in enumerate(loop.world.facts()):
        plan = loop.turn(facts)
        if twin is not None:
            assert twin.turn(facts) == plan
            assert digest(twin.state) == digest(loop.state)
        elif turn == cut:
            loop.checkpoint()
            state, seq = recover(loop.journal)
            disk.frames, disk.checkpoints = list(loop.journal.disk.frames), dict(loop.journal.disk.checkpoints)
            twin = Loop(state, Unruly(random=Random(1)), MemoryJournal(disk), loop.policy, seq=seq)
    assert twin is not None


@given(SEEDS)
def test_views_take_over_exactly_the_frames_they_lack(seed: int) -> None:
    loop, live = unruly(seed), ReadModel()
    loop.views = [live]
    for facts in loop.world.facts():
        loop.turn(facts)
    again = ReadModel()
    recover(loop.journal, [again])
    assert again.published[0] == live.published[0]
    assert {job.id: job.phase for job in again.jobs()} == {job.id: job.phase for job in live.jobs()}


def test_an_empty_journal_is_an_empty_state() -> None:
    state, seq = recover(MemoryJournal())
    assert (seq, state.now, len(state.jobs)) == (0, Instant(0), 0)


def test_the_test_world_does_make_trouble() -> None:
    """The properties above mean something only if these worlds lose, retry, preempt and time out."""
    seen: set[str] = set()
    for seed in range(12):
        loop = unruly(seed, rounds=80)
        for facts in loop.world.facts():
            loop.turn(facts)
        seen |= {str(record.outcome.cause) for record in loop.state.ended.values()}
        seen |= {"preempted" for record in loop.state.ended.values() if record.preemptions}
        seen |= {"retried" for record in loop.state.ended.values() if record.failures}
    assert seen >= {"succeeded", "failed", "cancelled", "timed_out", "preempted", "retried"}


@pytest.mark.parametrize("seed", range(3))
def test_what_was_decided_and_not_sent_is_sent_after_recovery(seed: int) -> None:
    loop = unruly(seed)
    for facts in loop.world.facts():
        loop.turn(facts)
        unmet = {loop.state.jobs.attempt_id(loop.state.jobs.row_of[job]) for job in loop.state.unmet}
        state, _ = recover(loop.journal)
        sent = {getattr(command, "attempt", None) for command in Reconciler().commands(state, state.now)}
        assert unmet <= sent
