"""An executor that plays its part: it runs nothing, and does what a test tells it to, right or wrong.

The ``Stage`` outlives control planes, as machines do.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fairway.adapters.controlplane import ControlPlane
from fairway.adapters.stores.inbox import Inbox
from fairway.engine.commands import ForgetAttempt, StartAttempt, StopAttempt
from fairway.model import facts as f
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import Job, Role
from fairway.model.node import Node
from fairway.model.phases import Cause, JobPhase
from fairway.model.resources import Request
from fairway.model.time import Instant
from fairway.state.frames import encode
from fairway.testing.polling import wait_for


@dataclass
class Stage:
    """What there is, and which calls fail: ``errors`` are raised by the next calls of that name, one each."""

    runs: dict[AttemptId, f.Observed] = field(default_factory=dict)
    calls: list[tuple[str, object]] = field(default_factory=list)
    errors: dict[str, list[BaseException]] = field(default_factory=dict)
    seq: int = 0
    ends_by_itself: bool = True
    message: str = ""

    def called(self, name: str) -> int:
        """How often."""
        return sum(call == name for call, _ in self.calls)


class Actor:
    """Meets ``engine.ports.Executor``. Attempts end well as soon as they start, unless the stage says otherwise."""

    def __init__(self, stage: Stage, name: str = "local") -> None:
        self.stage = stage
        self.name = name
        self.emit: Callable[[f.Fact], None] = lambda _: None

    async def open(self, emit: Callable[[f.Fact], None], epoch: int) -> None:
        self._call("open", epoch)
        self.emit = emit

    async def start(self, command: StartAttempt) -> None:
        self._call("start", command.attempt)
        if command.attempt not in self.stage.runs:
            at = now()
            self.stage.runs[command.attempt] = f.Observed(command.attempt, at)
            self.emit(f.AttemptStarted(command.attempt, ExecutorId(self.name), self._seq(), at))
            if self.stage.ends_by_itself:
                self.end(command.attempt, f.Outcome(Cause.SUCCEEDED, 0, message=self.stage.message))

    async def stop(self, command: StopAttempt) -> None:
        self._call("stop", command.attempt)
        self.end(command.attempt, f.Outcome(Cause.FAILED, signal=15))

    async def forget(self, command: ForgetAttempt) -> None:
        self._call("forget", command.attempt)
        self.stage.runs.pop(command.attempt, None)

    async def inventory(self) -> f.Inventory:
        self._call("inventory", None)
        node = Node(NodeId("here"), ExecutorId(self.name), 8_000, 8_000)
        return f.Inventory(ExecutorId(self.name), self._seq(), (node,), tuple(self.stage.runs.values()))

    async def close(self) -> None:
        self._call("close", None)
        self.emit = lambda _: None

    def end(self, attempt: AttemptId, outcome: f.Outcome) -> None:
        """An attempt ends. Called in the executors' thread."""
        before = self.stage.runs.get(attempt, f.Observed(attempt, None))
        if before.outcome is None:
            self.stage.runs[attempt] = f.Observed(attempt, before.started, now(), outcome)
        self.emit(f.AttemptEnded(attempt, ExecutorId(self.name), self._seq(), now(), outcome))

    def _seq(self) -> int:
        self.stage.seq += 1
        return self.stage.seq

    def _call(self, name: str, about: object) -> None:
        self.stage.calls.append((name, about))
        if self.stage.errors.get(name):
            raise self.stage.errors[name].pop(0)


def now() -> Instant:
    return Instant(time.time_ns() // 1_000_000)


def submission(seq: int) -> bytes:
    """A row of the inbox: one job of 1 CPU, called after its number."""
    made = Job(JobId(f"job-{seq}"), "job", QueueId("team"), (Role(request=Request(cpu_milli=1_000)),), submitted=now())
    return encode(f.Facts(now(), (f.JobSubmitted(made),)))


def submit(inbox: Inbox) -> JobId:
    """Put one job into the durable inbox."""
    return JobId(f"job-{inbox.put(None, submission)}")


def submit_beside(path: Path) -> JobId:
    """As another process would, that has no bell to ring."""
    with Inbox(path) as inbox:
        return submit(inbox)


def plane_of(folder: Path, stage: Stage) -> ControlPlane:
    return ControlPlane.open(folder, [Actor(stage)])


def phase(plane: ControlPlane, job: JobId) -> JobPhase | None:
    status = plane.readmodel.job(job)
    return status.phase if status else None


def succeeded(plane: ControlPlane, job: JobId) -> bool:
    return wait_for(lambda: phase(plane, job) is JobPhase.SUCCEEDED, f"the end of {job}")
