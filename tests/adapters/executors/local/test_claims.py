"""Claims that are not what they seem, and what was left behind while nobody watched."""

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest

from fairway.adapters.executors.local import starting
from fairway.adapters.executors.local.folder import Folder, Spec, StopOrder, TaskSpec, prepare
from fairway.adapters.executors.local.launch import Launch, is_wrapper
from fairway.adapters.executors.local.procs import boot_id, command_line, read_stat
from fairway.model.ids import AttemptId, JobId
from fairway.model.phases import Cause
from fairway.model.time import Duration, Instant
from fairway.testing.contracts.play import Script
from tests.adapters.executors.local.world import LocalWorld, lives, running, started

pytestmark = pytest.mark.real


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
            runner.run(world.executor.start(started(world, Script())))
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


def test_a_wrapper_that_comes_second_leaves_the_task_to_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's wrapper claims just before ours does: its end is the task's."""
    with asyncio.Runner() as runner, running(runner, tmp_path) as world:
        command_ = started(world, Script())
        folder = Folder(world.executor.data, command_.attempt)
        first = ["/bin/sh", "-c", "sleep 0.3; echo exited 4 > $1/0.exit", "x", folder.path]
        others: list[subprocess.Popen[bytes]] = []

        def spawn(launch: Launch) -> int:
            others.append(subprocess.Popen(first, start_new_session=True))
            line = Path(f"/proc/{others[0].pid}/stat").read_text().strip()
            Path(folder.path, "0.claim").write_text(f"{line} {boot_id()}\n")
            return really_spawn(launch)

        really_spawn = starting.spawn
        monkeypatch.setattr(starting, "spawn", spawn)
        runner.run(world.executor.start(command_))
        assert runner.run(world.end(command_.attempt)).exit_code == 4
        assert world.runs(command_.attempt) == 0
        assert len(others) == 1
        others[0].wait()


def test_a_claim_that_nobody_saw_coming_is_found(tmp_path: Path) -> None:
    folder = planned(tmp_path)
    with asyncio.Runner() as runner, running(runner, tmp_path) as world:
        assert runner.run(world.executor.inventory()).attempts == (), "nothing of it was ever started"
        with subprocess.Popen(late_wrapper(folder), start_new_session=True):
            assert runner.run(world.end(folder.attempt)).exit_code == 4


def test_a_claim_made_while_the_order_to_stop_is_written_is_not_overlooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper that claims before the order is there does not see it: whoever gives it must look again."""
    folder = planned(tmp_path)
    others: list[subprocess.Popen[bytes]] = []

    def write_stop(self: Folder, order: StopOrder) -> Instant:
        others.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
        line = Path(f"/proc/{others[0].pid}/stat").read_text().strip()
        Path(folder.path, "0.claim").write_text(f"{line} {boot_id()}\n")
        return really_write(self, order)

    really_write = Folder.write_stop
    with asyncio.Runner() as runner, running(runner, tmp_path) as world:
        monkeypatch.setattr(Folder, "write_stop", write_stop)
        runner.run(world.stop(folder.attempt, 1_000))
        runner.run(world.end(folder.attempt))
        assert not lives(others[0].pid)


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
