"""A folder on this machine as the world of local executors, and programs that do what a test says."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fairway.adapters.executors.local import LocalConfig, LocalExecutor
from fairway.adapters.executors.local.procs import environment, read_stat
from fairway.engine.commands import StopAttempt
from fairway.model.facts import Fact
from fairway.model.ids import AttemptId, JobId, NodeId, QueueId
from fairway.model.job import Job, Role
from fairway.model.plan import Placement, TaskPlacement
from fairway.model.time import SECOND, Duration
from fairway.testing.contracts.play import PATIENCE, Script

NODE = NodeId("here")
CONFIG = LocalConfig(node=NODE, poll_ms=20, cgroup="off")

_ON_STOP = {"dies": ":", "ignores": "trap '' TERM", "yields": "trap 'exit 75' TERM"}


class LocalWorld:
    """Meets ``contracts.play.ExecutorHarness`` with real processes."""

    def __init__(self, folder: Path, config: LocalConfig = CONFIG) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = config
        self.facts: list[Fact] = []
        self.epoch = 0
        self.executor = LocalExecutor(self.data, config)
        (folder / "signs").mkdir()

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
        return self.of_commands(name, commands)

    def program(self, script: Script) -> str:
        """A shell program that leaves a line for every time it runs, and its number."""
        signs = f"{self.folder}/signs/$FAIRWAY_JOB@$FAIRWAY_ATTEMPT.$FAIRWAY_TASK"
        return (
            f"{_ON_STOP[script.on_stop]}; echo x >> {signs}.runs; echo $$ > {signs}.pid; "
            f"sleep {script.runs / 1_000} & wait $!; {self._until(script)}; exit {script.exit_code}"
        )

    def _until(self, script: Script) -> str:
        return f"sleep {script.runs / 1_000}" if script.on_stop == "ignores" else ":"

    def of_commands(self, name: str, commands: Sequence[Sequence[str]], **fields: object) -> tuple[Job, Placement]:
        """A job with one task per command; ``fields`` are the job's."""
        roles = tuple(Role(f"r{rank}", command=tuple(command)) for rank, command in enumerate(commands))
        job = Job(JobId(name), name, QueueId("q"), roles=roles, **{"grace": Duration(5 * SECOND), **fields})
        return job, tuple(TaskPlacement(rank, rank, NODE) for rank in range(len(roles)))

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


def lives(pid: int, mark: str = "") -> bool:
    """Whether a process of this number lives, and has ``mark`` in its environment."""
    stat = read_stat(pid)
    return stat is not None and not stat.dead and (not mark or mark in environment(pid))
