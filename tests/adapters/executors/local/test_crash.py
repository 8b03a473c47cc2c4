"""The control plane dies by SIGKILL between any two steps; the next one finds everything, and runs nothing twice.

A control plane of its own process is forked, which kills itself just before its k-th call that changes anything; k goes
from the first until it survives.
"""

import asyncio
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fairway.engine.commands import ForgetAttempt
from fairway.model.ids import AttemptId, JobId
from fairway.model.phases import Cause
from fairway.model.resources import Request
from fairway.model.time import Duration
from fairway.testing.contracts.play import LONG, Script
from tests.adapters.executors.local.world import LocalWorld, running, started

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

Scenario = Callable[[LocalWorld], Awaitable[None]]

CHANGES = ("open", "write", "mkdir", "rename", "unlink", "rmdir", "posix_spawn", "pidfd_open", "killpg")


class Doom:
    """Counts down to SIGKILL, once armed."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.armed = False

    def install(self) -> None:
        for name in CHANGES:
            setattr(os, name, self._counting(getattr(os, name)))
        signal.pidfd_send_signal = self._counting(signal.pidfd_send_signal)

    def _counting(self, call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **more: object) -> object:
            if self.armed:
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.left -= 1
            return call(*args, **more)

        return counted


def dies_at(step: int, folder: Path, scenario: Scenario, *, in_open: bool = False) -> bool:
    """Play in a process that is killed before step ``step``. False when it came to the end instead."""
    child = os.fork()
    if child == 0:
        _play_and_exit(Doom(step), folder, scenario, in_open)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"the control plane failed by itself: {code}"
    return code != 0


def _play_and_exit(doom: Doom, folder: Path, scenario: Scenario, in_open: bool) -> None:
    async def play() -> None:
        world = LocalWorld(folder)
        doom.install()
        doom.armed = in_open
        await world.open()
        doom.armed = True
        await scenario(world)

    try:
        asyncio.run(play())
    finally:  # and never back into the tests, of which this is a copy
        if sys.exc_info()[0]:
            traceback.print_exc()
        os._exit(1 if sys.exc_info()[0] else 0)


def every_step(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A step and a fresh folder, until somebody says stop."""
    for step in range(200):
        folder = tmp_path / str(step)
        folder.mkdir()
        yield step, folder
    raise AssertionError("it never comes to an end")


@pytest.mark.parametrize("request_", [Request(), Request(cpu_milli=500)], ids=["anywhere", "bound"])
def test_a_start_that_was_cut_short_anywhere_runs_each_task_once(tmp_path: Path, request_: Request) -> None:
    scripts = (Script(runs=Duration(30)), Script(runs=Duration(60)))

    async def start(world: LocalWorld) -> None:
        world.request = request_
        await world.executor.start(started(world, *scripts))

    with asyncio.Runner() as runner:
        for step, folder in every_step(tmp_path):
            died = dies_at(step, folder, start)
            with running(runner, folder) as world:
                world.request = request_
                again = started(world, *scripts)
                runner.run(world.executor.start(again))
                outcome = runner.run(world.end(again.attempt))
                assert outcome.cause is Cause.SUCCEEDED, f"killed before step {step}"
                assert [world.runs(again.attempt, rank) for rank in range(2)] == [1, 1], f"killed before step {step}"
            if not died:
                break
    assert step >= 8, "a start has many steps"


def test_a_start_that_was_cut_short_anywhere_can_be_stopped_instead(tmp_path: Path) -> None:
    scripts = (Script(runs=LONG), Script(runs=LONG))

    async def start(world: LocalWorld) -> None:
        await world.executor.start(started(world, *scripts))

    with asyncio.Runner() as runner:
        for step, folder in every_step(tmp_path):
            died = dies_at(step, folder, start)
            with running(runner, folder) as world:
                late = started(world, *scripts)
                runner.run(world.stop(late.attempt))
                outcome = runner.run(world.end(late.attempt))
                assert outcome.signal == signal.SIGTERM or outcome.cause is Cause.NODE_LOST, outcome
                runner.run(world.executor.start(late))
                runner.run(asyncio.sleep(0.05))
                assert not any(world.alive(late.attempt, rank) for rank in range(2)), f"killed before step {step}"
                assert all(world.runs(late.attempt, rank) <= 1 for rank in range(2)), f"killed before step {step}"
            if not died:
                break


def test_a_stop_that_was_cut_short_anywhere_is_gone_on_with(tmp_path: Path) -> None:
    script = Script(runs=LONG, on_stop="ignores")

    async def stop(world: LocalWorld) -> None:
        attempt = AttemptId(JobId("work-1"), 1)
        await world.stop(attempt, 50)
        await world.end(attempt)

    with asyncio.Runner() as runner:
        for step, folder in every_step(tmp_path):
            with running(runner, folder) as world:
                begun = started(world, script)
                runner.run(world.executor.start(begun))
                runner.run(world.settle(partial(world.alive, begun.attempt)))
            died = dies_at(step, folder, stop)
            with running(runner, folder) as world:
                ordered = bool(world.files(begun.attempt, "stop"))
                if not ordered:  # then nothing was done at all, and the engine asks again
                    assert world.alive(begun.attempt)
                    runner.run(world.stop(begun.attempt, 50))
                outcome = runner.run(world.end(begun.attempt))
                assert outcome.signal == signal.SIGKILL, f"killed before step {step}"
                assert not world.alive(begun.attempt)
            if not died:
                break
    assert step >= 4, "a stop has several steps"


def test_a_gang_whose_failure_was_not_dealt_with_is_ended(tmp_path: Path) -> None:
    scripts = (Script(runs=LONG), Script(runs=Duration(100), exit_code=3))

    async def fail(world: LocalWorld) -> None:
        await world.end(AttemptId(JobId("work-1"), 1))

    with asyncio.Runner() as runner:
        for step, folder in every_step(tmp_path):
            with running(runner, folder) as world:
                begun = started(world, *scripts)
                runner.run(world.executor.start(begun))
                runner.run(world.settle(partial(world.alive, begun.attempt)))
            died = dies_at(step, folder, fail, in_open=True)
            with running(runner, folder) as world:
                outcome = runner.run(world.end(begun.attempt))
                assert (outcome.cause, outcome.exit_code) == (Cause.FAILED, 3), f"killed before step {step}"
                assert not world.alive(begun.attempt)
            if not died:
                break


def test_forgetting_that_was_cut_short_is_done_or_not_done(tmp_path: Path) -> None:
    async def forget(world: LocalWorld) -> None:
        await world.executor.forget(ForgetAttempt(world.executor.name, AttemptId(JobId("work-1"), 1)))

    with asyncio.Runner() as runner:
        for step, folder in every_step(tmp_path):
            with running(runner, folder) as world:
                begun = started(world, Script())
                runner.run(world.executor.start(begun))
                runner.run(world.end(begun.attempt))
            died = dies_at(step, folder, forget)
            with running(runner, folder) as world:
                runner.run(world.executor.start(begun))
                runner.run(world.executor.forget(ForgetAttempt(world.executor.name, begun.attempt)))
                runner.run(world.executor.start(begun))
                assert runner.run(world.executor.inventory()).attempts == ()
                assert world.runs(begun.attempt) == 1
            if not died:
                break


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_in_a_storm_of_starts(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    names = [f"storm-{i}" for i in range(40)]

    async def storm(world: LocalWorld) -> None:
        ended = {seen.attempt.job for seen in (await world.executor.inventory()).attempts if seen.outcome}
        for name in names:
            if name not in ended:
                await world.executor.start(started(world, Script(runs=Duration(5)), name=name))
                await asyncio.sleep(0)
        await world.settle(lambda: all(world.ends(AttemptId(JobId(name), 1)) for name in names))

    for _ in range(6):
        child = os.fork()
        if child == 0:
            _play_and_exit(Doom(-1), tmp_path, storm, in_open=False)
        time.sleep(rng.uniform(0.02, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with asyncio.Runner() as runner, running(runner, tmp_path) as world:
        runner.run(storm(world))
        attempts = [AttemptId(JobId(name), 1) for name in names]
        assert {end.outcome.cause for attempt in attempts for end in world.ends(attempt)} == {Cause.SUCCEEDED}
        assert [world.runs(attempt) for attempt in attempts] == [1] * len(names)
