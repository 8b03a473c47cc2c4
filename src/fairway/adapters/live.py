"""The live world: real executors, the wall clock, people who submit.

Three threads. The loop's thread waits here for facts and hands commands over. The asyncio thread (``live_executors``)
runs executors and puts what they tell into a bounded inbox. Faces put into the store's durable inbox from threads of
their own and ring the bell. Nobody waits for anybody, but the loop for facts.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from fairway.adapters.live_executors import INVENTORY_S, ExecutorThread
from fairway.adapters.live_journal import LiveJournal
from fairway.engine.commands import Command, WakeAt
from fairway.engine.ports import Executor
from fairway.model.errors import InvalidField
from fairway.model.facts import AttemptEnded, AttemptStarted, EpochBegan, Fact, Facts, Inventory, Outcome
from fairway.model.plan import Plan
from fairway.model.time import MINUTE, NEVER, Instant
from fairway.state.frames import encode

MOST_FACTS = 2_000
"""In one batch: a turn stays short, and the commit of a crowded one is shared by many."""
LINGER_S = (0.001, 0.02)
"""How long a batch waits for company after its first fact: as long as the turn before took, within these bounds. Under
load, fewer turns then share the cost of a commit among more facts; nothing takes more than twice as long for it."""
IDLE_S = 1.0
"""A turn at least so often, for whatever time alone changes."""
MOST_WAITING = 100_000
"""Facts that wait for the loop. Beyond that they are dropped, and inventories make up for them."""

log = logging.getLogger("fairway.live")


class WallClock:
    """The time of day in whole milliseconds. When it is set back it stands still until the time has come again."""

    def __init__(self, not_before: int = 0, read: Callable[[], int] = time.time_ns) -> None:
        self._last = not_before
        self._read = read
        self._behind = False

    def __call__(self) -> Instant:
        now = self._read() // 1_000_000
        behind = now < self._last - MINUTE
        if behind and not self._behind:
            log.error("the clock was set back by %d s: time stands still until then", (self._last - now) // 1_000)
        self._behind = behind
        self._last = max(self._last, now)
        return Instant(self._last)


class LiveWorld:
    """Meets ``engine.ports.World``. ``close`` it when the loop has ended, however it did."""

    def __init__(
        self,
        executors: Sequence[Executor],
        *,
        epoch: int,
        clock: Callable[[], Instant],
        inventory_s: float = INVENTORY_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self.inventories: dict[str, Inventory] = {}
        """The first that each executor told: what there was when this process took over."""
        self.dropped = 0
        self._clock = clock
        self._epoch = epoch
        self._turn_s = 0.0
        self._idle_s = idle_s
        self._journal: LiveJournal | None = None
        self._facts: deque[Fact] = deque()
        self._bell = threading.Event()
        self._stopped = threading.Event()
        self._mail = True
        self._look_again = 0.0
        self._wake_at: int = NEVER
        self._overflown = False
        self._executors = ExecutorThread(executors, self.emit, epoch, inventory_s)

    def read_mail_of(self, journal: LiveJournal) -> None:
        """Take in the durable inbox beside ``journal`` from now on."""
        self._journal = journal

    # -- the port -------------------------------------------------------------------------------------------------

    def facts(self) -> Iterator[Facts]:
        """Batches until ``stop``. Raises NewerFormat, CorruptJournal at a row of the inbox that cannot be read."""
        self._executors.open()
        yield Facts(self._clock(), (EpochBegan(self._epoch),))
        while not self._stopped.is_set():
            items = self._gather()
            if self._stopped.is_set():
                return
            began = time.monotonic()
            yield Facts(self._clock(), items)
            self._turn_s = time.monotonic() - began

    def accept(self, plan: Plan) -> Plan:
        """The plan itself."""
        return plan

    def send(self, commands: Sequence[Command]) -> None:
        """Hand commands to the executors' thread, and keep wake-ups."""
        for command in commands:
            if isinstance(command, WakeAt):
                self._wake_at = min(self._wake_at, command.at)
        if len(commands) > 1 or (commands and not isinstance(commands[0], WakeAt)):
            self._executors.hand_over(commands)

    # -- from other threads ---------------------------------------------------------------------------------------

    def emit(self, fact: Fact) -> None:
        """Put in what an executor tells. Never waits."""
        if len(self._facts) >= MOST_WAITING:
            self._overflown = True
            self.dropped += 1
            return
        self._facts.append(fact)
        if not self._bell.is_set():
            self._bell.set()

    def ring(self) -> None:
        """There is something new in the durable inbox."""
        self._mail = True
        self._bell.set()

    def look_again(self) -> None:
        """What the last turn was told is lost: read the inbox again, and have every executor tell all it has."""
        self._executors.ask_inventories()
        self.ring()

    def stop(self) -> None:
        """End after the turn under way; also from a signal handler."""
        self._stopped.set()
        self._bell.set()

    def pause(self, seconds: float) -> bool:
        """Wait; True when it is time to end."""
        return self._stopped.wait(seconds)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with executors now."""
        return self._executors.troubles

    def close(self) -> None:
        """Leave the executors, and everything that runs running. Idempotent."""
        self.stop()
        self._executors.close()

    # -- gathering ------------------------------------------------------------------------------------------------

    def _gather(self) -> tuple[Fact, ...]:
        """What has come in, after waiting for the first and shortly for more; nothing when only time has passed."""
        until_wake = max(self._wake_at - self._clock(), 0) / 1_000
        if self._bell.wait(min(self._idle_s, until_wake)):
            shortest, longest = LINGER_S
            self._stopped.wait(min(max(self._turn_s, shortest), longest))
        self._bell.clear()
        if time.monotonic() >= self._look_again:
            self._mail = True  # another process may have put something in, and has no bell to ring
        if self._clock() >= self._wake_at:
            self._wake_at = NEVER
        items = [*self._take_mail(), *self._take_told()]
        if self._facts or self._mail:
            self._bell.set()
        return tuple(items)

    def _take_mail(self) -> list[Fact]:
        if not self._mail or self._journal is None:
            return []
        self._mail = False
        self._look_again = time.monotonic() + self._idle_s
        items = self._journal.take(MOST_FACTS)
        if len(items) >= MOST_FACTS:
            self._mail = True
        return items

    def _take_told(self) -> list[Fact]:
        items: list[Fact] = []
        while self._facts and len(items) < MOST_FACTS:
            fact = writable(self._facts.popleft())
            if fact is not None:
                items.append(fact)
            if isinstance(fact, Inventory):
                self.inventories.setdefault(fact.executor, fact)
        if self._overflown and not self._facts:
            self._overflown = False
            log.error("%d facts of executors were dropped so far: asking for inventories", self.dropped)
            self._executors.ask_inventories()
        return items


def writable(fact: Fact) -> Fact | None:
    """The fact, if it can be written down; else with its texts made fit for it, or None. Most facts are only ids and
    small numbers, and need no look."""
    if isinstance(fact, AttemptStarted) or (isinstance(fact, AttemptEnded) and not fact.outcome.message):
        return fact
    try:
        encode(Facts(Instant(0), (fact,)))
    except InvalidField as error:
        log.error("an executor told what cannot be written down (%s): %r", error, fact)
        mended = _mended(fact)
        return mended if mended is not fact and writable(mended) else None
    return fact


def _mended(fact: Fact) -> Fact:
    match fact:
        case AttemptEnded():
            return replace(fact, outcome=_plain(fact.outcome))
        case Inventory():
            seen = [replace(each, outcome=each.outcome and _plain(each.outcome)) for each in fact.attempts]
            return replace(fact, attempts=tuple(seen))
        case _:
            return fact


def _plain(outcome: Outcome) -> Outcome:
    return replace(outcome, message=ascii(outcome.message)[1:-1])
