"""How programs end, by themselves and when they are stopped, and that nothing of them is left behind."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.engine.commands import ForgetAttempt
from fairway.model.errors import Conflict
from fairway.model.facts import AttemptEnded, AttemptStarted
from fairway.model.ids import NodeId
from fairway.model.phases import Cause
from fairway.model.plan import TaskPlacement
from tests.adapters.executors.local.world import LocalWorld, lives, marked, played, sh

pytestmark = pytest.mark.real


async def pid_in(world: LocalWorld, path: Path) -> int:
    """The number that a program writes to a file, once it has."""
    await world.settle(lambda: _text(path).endswith("\n"))
    return int(_text(path))


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


# -- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "fields", "words"),
    [
        ((), {}, "no command"),
        (("no-such-program-here",), {}, "no-such-program-here"),
        (("/no/such/program",), {}, "/no/such/program"),
        (("./absent",), {}, "absent"),
        (("true",), {"workdir": "/no/such/folder"}, "/no/such/folder"),
        (("true",), {"workdir": "not/absolute"}, "not/absolute"),
        (("true",), {"env": (("A", "\0"),)}, "'A'"),
        (("true", "x" * (1 << 18)), {}, "no process can be started"),
    ],
    ids=range(8),
)
def test_what_cannot_start_says_why_and_says_so_again(
    tmp_path: Path, command: tuple[str, ...], fields: dict[str, object], words: str
) -> None:
    async def play(world: LocalWorld) -> None:
        await world.open()
        job = await world.start(command, **fields)
        outcome = await world.end(job)
        assert outcome.cause is Cause.START_FAILED
        assert words in outcome.message
        await world.close()
        await world.open()
        await world.start(("true",))
        ends = [f for f in world.facts if isinstance(f, AttemptEnded)]
        assert len(ends) >= 2
        assert {end.outcome for end in ends} == {outcome}, "it stays what it was, whatever is asked for later"
        assert not [f for f in world.facts if isinstance(f, AttemptStarted)]
        await world.close()

    asyncio.run(play(LocalWorld(tmp_path)))


@played
async def test_a_program_that_turns_out_not_to_be_one(world: LocalWorld) -> None:
    made = await world.start(sh(r"printf '#!/no/such/interpreter\n' > script; chmod +x script"), name="make-1")
    await world.end(made)
    script = f"{world.executor.data}/attempts/make-1@1/script"
    outcome = await world.end(await world.start((script,)))
    assert outcome.cause is Cause.START_FAILED
    assert script in outcome.message


@played
async def test_a_task_of_another_node_is_refused(world: LocalWorld) -> None:
    command = world.command(sh("echo ran"))
    elsewhere = replace(command, placement=(TaskPlacement(0, 0, NodeId("elsewhere")),))
    await world.executor.start(elsewhere)
    outcome = await world.end(command.attempt)
    assert outcome.cause is Cause.START_FAILED
    assert "elsewhere" in outcome.message
    nothing = replace(
        world.command(sh("echo ran"), name="gpu-1"), placement=(TaskPlacement(0, 0, NodeId("here"), (3,)),)
    )
    await world.executor.start(nothing)
    assert "device 3" in (await world.end(nothing.attempt)).message


@played
async def test_signals_are_told(world: LocalWorld) -> None:
    outcome = await world.end(await world.start(sh("kill -SEGV $$")))
    assert (outcome.cause, outcome.signal, outcome.exit_code) == (Cause.FAILED, signal.SIGSEGV, None)
    assert "SIGSEGV" in outcome.message


@played
async def test_a_wrapper_that_is_killed_takes_its_program_with_it(world: LocalWorld) -> None:
    job = await world.start(sh("echo $$ > pid; echo $PPID > wrapper; exec sleep 600"))
    folder = Path(world.data, "attempts", str(job))
    program, wrapper = await pid_in(world, folder / "pid"), await pid_in(world, folder / "wrapper")
    os.kill(wrapper, signal.SIGKILL)
    outcome = await world.end(job)
    assert (outcome.cause, outcome.signal) == (Cause.FAILED, signal.SIGKILL)
    assert not lives(program)


@played
async def test_a_full_disk_under_the_exit_file_still_tells_the_status(world: LocalWorld) -> None:
    job = await world.start(sh("ln -s /dev/full 0.exit; exit 6"))
    outcome = await world.end(job)
    assert (outcome.cause, outcome.exit_code) == (Cause.FAILED, 6)


@played
async def test_a_data_folder_that_cannot_be_written_fails_the_start(world: LocalWorld) -> None:
    os.rename(world.data / "index", world.data / "gone")
    job = await world.start(sh("true"))
    outcome = await world.end(job)
    assert outcome.cause is Cause.START_FAILED
    assert str(world.executor.data) in outcome.message
    os.rename(world.data / "gone", world.data / "index")
    seen = (await world.executor.inventory()).attempts
    assert [(o.attempt, o.started, o.outcome) for o in seen] == [(job, None, outcome)], "it is known until forgotten"
    await world.executor.forget(ForgetAttempt(world.executor.name, job))
    assert (await world.executor.inventory()).attempts == ()


def test_an_executor_that_could_not_be_opened_can_be_opened_again(tmp_path: Path) -> None:
    async def play(world: LocalWorld) -> None:
        await world.open()
        job = await world.start(sh("echo ready; sleep 0.2; exit 7"))
        await world.settle(lambda: world.log(job) == b"ready\n")
        await world.close()
        order = world.data / "attempts" / str(job) / "stop"
        os.mkdir(order)  # something that nobody expects, in the middle of adopting
        with pytest.raises(OSError, match="directory"):
            await world.open()
        with pytest.raises(Conflict, match="not open"):
            await world.executor.inventory()
        os.rmdir(order)
        await world.executor.open(world.facts.append, 9)
        assert (await world.end(job)).exit_code == 7
        await world.close()

    asyncio.run(play(LocalWorld(tmp_path)))


# -- stopping, and what is left behind --------------------------------------------------------------------------------


@played
async def test_grandchildren_die_with_it(world: LocalWorld) -> None:
    tree = "sh -c 'sleep 600 & echo $! > grandchild; wait' & echo $! > child; echo $$ > self; wait"
    job = await world.start(sh(tree))
    folder = Path(world.data, "attempts", str(job))
    pids = [await pid_in(world, folder / name) for name in ("self", "child", "grandchild")]
    await world.stop(job)
    assert (await world.end(job)).signal == signal.SIGTERM
    assert not any(map(lives, pids))


DAEMON = f"{sys.executable} -c 'import os, time; os.setsid(); time.sleep(600)'"


@pytest.mark.parametrize("leave", ["setsid sleep 600 &", "nohup setsid sh -c 'sleep 600 & wait' &", f"{DAEMON} &"])
def test_whoever_leaves_the_session_is_found_by_a_stop(tmp_path: Path, leave: str) -> None:
    async def play(world: LocalWorld) -> None:
        await world.open()
        job = await world.start(sh(f"({leave}); sleep 600"))
        await world.settle(lambda: len({os.getsid(pid) for pid in marked(world, job)}) == 2)
        pids = marked(world, job)
        await world.stop(job)
        await world.end(job)
        assert not any(map(lives, pids))
        await world.close()

    asyncio.run(play(LocalWorld(tmp_path)))


@played
async def test_what_stays_behind_in_the_group_is_ended_too(world: LocalWorld) -> None:
    job = await world.start(sh("sleep 600 & echo $! > left; exit 0"))
    left = await pid_in(world, Path(world.data, "attempts", str(job), "left"))
    assert (await world.end(job)).cause is Cause.SUCCEEDED
    assert not lives(left), "its capacity is not free as long as it runs"


@played
async def test_what_stays_behind_is_asked_first(world: LocalWorld) -> None:
    left = "(trap 'echo asked; exit' TERM; echo ready; sleep 600 & wait) & while [ ! -s 0.out ]; do sleep 0.01; done"
    job = await world.start(sh(left))
    assert (await world.end(job)).cause is Cause.SUCCEEDED
    assert world.log(job) == b"ready\nasked\n"


@played
async def test_what_stays_behind_may_finish_what_it_does(world: LocalWorld) -> None:
    """The usual script: SIGTERM ends the shell at once, and the training below it saves and exits."""
    training = "trap 'sleep 0.3; echo saved; exit 75' TERM; echo ready; sleep 600 & wait"
    job = await world.start(sh(f'sh -c "{training}"; echo never'))
    await world.settle(lambda: b"ready" in world.log(job))
    await world.stop(job)
    await world.end(job)
    assert world.log(job) == b"ready\nsaved\n"


@played
async def test_what_stays_behind_and_ignores_is_killed_after_the_grace(world: LocalWorld) -> None:
    job = await world.start(sh("(trap '' TERM; echo ready; sleep 600) & echo $! > left; wait"))
    left = await pid_in(world, Path(world.data, "attempts", str(job), "left"))
    await world.settle(lambda: b"ready" in world.log(job))
    await world.stop(job, 400)
    await asyncio.sleep(0.1)
    assert lives(left)
    await world.end(job)
    assert not lives(left)


@played
async def test_a_program_that_forks_all_the_time_is_ended(world: LocalWorld) -> None:
    job = await world.start(sh("trap '' TERM; echo ready; while :; do (sleep 0.01 & sleep 0.01 &) ; sleep 0.005; done"))
    await world.settle(lambda: b"ready" in world.log(job))
    await world.stop(job, 100)
    assert (await world.end(job)).signal == signal.SIGKILL
    assert not marked(world, job)


@played
async def test_a_stop_at_any_moment_of_a_start_ends_it(world: LocalWorld) -> None:
    """The wrapper is stopped before its claim, after it, before its program, in it: it never goes on regardless."""
    jobs = []
    for i in range(40):
        jobs.append(await world.start(sh("sleep 600"), name=f"brief-{i}"))
        await asyncio.sleep(i * 0.0002)
        await world.stop(jobs[-1])
    for job in jobs:
        outcome = await world.end(job)
        assert outcome.signal == signal.SIGTERM or outcome.cause is Cause.NODE_LOST


@played
async def test_a_stop_takes_one_process_at_its_word(world: LocalWorld) -> None:
    """SIGTERM comes once: a program that takes a second one for impatience keeps its grace."""
    count = "n=0; trap 'n=$((n+1)); echo $n' TERM; echo ready; while [ $n -lt 2 ]; do sleep 0.05; done"
    job = await world.start(sh(count))
    await world.settle(lambda: b"ready" in world.log(job))
    await world.stop(job, 500)
    await world.stop(job, 600)
    await world.end(job)
    assert world.log(job) == b"ready\n1\n"


@played
async def test_nothing_is_kept_of_what_was_forgotten(world: LocalWorld) -> None:
    async def round_(number: int) -> None:
        many = [("exit 0", 0), ("exit 1", 0), ("sleep 600 & exit 0", 0), ("sleep 600", 1)]
        jobs = [await world.start(sh(text), name=f"round-{number}-{i}") for i, (text, _) in enumerate(many)]
        gang = await world.start(sh("sleep 600"), sh("exit 1"), name=f"round-{number}-gang")
        for job, (_, stop) in zip(jobs, many, strict=True):
            if stop:
                await world.stop(job)
        for job in (*jobs, gang):
            await world.end(job)
            await world.executor.forget(ForgetAttempt(world.executor.name, job))

    await round_(0)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1, 6):
        await round_(number)
    assert len(os.listdir("/proc/self/fd")) == before
    opened = world.executor._open
    kept = (world.executor._attempts, world.executor._running, opened.stopper._endings, opened.watcher._watched)
    assert [len(each) for each in kept] == [0, 0, 0, 0]
    assert opened.starter._held == set()
    assert set(opened.starter._cores.load.values()) == {0}
    assert opened.starter._ports._held == set()
