"""The control plane dies by SIGKILL between any two steps; the next one finds everything, and runs nothing twice.

A control plane of its own process is forked, which kills itself just before its k-th call that changes anything; k goes
from the first until it survives.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fairway.adapters.executors.local.folder import Folder, Spec, TaskSpec, prepare
from fairway.adapters.executors.local.launch import is_wrapper
from fairway.adapters.executors.local.procs import boot_id, command_line, read_stat
from fairway.engine.commands import ForgetAttempt, StartAttempt
from fairway.model.ids import AttemptId, JobId
from fairway.model.phases import Cause
from fairway.model.time import Duration
from fairway.testing.contracts.play import LONG, Script
from tests.adapters.executors.local.world import LocalWorld, lives

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


@contextmanager
def running(runner: asyncio.Runner, folder: Path) -> Iterator[LocalWorld]:
    """A control plane that nobody kills."""
    world = LocalWorld(folder)
    world.epoch = 1_000
    runner.run(world.open())
    try:
        yield world
    finally:
        runner.run(world.close())


def command(world: LocalWorld, *scripts: Script, name: str = "work-1") -> StartAttempt:
    job, placement = world.job(name, scripts)
    return StartAttempt(world.executor.name, AttemptId(job.id, 1), job, placement)


def test_a_start_that_was_cut_short_anywhere_runs_each_task_once(tmp_path: Path) -> None:
    scripts = (Script(runs=Duration(30)), Script(runs=Duration(60)))

    async def start(world: LocalWorld) -> None:
        await world.executor.start(command(world, *scripts))

    with asyncio.Runner() as runner:
        for step, folder in every_step(tmp_path):
            died = dies_at(step, folder, start)
            with running(runner, folder) as world:
                again = command(world, *scripts)
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
        await world.executor.start(command(world, *scripts))

    with asyncio.Runner() as runner:
        for step, folder in every_step(tmp_path):
            died = dies_at(step, folder, start)
            with running(runner, folder) as world:
                late = command(world, *scripts)
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
                begun = command(world, script)
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
                begun = command(world, *scripts)
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
                begun = command(world, Script())
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
                await world.executor.start(command(world, Script(runs=Duration(5)), name=name))
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


# -- claims that are not what they seem -------------------------------------------------------------------------------


def claimed(folder: Path, line: str, boot: str) -> AttemptId:
    """An attempt of one task that some wrapper has claimed so, and that has not ended."""
    world = LocalWorld(folder)
    prepare(str(world.executor.data))
    attempt = AttemptId(JobId("work-1"), 1)
    made = Folder(world.executor.data, attempt)
    made.create(Spec((TaskSpec(0, "r0"),), Duration(1_000)))
    Path(made.path, "0.claim").write_text(f"{line} {boot}\n" if boot else line)
    return attempt


def adopted(folder: Path, attempt: AttemptId) -> tuple[Cause, int | None]:
    """What a control plane makes of it: cause and signal."""
    with asyncio.Runner() as runner, running(runner, folder) as world:
        outcome = runner.run(world.end(attempt))
        return outcome.cause, outcome.signal


def test_a_number_that_was_given_away_is_not_ours(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        try:
            line = Path(f"/proc/{stranger.pid}/stat").read_text().strip().split()
            line[21] = str(int(line[21]) - 1)
            attempt = claimed(tmp_path, " ".join(line), boot_id())
            assert adopted(tmp_path, attempt) == (Cause.FAILED, signal.SIGKILL)
            assert stranger.poll() is None, "a stranger was signalled"
        finally:
            stranger.kill()


def test_what_ran_before_the_machine_was_restarted_is_lost(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        try:
            line = Path(f"/proc/{stranger.pid}/stat").read_text().strip()
            attempt = claimed(tmp_path, line, "another-boot")
            assert adopted(tmp_path, attempt) == (Cause.NODE_LOST, None)
            assert stranger.poll() is None, "a stranger was signalled"
        finally:
            stranger.kill()


def test_a_claim_whose_writer_died_writing_is_no_start(tmp_path: Path) -> None:
    attempt = claimed(tmp_path, "12 (sh) R", "")
    assert adopted(tmp_path, attempt) == (Cause.NODE_LOST, None)


def test_a_wrapper_that_is_just_claiming_is_waited_for(tmp_path: Path) -> None:
    """Held still between making its claim and writing who it is: it is found by its arguments."""
    world = LocalWorld(tmp_path)
    attempt = claimed(tmp_path, "", "")
    folder = Folder(world.executor.data, attempt)
    script = "sleep 0.3; echo exited 4 > $1/$2.exit"
    wrapper = ["/bin/sh", "-c", script, "fairway-task", folder.path, "0"]
    with subprocess.Popen(wrapper, start_new_session=True) as holder:
        while is_wrapper(command_line(holder.pid)) is None:
            assert holder.poll() is None
        with asyncio.Runner() as runner, running(runner, tmp_path) as world:
            runner.run(world.executor.start(command(world, Script())))
            assert runner.run(world.end(attempt)).exit_code == 4
            assert world.runs(attempt) == 0


LATE = 'sleep 0.3; read -r s < /proc/self/stat; echo "$s $3" > $1/$2.claim; sleep 0.2; echo exited 4 > $1/$2.exit'
"""A wrapper that takes its time, and has nothing to run."""


def late_wrapper(folder: Folder) -> list[str]:
    return ["/bin/sh", "-c", LATE, "fairway-task", folder.path, "0", boot_id()]


def planned(tmp_path: Path) -> Folder:
    """An attempt that was written down, and of which nothing is to be seen."""
    world = LocalWorld(tmp_path)
    prepare(world.executor.data)
    folder = Folder(world.executor.data, AttemptId(JobId("work-1"), 1))
    folder.create(Spec((TaskSpec(0, "r0"),), Duration(1_000)))
    return folder


def test_a_wrapper_that_has_yet_to_claim_is_adopted(tmp_path: Path) -> None:
    """The engine may have been told that it runs: an inventory without it would have it run again elsewhere."""
    folder = planned(tmp_path)
    with subprocess.Popen(late_wrapper(folder), start_new_session=True) as holder:
        while is_wrapper(command_line(holder.pid)) is None:
            assert holder.poll() is None
        with asyncio.Runner() as runner, running(runner, tmp_path) as world:
            seen = runner.run(world.executor.inventory()).attempts
            assert [(o.attempt, o.ended) for o in seen] == [(folder.attempt, None)]
            assert runner.run(world.end(folder.attempt)).exit_code == 4


def test_a_claim_that_nobody_saw_coming_is_found(tmp_path: Path) -> None:
    folder = planned(tmp_path)
    with asyncio.Runner() as runner, running(runner, tmp_path) as world:
        assert runner.run(world.executor.inventory()).attempts == (), "nothing of it was ever started"
        with subprocess.Popen(late_wrapper(folder), start_new_session=True):
            assert runner.run(world.end(folder.attempt)).exit_code == 4


def test_a_stranger_in_a_session_of_the_same_number_is_let_be(tmp_path: Path) -> None:
    """The wrapper ended while nobody watched; its number now leads somebody else's session."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        try:
            line = Path(f"/proc/{stranger.pid}/stat").read_text().strip().split()
            line[21] = "1"
            attempt = claimed(tmp_path, " ".join(line), boot_id())
            Path(tmp_path, "data", "attempts", str(attempt), "0.exit").write_text("exited 0\n")
            assert adopted(tmp_path, attempt) == (Cause.SUCCEEDED, None)
            assert stranger.poll() is None, "a stranger was signalled"
        finally:
            stranger.kill()


def test_what_was_left_behind_while_nobody_watched_is_ended(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        with running(runner, tmp_path) as world:
            job = runner.run(world.start(("/bin/sh", "-c", "sleep 600 & echo $! > left; sleep 0.1")))
            runner.run(world.settle(lambda: bool(world.files(job, "left"))))
        left = Path(world.executor.data, "attempts", str(job), "left")
        runner.run(world.settle(lambda: bool(world.files(job, "0.exit")) and left.read_text() != ""))
        assert read_stat(int(left.read_text())) is not None
        with running(runner, tmp_path) as world:
            assert runner.run(world.end(job)).cause is Cause.SUCCEEDED
            assert not lives(int(left.read_text()))


def test_what_was_left_behind_and_ignores_is_killed_and_nobody_else(tmp_path: Path) -> None:
    program = "(trap '' TERM; sleep 600) & echo $! > left; sleep 0.1"
    with asyncio.Runner() as runner:
        with running(runner, tmp_path) as world:
            job = runner.run(world.start(("/bin/sh", "-c", program), grace=Duration(100)))
            runner.run(world.settle(lambda: bool(world.files(job, "left"))))
        left = Path(world.executor.data, "attempts", str(job), "left")
        runner.run(world.settle(lambda: bool(world.files(job, "0.exit")) and left.read_text() != ""))
        with running(runner, tmp_path) as world:
            assert runner.run(world.end(job)).cause is Cause.SUCCEEDED
            assert not lives(int(left.read_text()))
