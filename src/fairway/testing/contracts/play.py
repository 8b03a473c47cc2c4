"""The words in which contract scenarios are told: what a program does, the world it runs in, and a view of both.

Nothing here reads a clock or starts a process: a harness does, or advances a heap in virtual time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from fairway.engine.commands import ForgetAttempt, StartAttempt, StopAttempt
from fairway.engine.ports import Executor
from fairway.model.facts import AttemptEnded, AttemptStarted, Fact, Inventory, Observed
from fairway.model.ids import AttemptId
from fairway.model.job import Job
from fairway.model.plan import Placement
from fairway.model.time import MINUTE, SECOND, Duration

SIGKILL, SIGTERM = 9, 15
YIELDED = 75
"""Exit status of a program that stopped because it was asked to and has not finished (EX_TEMPFAIL)."""

SHORT = Duration(20)
LONG = Duration(10 * MINUTE)
"""Longer than any scenario: a program that runs so long ends only when it is stopped."""
GRACE = Duration(10 * SECOND)
PATIENCE = Duration(20 * SECOND)


@dataclass(frozen=True, slots=True)
class Script:
    """What the program of one task does: ends by itself after ``runs`` milliseconds with ``exit_code``; on SIGTERM it
    dies of it, goes on regardless until SIGKILL, or exits with ``YIELDED``."""

    runs: Duration = SHORT
    exit_code: int = 0
    on_stop: Literal["dies", "ignores", "yields"] = "dies"


class ExecutorHarness(Protocol):
    """One world with one executor in it. The world outlives the executor, as machines outlive a control plane."""

    executor: Executor
    """The one that is open now."""
    facts: list[Fact]
    """Everything any executor of this world has emitted, in order."""

    async def open(self) -> None:
        """Open an executor on this world, with an epoch above all earlier ones: the new ``executor``."""
        ...

    async def close(self) -> None:
        """Close it in order."""
        ...

    async def crash(self) -> None:
        """Let it vanish as with its process: it is not closed, and emits nothing from now on."""
        ...

    def job(self, name: str, scripts: Sequence[Script]) -> tuple[Job, Placement]:
        """A job with one task per script, rank by rank (one role each), and a valid placement for it."""
        ...

    def runs(self, attempt: AttemptId, rank: int = 0) -> int:
        """How many times the program of this task has begun. More than 1 is what no executor may ever do."""
        ...

    def alive(self, attempt: AttemptId, rank: int = 0) -> bool:
        """Whether the program of this task runs now."""
        ...

    async def settle(self, until: Callable[[], bool], within: Duration = PATIENCE) -> None:
        """Let time pass until ``until()`` holds. Raises AssertionError when it does not within so many milliseconds."""
        ...

    async def elapse(self, duration: Duration) -> None:
        """Let so many milliseconds pass."""
        ...

    async def discard(self) -> None:
        """Stop whatever still runs and close: the scenario is over."""
        ...


class Play:
    """A scenario's view of its harness: short words for commands and for what came back."""

    def __init__(self, harness: ExecutorHarness) -> None:
        self.harness = harness
        self.settle = harness.settle
        self.elapse = harness.elapse

    def prepare(self, *scripts: Script, name: str = "work-1", n: int = 1) -> StartAttempt:
        """The command that starts attempt ``n`` of a new job; nothing is sent."""
        job, placement = self.harness.job(name, scripts or (Script(),))
        return StartAttempt(self.harness.executor.name, AttemptId(job.id, n), job, placement)

    async def start(self, *scripts: Script, name: str = "work-1", n: int = 1) -> StartAttempt:
        """Send that command, and return it for sending again."""
        command = self.prepare(*scripts, name=name, n=n)
        await self.again(command)
        return command

    async def again(self, command: StartAttempt) -> None:
        await self.harness.executor.start(command)

    async def stop(self, attempt: AttemptId, grace: Duration = GRACE) -> None:
        await self.harness.executor.stop(StopAttempt(self.harness.executor.name, attempt, grace))

    async def forget(self, attempt: AttemptId) -> None:
        await self.harness.executor.forget(ForgetAttempt(self.harness.executor.name, attempt))

    async def running(self, command: StartAttempt) -> None:
        """Wait until every task of the attempt runs."""
        await self.settle(lambda: all(self.harness.alive(command.attempt, t.rank) for t in command.placement))

    async def end(self, attempt: AttemptId) -> AttemptEnded:
        """Wait for the end of an attempt, and return it. All its ends must tell the same outcome."""
        await self.settle(lambda: bool(self.ends(attempt)))
        return self.only_end(attempt)

    def ends(self, attempt: AttemptId) -> list[AttemptEnded]:
        return [f for f in self.harness.facts if isinstance(f, AttemptEnded) and f.attempt == attempt]

    def starts(self, attempt: AttemptId) -> list[AttemptStarted]:
        return [f for f in self.harness.facts if isinstance(f, AttemptStarted) and f.attempt == attempt]

    def only_end(self, attempt: AttemptId) -> AttemptEnded:
        ends = self.ends(attempt)
        assert ends, f"{attempt} has not ended"
        outcomes = {end.outcome for end in ends}
        assert len(outcomes) == 1, f"{attempt} ended in several ways: {outcomes}"
        return ends[0]

    async def inventory(self) -> Inventory:
        return await self.harness.executor.inventory()

    async def observed(self, attempt: AttemptId) -> Observed | None:
        """What the inventory says of an attempt; None when it does not contain it."""
        found = [o for o in (await self.inventory()).attempts if o.attempt == attempt]
        assert len(found) <= 1, f"{attempt} is {len(found)} times in the inventory"
        return found[0] if found else None

    async def seen(self, attempt: AttemptId) -> Observed:
        """The same, of an attempt that must be there."""
        found = await self.observed(attempt)
        assert found is not None, f"{attempt} is not in the inventory"
        return found

    async def reopen(self, *, crash: bool = False) -> None:
        """The control plane goes and comes back."""
        await (self.harness.crash() if crash else self.harness.close())
        await self.harness.open()
