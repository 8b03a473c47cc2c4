"""The local executor: attempts are processes of this machine.

What is true is in the attempts' folders (``folder``); this object only mirrors it, so that a control plane may die at
any moment and the next one, opened on the same data, goes on where it was. Three things make that safe: a task's
wrapper claims it by creating a file that must not exist, so nothing runs twice; an order to stop is written down before
anybody is signalled, and every wrapper looks for it after its claim, so nothing starts late; and a process is only
believed to be ours when its number, its start and the boot agree with its claim.

The end of a wrapper comes from the kernel (pidfd): processes are never polled. Progress files and logs are looked at a
few times a second.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from fairway.adapters.executors.local import cgroup
from fairway.adapters.executors.local.attempt import Attempt, Task, load
from fairway.adapters.executors.local.config import LocalConfig
from fairway.adapters.executors.local.discover import Machine, survey
from fairway.adapters.executors.local.folder import Folder, StopOrder, indexed, prepare
from fairway.adapters.executors.local.housekeeping import Housekeeping
from fairway.adapters.executors.local.procs import Census
from fairway.adapters.executors.local.starting import CannotStart, Starter
from fairway.adapters.executors.local.stopping import Stopper
from fairway.adapters.executors.local.watching import Roll, Watcher
from fairway.engine.commands import ForgetAttempt, StartAttempt, StopAttempt
from fairway.model.errors import Conflict
from fairway.model.facts import AttemptEnded, AttemptStarted, Fact, Inventory, Measured, Outcome, Progressed
from fairway.model.ids import AttemptId, ExecutorId
from fairway.model.phases import Cause
from fairway.model.time import Duration, Instant

_log = logging.getLogger(__name__)

_EPOCH_BITS = 40
"""Facts of one epoch are numbered from epoch x 2^40: more than any control plane lives to tell."""
_SETTLE_S = 2.0
"""How long opening waits for wrappers that are about to make their claim. It takes them a millisecond."""


@dataclass(slots=True)
class _Open:
    """What exists only while the executor is open."""

    emit: Callable[[Fact], None]
    machine: Machine
    watcher: Watcher
    stopper: Stopper
    starter: Starter
    housekeeping: Housekeeping
    seq: int


class LocalExecutor:
    """Meets ``engine.ports.Executor``. ``data`` is its folder, for one executor at a time: the store sees to that."""

    def __init__(self, data: str | os.PathLike[str], config: LocalConfig | None = None) -> None:
        self.config = config or LocalConfig()
        self.name = self.config.name
        self.data = os.path.realpath(data)
        self._attempts: dict[AttemptId, Attempt] = {}
        self._running: dict[AttemptId, Attempt] = {}
        """Those that have not ended, for housekeeping."""
        self._now_open: _Open | None = None

    # -- the port --------------------------------------------------------------------------------------------------

    async def open(self, emit: Callable[[Fact], None], epoch: int) -> None:
        """Look at the machine, adopt what still runs, find what has ended. Raises OSError when ``data`` cannot be used.

        The ends of attempts that were not forgotten are told again.
        """
        machine = await asyncio.to_thread(self._look)
        await self.close()
        loop = asyncio.get_running_loop()
        watcher = Watcher(loop, self._task_ended)
        self._now_open = _Open(
            emit,
            machine,
            watcher,
            Stopper(loop, self._task_cleared),
            Starter(machine, self.config, watcher),
            Housekeeping(loop, self.data, self.config, self._running, self._look_after),
            epoch << _EPOCH_BITS,
        )
        self._attempts.clear()
        self._running.clear()
        try:
            census = Census.take()
            roll = Roll(census)
            for attempt_id in indexed(self.data):
                self._adopt(attempt_id, census, roll)
            await watcher.settle(_SETTLE_S)
        except BaseException:
            await self.close()
            raise
        self._now_open.housekeeping.begin()

    async def start(self, command: StartAttempt) -> None:
        """Start every task that nobody has claimed. Answers a repeated start with what is known of the attempt."""
        try:
            self._start(command)
        except OSError as error:
            self._give_up(command.attempt, f"cannot write to {self.data}: {error.strerror or error}")

    async def stop(self, command: StopAttempt) -> None:
        """Write the order down, then SIGTERM and, after the grace, SIGKILL. Keeps an unknown attempt from starting."""
        now = _now()
        attempt = self._attempts.get(command.attempt)
        if attempt is None:
            folder = Folder(self.data, command.attempt)
            if folder.create(None) is None:
                self._tell_forgotten(folder)
                return
            attempt = self._enter(Attempt(folder))
        if attempt.outcome is not None:
            self._tell_end(attempt)
            return
        order = StopOrder(Instant(now + command.grace))
        if attempt.order is not None:
            earlier = min(order.deadline, attempt.order.deadline)
            order = StopOrder(earlier, attempt.order.failed)
        self._give_order(attempt, order)
        self._advance(attempt)

    async def forget(self, command: ForgetAttempt) -> None:
        """Leave an ended attempt out of inventories. One that has not ended stays."""
        attempt = self._attempts.get(command.attempt)
        if attempt is None:
            return
        if attempt.outcome is None and attempt.known:
            _log.warning("%s is to be forgotten and has not ended: it is kept", attempt.id)
            return
        del self._attempts[attempt.id]
        self._running.pop(attempt.id, None)
        attempt.folder.forget(attempt.outcome is not None and attempt.outcome.cause is Cause.SUCCEEDED)

    async def inventory(self) -> Inventory:
        """The node as it was found when the executor opened, and every attempt of which anything was ever started."""
        seen = tuple(attempt.observed() for attempt in self._attempts.values() if attempt.known)
        return Inventory(ExecutorId(self.name), self._next(), (self._open.machine.node,), seen)

    async def close(self) -> None:
        """Watch nothing any more. Every attempt goes on."""
        if self._now_open is not None:
            self._now_open.housekeeping.close()
            self._now_open.watcher.close()
            self._now_open.stopper.close()
            self._now_open = None

    # -- adopting --------------------------------------------------------------------------------------------------

    def _look(self) -> Machine:
        prepare(self.data)
        return survey(self.config, self.data)

    def _adopt(self, attempt_id: AttemptId, census: Census, roll: Roll) -> None:
        folder = Folder(self.data, attempt_id)
        attempt = load(folder)
        if attempt.spec is None and attempt.order is None and folder.discard():
            return  # its start was cut short before anything was written down: it is as if nobody had asked
        self._enter(attempt)
        self._open.starter.hold(attempt)
        for task in attempt.tasks:
            if task.end is None:
                self._open.watcher.find(attempt, task, roll)
        for task in attempt.tasks:  # only now: what an end leads to depends on all tasks
            if task.end is not None:
                self._clear(attempt, task, census)
        if attempt.order is not None:
            self._open.stopper.terminate(attempt, attempt.order.deadline)
        self._advance(attempt)

    def _enter(self, attempt: Attempt) -> Attempt:
        self._attempts[attempt.id] = self._running[attempt.id] = attempt
        return attempt

    def _find_idle(self, attempt: Attempt) -> None:
        """See whether idle tasks were claimed by wrappers from before our time."""
        idle = [task for task in attempt.tasks if task.idle]
        for task in idle:
            self._open.watcher.find(attempt, task)
        for task in idle:
            if task.end is not None:
                self._clear(attempt, task, None)

    def _look_after(self, attempt: Attempt) -> None:
        """From time to time: take its report, and see who was so late to claim that nobody saw it when we opened."""
        if attempt.started is None and attempt.order is None:
            self._find_idle(attempt)
            self._advance(attempt)
        self._report(attempt)

    # -- starting --------------------------------------------------------------------------------------------------

    def _start(self, command: StartAttempt) -> None:
        attempt = self._attempts.get(command.attempt) or self._create(command)
        if attempt is None:
            return  # it is over and forgotten
        if attempt.outcome is None and attempt.order is None and attempt.started is None:
            self._renew(attempt, command)
        if attempt.outcome is not None:
            self._tell_end(attempt)
        elif attempt.order is None:
            self._launch(attempt, command)

    def _create(self, command: StartAttempt) -> Attempt | None:
        """Write down that an attempt of which nothing is known starts now. None when it is over and forgotten."""
        attempt = Attempt(Folder(self.data, command.attempt))
        spec = self._open.starter.plan(command)
        planned = None
        try:
            planned = attempt.folder.create(spec)
        finally:
            if planned is None:
                self._open.starter.give_back(attempt.id, spec)
        if planned is None:
            return None
        attempt.take_spec(spec, planned)
        attempt.fresh = True
        return self._enter(attempt)

    def _renew(self, attempt: Attempt, command: StartAttempt) -> None:
        """Before a start is gone on with: see what came of it, and count it from now if nothing did."""
        if attempt.fresh:
            attempt.fresh = False
            return
        if attempt.spec is None:
            spec = self._open.starter.plan(command)
            attempt.take_spec(spec, attempt.folder.rewrite(spec))
        self._find_idle(attempt)
        if attempt.spec is not None and all(task.idle for task in attempt.tasks):
            attempt.planned = attempt.folder.rewrite(attempt.spec)

    def _launch(self, attempt: Attempt, command: StartAttempt) -> None:
        try:
            self._open.starter.launch(attempt, command)
        except CannotStart as refusal:
            task = next(task for task in attempt.tasks if task.rank == refusal.rank)
            task.end = self._open.watcher.write_end(attempt, task, "refused", str(refusal))
            task.cleared = True
        if attempt.started is not None:
            self._tell(AttemptStarted(attempt.id, ExecutorId(self.name), self._next(), attempt.started))
        self._advance(attempt)

    def _give_up(self, attempt_id: AttemptId, message: str) -> None:
        """End an attempt of which nothing could be written down. It is only remembered: nothing of it ever ran."""
        _log.error("%s is not started: %s", attempt_id, message)
        attempt = self._attempts.get(attempt_id) or self._enter(Attempt(Folder(self.data, attempt_id)))
        if attempt.outcome is None and not any(task.live for task in attempt.tasks):
            attempt.ended, attempt.outcome = _now(), Outcome(Cause.START_FAILED, message=message)
            self._ended(attempt)

    # -- ending ----------------------------------------------------------------------------------------------------

    def _give_order(self, attempt: Attempt, order: StopOrder) -> None:
        if order != attempt.order:
            try:
                ordered = attempt.folder.write_stop(order)
            except OSError as error:  # stopping must work on a full disk too; only a crash would forget this order
                _log.error("the order to stop %s cannot be written down: %s", attempt.id, error)
                ordered = _now()
            attempt.take_order(order, ordered)
            # After writing, not before: a wrapper that does not see the order has made its claim by now.
            self._find_idle(attempt)
        self._open.stopper.terminate(attempt, order.deadline)

    def _task_ended(self, attempt: Attempt, task: Task) -> None:
        """A wrapper has ended while we watched."""
        self._clear(attempt, task, None)
        self._advance(attempt)

    def _clear(self, attempt: Attempt, task: Task, census: Census | None) -> None:
        end, grace = task.end, self.config.straggler_grace_ms
        if end is not None and end.text == "137" and task.cgroup and cgroup.out_of_memory(task.cgroup):
            task.end = self._open.watcher.write_end(attempt, task, end.kind, "137 it ran out of its memory")
        if attempt.order is not None:
            grace = max(0, attempt.order.deadline - _now())
        elif attempt.spec is not None:
            grace = min(grace, attempt.spec.grace)
        self._open.stopper.clear(attempt, task, grace, census)

    def _task_cleared(self, attempt: Attempt, task: Task) -> None:
        task.cleared, task.pid = True, 0
        self._advance(attempt)

    def _advance(self, attempt: Attempt) -> None:
        """Do what follows from how its tasks stand: stop the rest after a failure, end when all is over."""
        if attempt.outcome is not None:
            return
        failure = attempt.first_failure()
        if failure is not None and attempt.order is None and any(task.end is None for task in attempt.tasks):
            grace = attempt.spec.grace if attempt.spec is not None else Duration(0)
            self._give_order(attempt, StopOrder(Instant(_now() + grace), failure))
        if attempt.over:
            attempt.conclude()
            self._ended(attempt)

    def _ended(self, attempt: Attempt) -> None:
        self._report(attempt)
        self._running.pop(attempt.id, None)
        self._open.starter.release(attempt)
        self._tell_end(attempt)

    # -- telling ---------------------------------------------------------------------------------------------------

    @property
    def _open(self) -> _Open:
        if self._now_open is None:
            raise Conflict(f"the executor {self.name} is not open: open it first")
        return self._now_open

    def _next(self) -> int:
        self._open.seq += 1
        return self._open.seq

    def _tell(self, fact: Fact) -> None:
        self._open.emit(fact)

    def _tell_end(self, attempt: Attempt) -> None:
        if attempt.outcome is not None and attempt.ended is not None:
            name = ExecutorId(self.name)
            self._tell(AttemptEnded(attempt.id, name, self._next(), attempt.ended, attempt.outcome))

    def _tell_forgotten(self, folder: Folder) -> None:
        """Somebody asks about an attempt that was forgotten: its files still say how it ended."""
        attempt = load(folder)
        attempt.conclude()
        if attempt.ended is None:
            attempt.ended = _now()
        self._tell_end(attempt)

    def _report(self, attempt: Attempt) -> None:
        report = attempt.progress.poll()
        if report is not None:
            self._tell(Progressed(attempt.id, report.step, report.total, report.checkpoint))
        self._report_measures(attempt)

    def _report_measures(self, attempt: Attempt) -> None:
        """What it measured, but for what was told already; not more often than ``measure_ms``."""
        report = attempt.progress.report
        if report.measure == attempt.measured or _now() - attempt.measured_at < self.config.measure_ms:
            return
        if report.wrong:
            _log.warning("%s measured what cannot be, which is passed over: %s", attempt.id, " ".join(report.wrong))
        attempt.measured, attempt.measured_at = report.measure, _now()
        if report.measure is not None:
            self._tell(Measured(attempt.id, **asdict(report.measure)))


def _now() -> Instant:
    return Instant(time.time_ns() // 1_000_000)
