"""What every executor must do, whatever it runs on.

A test module makes its executor pass by subclassing the suite and giving it a harness (``contracts.play``)::

    class TestLocalExecutor(ExecutorContract):
        @pytest.fixture
        def harness(self, tmp_path):
            return LocalHarness(tmp_path)

Each test is one scenario, played inside one ``asyncio.run``. It asks the harness for a job that behaves as a ``Script``
says, drives the executor with commands, and lets time pass with ``settle`` and ``elapse``, which wait in the real world
and advance the heap in a virtual one.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from fairway.model.facts import AttemptEnded, AttemptStarted, Fact
from fairway.model.ids import ExecutorId
from fairway.model.phases import Cause
from fairway.model.time import Duration
from fairway.testing.contracts.play import LONG, SIGKILL, SIGTERM, YIELDED, ExecutorHarness, Play, Script


def seqs(facts: Sequence[Fact]) -> list[int]:
    """The sequence numbers that an executor gave, in the order in which it emitted them."""
    return [f.seq for f in facts if isinstance(f, AttemptStarted | AttemptEnded)]


def scenario(play: Callable[["ExecutorContract", Play], Awaitable[None]]) -> Callable[..., None]:
    """A test that opens the harness, plays, and leaves nothing running."""

    async def whole(suite: "ExecutorContract", harness: ExecutorHarness) -> None:
        await harness.open()
        try:
            await play(suite, Play(harness))
        finally:
            await harness.discard()

    @functools.wraps(play)
    def test(self: "ExecutorContract", harness: ExecutorHarness) -> None:
        asyncio.run(whole(self, harness))

    del test.__wrapped__  # pytest would look through it and miss the fixture
    return test


class ExecutorContract:
    """The suite. Subclasses define the fixture ``harness``, one new world per test."""

    # -- one attempt, from start to end ---------------------------------------------------------------------------

    @scenario
    async def test_a_program_that_exits_0_succeeds(self, play: Play) -> None:
        begun = await play.start(Script(exit_code=0))
        end = await play.end(begun.attempt)
        assert end.outcome.cause is Cause.SUCCEEDED
        assert end.outcome.exit_code in (0, None)
        assert end.outcome.signal is None
        assert end.executor == ExecutorId(play.harness.executor.name)
        assert play.harness.runs(begun.attempt) == 1

    @scenario
    async def test_the_start_is_told_before_the_end(self, play: Play) -> None:
        begun = await play.start(Script(runs=Duration(50)))
        end = await play.end(begun.attempt)
        start = play.starts(begun.attempt)[0]
        facts = play.harness.facts
        assert facts.index(start) < facts.index(end)
        assert start.seq < end.seq
        assert start.at <= end.at

    @scenario
    async def test_another_exit_status_is_the_programs_own_failure(self, play: Play) -> None:
        begun = await play.start(Script(exit_code=3))
        end = await play.end(begun.attempt)
        assert (end.outcome.cause, end.outcome.exit_code) == (Cause.FAILED, 3)

    @scenario
    async def test_a_failure_has_a_message_for_people(self, play: Play) -> None:
        failed = await play.start(Script(exit_code=2))
        outcome = (await play.end(failed.attempt)).outcome
        assert outcome.message

    @scenario
    async def test_attempts_of_one_job_are_told_apart(self, play: Play) -> None:
        first = await play.start(Script(exit_code=1), name="again-1", n=1)
        await play.end(first.attempt)
        second = await play.start(Script(exit_code=0), name="again-1", n=2)
        assert (await play.end(second.attempt)).outcome.cause is Cause.SUCCEEDED
        assert play.only_end(first.attempt).outcome.cause is Cause.FAILED

    @scenario
    async def test_many_attempts_at_once_each_end_once(self, play: Play) -> None:
        begun = [await play.start(Script(exit_code=i % 2), name=f"many-{i}") for i in range(12)]
        for i, command in enumerate(begun):
            end = await play.end(command.attempt)
            assert end.outcome.cause is (Cause.FAILED if i % 2 else Cause.SUCCEEDED)
            assert play.harness.runs(command.attempt) == 1

    # -- commands survive repetition ------------------------------------------------------------------------------

    @scenario
    async def test_a_second_start_does_not_run_the_program_again(self, play: Play) -> None:
        begun = await play.start(Script(runs=Duration(100)))
        await play.again(begun)
        await play.running(begun)
        await play.again(begun)
        await play.end(begun.attempt)
        assert play.harness.runs(begun.attempt) == 1

    @scenario
    async def test_a_start_after_the_end_does_not_run_the_program_again(self, play: Play) -> None:
        begun = await play.start(Script(exit_code=4))
        await play.end(begun.attempt)
        await play.again(begun)
        await play.elapse(Duration(100))
        assert play.harness.runs(begun.attempt) == 1
        assert play.only_end(begun.attempt).outcome.exit_code == 4

    @scenario
    async def test_a_stop_before_the_start_keeps_it_from_ever_starting(self, play: Play) -> None:
        late = play.prepare(Script())
        await play.stop(late.attempt)
        end = await play.end(late.attempt)
        assert end.outcome.cause is Cause.NODE_LOST
        await play.again(late)
        await play.elapse(Duration(100))
        assert play.harness.runs(late.attempt) == 0
        assert play.only_end(late.attempt).outcome == end.outcome

    @scenario
    async def test_a_stop_before_the_start_holds_over_a_restart(self, play: Play) -> None:
        late = play.prepare(Script())
        await play.stop(late.attempt)
        await play.end(late.attempt)
        await play.reopen(crash=True)
        await play.again(late)
        await play.elapse(Duration(100))
        assert play.harness.runs(late.attempt) == 0

    @scenario
    async def test_a_stop_after_the_end_changes_nothing(self, play: Play) -> None:
        begun = await play.start(Script(exit_code=5))
        end = await play.end(begun.attempt)
        await play.stop(begun.attempt, Duration(0))
        await play.elapse(Duration(100))
        assert play.only_end(begun.attempt).outcome == end.outcome

    # -- stopping -------------------------------------------------------------------------------------------------

    @scenario
    async def test_a_stop_ends_a_program_by_sigterm(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG))
        await play.running(begun)
        await play.stop(begun.attempt)
        end = await play.end(begun.attempt)
        assert (end.outcome.cause, end.outcome.signal) == (Cause.FAILED, SIGTERM)
        assert not play.harness.alive(begun.attempt)

    @scenario
    async def test_a_program_may_answer_the_stop_with_an_exit_status(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG, on_stop="yields"))
        await play.running(begun)
        await play.stop(begun.attempt)
        end = await play.end(begun.attempt)
        assert (end.outcome.cause, end.outcome.exit_code, end.outcome.signal) == (Cause.FAILED, YIELDED, None)

    @scenario
    async def test_a_program_that_ignores_the_stop_is_killed_after_its_grace(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG, on_stop="ignores"))
        await play.running(begun)
        await play.stop(begun.attempt, Duration(1_000))
        await play.elapse(Duration(100))
        assert play.harness.alive(begun.attempt), "killed before its grace was over"
        end = await play.end(begun.attempt)
        assert (end.outcome.cause, end.outcome.signal) == (Cause.FAILED, SIGKILL)
        assert not play.harness.alive(begun.attempt)

    @scenario
    async def test_a_repeated_stop_does_not_lengthen_the_grace(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG, on_stop="ignores"))
        await play.running(begun)
        await play.stop(begun.attempt, Duration(300))
        await play.stop(begun.attempt, LONG)
        await play.reopen(crash=True)
        await play.stop(begun.attempt, LONG)
        assert (await play.end(begun.attempt)).outcome.signal == SIGKILL

    @scenario
    async def test_a_second_stop_may_shorten_the_grace(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG, on_stop="ignores"))
        await play.running(begun)
        await play.stop(begun.attempt, LONG)
        await play.stop(begun.attempt, Duration(0))
        assert (await play.end(begun.attempt)).outcome.signal == SIGKILL

    # -- inventory and forgetting ---------------------------------------------------------------------------------

    @scenario
    async def test_the_inventory_has_its_node_and_nothing_else_at_first(self, play: Play) -> None:
        inventory = await play.inventory()
        assert inventory.attempts == ()
        assert inventory.executor == ExecutorId(play.harness.executor.name)
        assert inventory.nodes
        assert all(node.executor == inventory.executor for node in inventory.nodes)

    @scenario
    async def test_the_inventory_has_what_runs_and_what_ended_until_forgotten(self, play: Play) -> None:
        running = await play.start(Script(runs=LONG), name="running-1")
        ended = await play.start(Script(exit_code=6), name="ended-1")
        stopped = play.prepare(name="stopped-1")
        await play.stop(stopped.attempt)
        await play.running(running)
        end = await play.end(ended.attempt)
        await play.end(stopped.attempt)

        seen = await play.seen(running.attempt)
        assert seen.started is not None
        assert (seen.ended, seen.outcome) == (None, None)
        seen = await play.seen(ended.attempt)
        assert (seen.ended, seen.outcome) == (end.at, end.outcome)
        seen = await play.seen(stopped.attempt)
        assert (seen.started, seen.outcome) == (None, play.only_end(stopped.attempt).outcome)

        for command in (ended, stopped):
            await play.forget(command.attempt)
            assert await play.observed(command.attempt) is None
        assert await play.observed(running.attempt) is not None

    @scenario
    async def test_an_inventory_is_newer_than_every_fact_before_it(self, play: Play) -> None:
        begun = await play.start(Script())
        await play.end(begun.attempt)
        inventory = await play.inventory()
        assert inventory.seq >= max(seqs(play.harness.facts))

    @scenario
    async def test_forgetting_twice_or_the_unknown_is_no_error(self, play: Play) -> None:
        begun = await play.start(Script())
        await play.end(begun.attempt)
        await play.forget(begun.attempt)
        await play.forget(begun.attempt)
        await play.forget(play.prepare(name="never-1").attempt)
        assert (await play.inventory()).attempts == ()

    @scenario
    async def test_a_forgotten_attempt_never_starts_again(self, play: Play) -> None:
        begun = await play.start(Script())
        await play.end(begun.attempt)
        await play.forget(begun.attempt)
        await play.again(begun)
        await play.elapse(Duration(100))
        assert play.harness.runs(begun.attempt) == 1
        await play.reopen()
        assert await play.observed(begun.attempt) is None

    # -- the control plane goes and comes back --------------------------------------------------------------------

    @scenario
    async def test_work_goes_on_over_a_restart_and_is_adopted(self, play: Play) -> None:
        await self._adopted(play, crash=False)

    @scenario
    async def test_work_goes_on_over_a_crash_and_is_adopted(self, play: Play) -> None:
        await self._adopted(play, crash=True)

    async def _adopted(self, play: Play, *, crash: bool) -> None:
        begun = await play.start(Script(runs=Duration(1_000), exit_code=7))
        await play.running(begun)
        await play.reopen(crash=crash)
        assert play.harness.alive(begun.attempt)
        assert (await play.seen(begun.attempt)).ended is None
        await play.again(begun)
        end = await play.end(begun.attempt)
        assert end.outcome.exit_code == 7
        assert play.harness.runs(begun.attempt) == 1

    @scenario
    async def test_what_ended_meanwhile_is_found(self, play: Play) -> None:
        begun = await play.start(Script(runs=Duration(150), exit_code=8))
        await play.running(begun)
        await play.harness.crash()
        await play.settle(lambda: not play.harness.alive(begun.attempt))
        await play.elapse(Duration(50))
        await play.harness.open()
        seen = await play.seen(begun.attempt)
        assert seen.ended is not None
        assert seen.outcome is not None
        assert seen.outcome.exit_code == 8

    @scenario
    async def test_an_adopted_program_can_be_stopped(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG))
        await play.running(begun)
        await play.reopen(crash=True)
        await play.stop(begun.attempt)
        assert (await play.end(begun.attempt)).outcome.signal == SIGTERM
        assert not play.harness.alive(begun.attempt)

    @scenario
    async def test_a_stop_under_way_goes_on_over_a_restart(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG, on_stop="ignores"))
        await play.running(begun)
        await play.stop(begun.attempt, Duration(300))
        await play.reopen(crash=True)
        assert (await play.end(begun.attempt)).outcome.signal == SIGKILL

    @scenario
    async def test_an_end_stays_in_the_inventory_over_a_restart(self, play: Play) -> None:
        begun = await play.start(Script(exit_code=9))
        end = await play.end(begun.attempt)
        await play.reopen(crash=True)
        seen = await play.seen(begun.attempt)
        assert (seen.ended, seen.outcome) == (end.at, end.outcome)

    @scenario
    async def test_sequence_numbers_grow_over_restarts(self, play: Play) -> None:
        for round_ in range(3):
            begun = await play.start(Script(), name=f"round-{round_}")
            await play.end(begun.attempt)
            before = (await play.inventory()).seq
            await play.reopen(crash=round_ % 2 == 0)
            assert (await play.inventory()).seq > before
        given = seqs(play.harness.facts)
        assert given == sorted(set(given))

    # -- gangs ----------------------------------------------------------------------------------------------------

    @scenario
    async def test_a_gang_succeeds_when_all_its_tasks_did(self, play: Play) -> None:
        begun = await play.start(Script(runs=Duration(20)), Script(runs=Duration(1_000)), Script(runs=Duration(20)))
        await play.settle(lambda: play.harness.alive(begun.attempt, 1) and not play.harness.alive(begun.attempt, 0))
        assert not play.ends(begun.attempt)
        assert (await play.end(begun.attempt)).outcome.cause is Cause.SUCCEEDED
        assert [play.harness.runs(begun.attempt, rank) for rank in range(3)] == [1, 1, 1]
        assert len(play.starts(begun.attempt)) == 1

    @scenario
    async def test_one_failed_task_ends_its_gang(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG), Script(runs=Duration(300), exit_code=11), Script(runs=LONG))
        end = await play.end(begun.attempt)
        assert (end.outcome.cause, end.outcome.exit_code) == (Cause.FAILED, 11)
        assert "1" in end.outcome.message, "the message names the task that failed"
        assert not any(play.harness.alive(begun.attempt, rank) for rank in range(3))

    @scenario
    async def test_a_stop_reaches_every_task_of_a_gang(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG), Script(runs=LONG, on_stop="ignores"))
        await play.running(begun)
        await play.stop(begun.attempt, Duration(300))
        end = await play.end(begun.attempt)
        assert end.outcome.signal in (SIGTERM, SIGKILL)
        assert not any(play.harness.alive(begun.attempt, rank) for rank in range(2))

    @scenario
    async def test_a_gang_has_not_ended_after_a_restart_while_one_of_it_runs(self, play: Play) -> None:
        begun = await play.start(Script(runs=LONG), Script(runs=LONG, on_stop="ignores"))
        await play.running(begun)
        await play.stop(begun.attempt, Duration(1_000))
        await play.settle(lambda: not play.harness.alive(begun.attempt, 0))
        await play.reopen(crash=True)
        assert play.harness.alive(begun.attempt, 1)
        assert (await play.seen(begun.attempt)).outcome is None
        await play.end(begun.attempt)
        assert not play.harness.alive(begun.attempt, 1)

    @scenario
    async def test_a_gang_is_adopted_whole(self, play: Play) -> None:
        begun = await play.start(Script(runs=Duration(500)), Script(runs=Duration(700)))
        await play.running(begun)
        await play.reopen(crash=True)
        await play.again(begun)
        assert (await play.end(begun.attempt)).outcome.cause is Cause.SUCCEEDED
        assert [play.harness.runs(begun.attempt, rank) for rank in range(2)] == [1, 1]
