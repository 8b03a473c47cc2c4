"""The simulated executor does what every executor must, in virtual time."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from fairway.model.facts import Fact
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import Job, Role
from fairway.model.node import Node
from fairway.model.plan import Placement, TaskPlacement
from fairway.model.time import Duration
from fairway.sim.agenda import Agenda
from fairway.sim.executor import SimulatedExecutor
from fairway.sim.programs import Program
from fairway.sim.site import Run, Site, StartLuck, to_nobody
from fairway.testing.contracts.executor import ExecutorContract
from fairway.testing.contracts.play import PATIENCE, Script

NODE = NodeId("n0")


class SimulatedHarness:
    """A site with one node; the agenda is its world."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.facts: list[Fact] = []
        self.begun: Counter[tuple[AttemptId, int]] = Counter()
        self._scripts: dict[JobId, Sequence[Script]] = {}
        self._epochs = itertools.count(1)
        self.site = Site(
            ExecutorId("sim"),
            [Node(NODE, executor=ExecutorId("sim"), cpu_milli=64_000, memory_mib=65_536)],
            self.agenda,
            to_nobody,
            luck=lambda: StartLuck(delay=5),
            programs=self._programs,
        )
        self.executor = SimulatedExecutor(self.site)

    def _programs(self, job: Job, runs: int | None) -> tuple[Program, ...]:
        (run,) = [run for run in self.site.runs.values() if run.job is job]
        scripts = self._scripts[job.id]
        self.begun.update((run.attempt, rank) for rank in range(len(scripts)))
        return tuple(Program(script.runs, script.exit_code, script.on_stop) for script in scripts)

    async def open(self) -> None:
        self.executor = SimulatedExecutor(self.site)
        await self.executor.open(self.facts.append, next(self._epochs))

    async def close(self) -> None:
        await self.executor.close()

    async def crash(self) -> None:
        self.site.tell = to_nobody

    def job(self, name: str, scripts: Sequence[Script]) -> tuple[Job, Placement]:
        job_id = JobId(name)
        self._scripts[job_id] = scripts
        roles = tuple(Role(name=f"task{rank}") for rank in range(len(scripts)))
        placement = tuple(TaskPlacement(rank, rank, NODE) for rank in range(len(scripts)))
        return Job(id=job_id, name=name, queue=QueueId("q"), roles=roles), placement

    def _run(self, attempt: AttemptId) -> Run | None:
        run = self.site.runs.get(attempt)
        return run if run is not None and run.began is not None else None

    def runs(self, attempt: AttemptId, rank: int = 0) -> int:
        return self.begun[attempt, rank]

    def alive(self, attempt: AttemptId, rank: int = 0) -> bool:
        run = self._run(attempt)
        return run is not None and rank in run.alive

    async def settle(self, until: Callable[[], bool], within: Duration = PATIENCE) -> None:
        limit = self.agenda.now + within
        while not until():
            following = self.agenda.next
            assert following is not None, "nothing more will happen"
            assert following <= limit, f"not settled within {within} ms"
            self.agenda.advance(following)

    async def elapse(self, duration: Duration) -> None:
        self.agenda.advance(self.agenda.now + duration)

    async def discard(self) -> None:
        await self.executor.close()


class TestSimulatedExecutor(ExecutorContract):
    @pytest.fixture
    def harness(self) -> SimulatedHarness:
        return SimulatedHarness()
