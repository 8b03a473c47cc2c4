"""A folder on this machine as the world of local executors, and programs that do what a test says."""

import asyncio
import functools
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fairway.adapters.executors.local import LocalConfig, LocalExecutor, log_path
from fairway.adapters.executors.local.procs import Census, environment, read_stat
from fairway.engine.commands import StartAttempt, StopAttempt
from fairway.model.facts import AttemptEnded, Fact, Outcome
from fairway.model.ids import AttemptId, JobId, NodeId, QueueId
from fairway.model.job import Job, Role
from fairway.model.plan import Placement, TaskPlacement
from fairway.model.resources import Request
from fairway.model.time import SECOND, Duration
from fairway.testing.contracts.play import PATIENCE, Script

NODE = NodeId("here")
CONFIG = LocalConfig(node=NODE, poll_ms=20, cgroup="off")

NOTHING = Request()
_ON_STOP = {"dies": ":", "ignores": "trap '' TERM", "yields": "trap 'exit 75' TERM"}


class LocalWorld:
    """Meets ``contracts.play.ExecutorHarness`` with real processes."""

    def __init__(self, folder: Path, config: LocalConfig = CONFIG) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = config
        self.facts: list[Fact] = []
        self.epoch = 0
        self.request = NOTHING
        """What each task of the contract's jobs asks for."""
        self.executor = LocalExecutor(self.data, config)
        (folder / "signs").mkdir(exist_ok=True)

    async def open(self) -> None:
        self.epoch += 1
        self.executor = LocalExecutor(self.data, self.config)
        await self.executor.open(self.facts.append, self.epoch)

    async def close(self) -> None:
        await self.executor.close()

    async def crash(self) -> None:
        """What a dead control plane leaves is its files and its processes; closing writes and signals nothing."""
        await self.executor.close()

    def job(self, name: str, scripts: Sequence[Script]) -> tuple[Job, Placement]:
        commands = [("/bin/sh", "-c", self.program(script)) for script in scripts]
        return self.of_commands(name, commands, self.request)

    def program(self, script: Script) -> str:
        """A shell program that leaves a line for every time it runs, and its number."""
        signs = f"{self.folder}/signs/$FAIRWAY_JOB@$FAIRWAY_ATTEMPT.$FAIRWAY_TASK"
        return (
            f"{_ON_STOP[script.on_stop]}; echo x >> {signs}.runs; echo $$ > {signs}.pid; "
            f"sleep {script.runs / 1_000} & wait $!; exit {script.exit_code}"
        )

    def of_commands(
        self, name: str, commands: Sequence[Sequence[str]], request: Request = NOTHING, **fields: object
    ) -> tuple[Job, Placement]:
        """A job with one task per command; ``fields`` are the job's."""
        roles = tuple(Role(f"r{rank}", 1, request, command=tuple(command)) for rank, command in enumerate(commands))
        job = Job(JobId(name), name, QueueId("q"), roles=roles, **{"grace": Duration(5 * SECOND), **fields})
        gpus = [((rank,), request.gpu_milli) if request.gpus else ((), 0) for rank in range(len(roles))]
        return job, tuple(TaskPlacement(rank, rank, NODE, *gpus[rank]) for rank in range(len(roles)))

    async def start(
        self, *commands: Sequence[str], name: str = "work-1", n: int = 1, request: Request = NOTHING, **fields: object
    ) -> AttemptId:
        """Start an attempt of these commands, one task each; a task may use device ``rank`` when it asks for GPUs."""
        command = self.command(*commands, name=name, n=n, request=request, **fields)
        await self.executor.start(command)
        return command.attempt

    def command(
        self, *commands: Sequence[str], name: str = "work-1", n: int = 1, request: Request = NOTHING, **fields: object
    ) -> StartAttempt:
        """What ``start`` sends."""
        job, placement = self.of_commands(name, commands, request, **fields)
        return StartAttempt(self.executor.name, AttemptId(job.id, n), job, placement)

    async def end(self, attempt: AttemptId) -> Outcome:
        """Wait for the end of an attempt."""
        await self.settle(lambda: bool(self.ends(attempt)))
        return self.ends(attempt)[0].outcome

    def ends(self, attempt: AttemptId) -> list[AttemptEnded]:
        return [fact for fact in self.facts if isinstance(fact, AttemptEnded) and fact.attempt == attempt]

    async def stop(self, attempt: AttemptId, grace: int = 10_000) -> None:
        await self.executor.stop(StopAttempt(self.executor.name, attempt, Duration(grace)))

    def log(self, attempt: AttemptId, stream: str = "out", rank: int = 0) -> bytes:
        path = Path(log_path(self.data, *attempt, rank, stream))
        return path.read_bytes() if path.exists() else b""

    def files(self, attempt: AttemptId, pattern: str) -> list[Path]:
        return sorted(Path(self.data, "attempts", str(attempt)).glob(pattern))

    def touch(self, attempt: AttemptId, name: str) -> None:
        Path(self.data, "attempts", str(attempt), name).touch()

    def runs(self, attempt: AttemptId, rank: int = 0) -> int:
        path = self.folder / "signs" / f"{attempt}.{rank}.runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def alive(self, attempt: AttemptId, rank: int = 0) -> bool:
        path = self.folder / "signs" / f"{attempt}.{rank}.pid"
        text = path.read_text() if path.exists() else ""
        return text.endswith("\n") and lives(
            int(text), f"FAIRWAY_PROGRESS={self.executor.data}/attempts/{attempt}/progress"
        )

    async def settle(self, until: Callable[[], bool], within: Duration = PATIENCE) -> None:
        deadline = time.monotonic() + within / 1_000
        while not until():
            assert time.monotonic() < deadline, f"still not so after {within} ms; facts: {self.facts}"
            await asyncio.sleep(0.005)

    async def elapse(self, duration: Duration) -> None:
        await asyncio.sleep(duration / 1_000)

    async def discard(self) -> None:
        await self.executor.close()
        await self.open()
        for seen in (await self.executor.inventory()).attempts:
            await self.executor.stop(StopAttempt(self.executor.name, seen.attempt, Duration(0)))
        await self.settle(lambda: not self.executor._running)
        await self.executor.close()


def played(scenario: Callable[[LocalWorld], Awaitable[None]]) -> Callable[[Path], None]:
    """A test of an open world in a fresh folder, in which nothing is left running afterwards."""

    async def whole(world: LocalWorld) -> None:
        await world.open()
        try:
            await scenario(world)
        finally:
            await world.discard()

    @functools.wraps(scenario)
    def test(tmp_path: Path) -> None:
        asyncio.run(whole(LocalWorld(tmp_path)))

    del test.__wrapped__  # pytest would look through it for fixtures
    return test


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


def started(world: LocalWorld, *scripts: Script, name: str = "work-1") -> StartAttempt:
    """The command that starts a job of these scripts."""
    job, placement = world.job(name, scripts)
    return StartAttempt(world.executor.name, AttemptId(job.id, 1), job, placement)


def lives(pid: int, mark: str = "") -> bool:
    """Whether a process of this number lives, and has ``mark`` in its environment."""
    stat = read_stat(pid)
    return stat is not None and not stat.dead and (not mark or mark in environment(pid))


def marked(world: LocalWorld, attempt: AttemptId) -> set[int]:
    """The processes that carry the mark of an attempt, wherever they went."""
    found = Census.take().marked(f"FAIRWAY_PROGRESS={world.executor.data}/attempts/{attempt}/progress")
    return {process.pid for process in found}


def sh(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)
