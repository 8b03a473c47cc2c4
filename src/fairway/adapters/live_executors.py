"""The asyncio thread in which executors live, and how commands reach them.

Each executor has a *post*: it opens the executor (again and again until that succeeds), carries out its commands, and
asks for its inventory right after opening and then every half minute. Nothing an executor does can hurt the loop: an
error is logged and shown, and the reconciler sends the command again.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

from fairway.engine.commands import Command, ForgetAttempt, StartAttempt, StopAttempt, WakeAt
from fairway.engine.ports import Executor
from fairway.model.facts import Fact, Inventory
from fairway.model.ids import AttemptId

INVENTORY_S = 30.0
"""Between two inventories: how long a message that got lost is missed at most."""
REPEAT_INVENTORY = 20
"""An inventory like the one before, with nothing told in between, is told only every so many times: it would fill the
journal with nothing new."""
CALL_S = 120.0
"""A call that takes longer has failed; the reconciler asks again."""
MOST_CALLS = 64
"""Calls to one executor at the same time."""
REOPEN_S = (1.0, 30.0)
"""First and longest pause before an executor that could not be opened is tried again."""
CLOSE_S = 10.0

log = logging.getLogger("fairway.live")

ExecutorCommand = StartAttempt | StopAttempt | ForgetAttempt


class Post:
    """One executor and what is under way with it. Everything here runs in the asyncio thread."""

    def __init__(self, executor: Executor, emit: Callable[[Fact], None], epoch: int, inventory_s: float) -> None:
        self.executor = executor
        self.troubles: dict[str, str] = {}
        """What goes wrong now, by the kind of call."""
        self._emit = emit
        self._epoch = epoch
        self._inventory_s = inventory_s
        self._is_open = asyncio.Event()
        self._inventory_asked = asyncio.Event()
        self._calls = asyncio.Semaphore(MOST_CALLS)
        self._under_way: dict[tuple[type, AttemptId], asyncio.Task[None]] = {}
        self._told: Inventory | None = None
        self._quiet = 0

    def take(self, command: ExecutorCommand) -> None:
        """Carry out a command, unless the same one is under way."""
        key = (type(command), command.attempt)
        if key not in self._under_way:
            task = asyncio.get_running_loop().create_task(self._carry_out(command))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))

    async def _carry_out(self, command: ExecutorCommand) -> None:
        if not self._is_open.is_set():
            await self._is_open.wait()
        async with self._calls:
            try:
                async with asyncio.timeout(CALL_S):
                    match command:
                        case StartAttempt():
                            await self.executor.start(command)
                        case StopAttempt():
                            await self.executor.stop(command)
                        case ForgetAttempt():
                            await self.executor.forget(command)
            except Exception as error:  # noqa: BLE001 - whatever an executor raises, it is asked again
                self._failed(type(command).__name__, f"{command.attempt} ", error)
            else:
                self._went_well(type(command).__name__)

    async def serve(self) -> None:
        """Open the executor, then ask for its inventory again and again, until cancelled."""
        pause, longest = REOPEN_S
        while not self._is_open.is_set():
            try:
                await self.executor.open(self._told_by_executor, self._epoch)
                self._is_open.set()
                self._went_well("open")
            except Exception as error:  # noqa: BLE001 - it is opened again after a pause
                self._failed("open", "", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        while True:
            self._inventory_asked.clear()
            await self._tell_inventory()
            try:
                async with asyncio.timeout(self._inventory_s):
                    await self._inventory_asked.wait()
            except TimeoutError:
                pass  # the usual case: half a minute is over

    def ask_inventory(self) -> None:
        """Tell everything soon: something was lost on the way."""
        self._told = None
        self._inventory_asked.set()

    async def _tell_inventory(self) -> None:
        try:
            async with asyncio.timeout(CALL_S):
                inventory = await self.executor.inventory()
        except Exception as error:  # noqa: BLE001 - it is asked again
            self._failed("inventory", "", error)
            return
        self._went_well("inventory")
        told, self._quiet = self._told, self._quiet + 1
        same = told and (told.nodes, told.attempts) == (inventory.nodes, inventory.attempts)
        if not same or self._quiet >= REPEAT_INVENTORY:
            self._emit(inventory)
            self._told, self._quiet = inventory, 0

    def _told_by_executor(self, fact: Fact) -> None:
        self._told = None
        self._emit(fact)

    def _failed(self, call: str, about: str, error: Exception) -> None:
        text = f"{call} {about}failed on executor {self.executor.name}: {str(error) or type(error).__name__}"
        if self.troubles.get(call) != text:
            self.troubles[call] = text
            log.warning("%s; trying again", text, exc_info=error)

    def _went_well(self, call: str) -> None:
        if self.troubles.pop(call, None):
            log.warning("%s works again on executor %s", call, self.executor.name)

    async def close(self) -> None:
        """Leave the executor, and everything it runs running."""
        for task in self._under_way.values():
            task.cancel()
        if self._is_open.is_set():
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self.executor.close()
            except Exception as error:  # noqa: BLE001 - closing goes on with the next
                self._failed("close", "", error)


class ExecutorThread:
    """All posts in one thread. ``emit`` is called from it."""

    def __init__(
        self, executors: Sequence[Executor], emit: Callable[[Fact], None], epoch: int, inventory_s: float = INVENTORY_S
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._posts = {executor.name: Post(executor, emit, epoch, inventory_s) for executor in executors}
        self._thread = threading.Thread(target=self._run, name="fairway-executors", daemon=True)
        self._serving: list[asyncio.Task[None]] = []
        self._unknown: set[str] = set()

    def open(self) -> None:
        """Begin. Executors that cannot be opened yet are tried again later."""
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._serving = [self._loop.create_task(post.serve(), name=name) for name, post in self._posts.items()]
        for task in self._serving:
            task.add_done_callback(_report)
        self._loop.run_forever()

    def hand_over(self, commands: Sequence[Command]) -> None:
        """Have commands carried out; returns at once. From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._spread, commands)

    def _spread(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, WakeAt):
                continue
            post = self._posts.get(command.executor)
            if post is not None:
                post.take(command)
            elif command.executor not in self._unknown:
                self._unknown.add(command.executor)
                log.error("no executor %s here: %s waits until there is one", command.executor, command.attempt)

    def ask_inventories(self) -> None:
        """Have every executor tell everything soon. From any thread."""
        for post in self._posts.values():
            self._loop.call_soon_threadsafe(post.ask_inventory)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with executors now. From any thread."""
        return tuple(text for post in self._posts.values() for text in post.troubles.copy().values())

    def close(self) -> None:
        """Close every executor, leave all work running, end the thread. Idempotent."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            try:
                asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(2 * CLOSE_S)
            except TimeoutError:
                log.error("an executor blocks its thread: leaving it behind")
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.gather(*(post.close() for post in self._posts.values()))
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception():
        log.error("executor %s is not served any more", task.get_name(), exc_info=task.exception())
