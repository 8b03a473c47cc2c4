"""The store as the live loop sees it: a journal that is patient with a full disk, and the durable inbox beside it.

What a turn has appended is kept until it is committed. When the disk is full the same frames are written again until
there is room: the state has believed them and must not get ahead of the journal. Meanwhile nothing is sent or shown,
faces refuse by themselves (their inbox is on the same disk), and running work goes on.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from fairway.engine.ports import Journal
from fairway.model.errors import StoreBusy, StoreFull
from fairway.model.facts import Fact, Facts
from fairway.state.frames import decode

PAUSE_S = 0.5
"""Between two tries to write to a full disk."""

log = logging.getLogger("fairway.store")


class Row(Protocol):
    """A row of the inbox: ``body`` holds an encoded batch of facts."""

    @property
    def seq(self) -> int: ...
    @property
    def body(self) -> bytes: ...


class Store(Journal, Protocol):
    """What the live world needs of a store beyond the journal."""

    def take(self, limit: int) -> "Iterable[Row]":
        """The inbox's first rows that are not consumed."""
        ...

    def consumed(self, up_to: int) -> None:
        """The rows up to ``up_to`` stand in what was appended so far; durable with the next commit."""
        ...


class LiveJournal:
    """``pause(seconds)`` waits between two tries and says whether to give up: then the error is raised.

    ``trouble`` says what is wrong with the store, empty when nothing is; it may be read from any thread.
    """

    def __init__(self, store: Store, pause: Callable[[float], bool]) -> None:
        self._store = store
        self._pause = pause
        self._turn: list[Facts] = []
        self._took = 0
        self._marked = 0
        self._kept = 0
        self.trouble = ""

    def take(self, limit: int) -> list[Fact]:
        """Facts of up to ``limit`` rows of the inbox. They count as consumed by the frame that is appended next.

        Raises NewerFormat, CorruptJournal.
        """
        items: list[Fact] = []
        for row in self._store.take(limit):
            items += decode(row.body).items
            self._took = row.seq
        return items

    def let_go(self) -> None:
        """Forget the turn under way: nothing of it is written, and what it took from the inbox is there again."""
        self._turn.clear()
        self._took = self._marked = self._kept

    def append(self, facts: Facts) -> int:
        """As ``ports.Journal``."""
        seq = self._store.append(facts)
        self._turn.append(facts)
        self._consume()
        return seq

    def _consume(self) -> None:
        if self._took > self._marked:
            self._store.consumed(self._took)
            self._marked = self._took

    def commit(self) -> None:
        """As ``ports.Journal``, but waits while the disk is full. Raises StaleEpoch; StoreFull when told to give up."""
        appended = True
        while True:
            try:
                if not appended:
                    self._again()
                self._store.commit()
                break
            except (StoreFull, StoreBusy) as error:
                appended = False
                if str(error) != self.trouble:
                    self.trouble = str(error)
                    log.error("%s. Nothing is started or accepted until it can be written; what runs goes on", error)
                if self._pause(PAUSE_S):
                    raise
        if self.trouble:
            self.trouble = ""
            log.warning("the store can be written again: going on, nothing was lost")
        self._turn.clear()
        self._kept = self._marked

    def _again(self) -> None:
        self._marked = self._kept
        for facts in self._turn:
            self._store.append(facts)
            self._consume()

    def tail(self, after: int) -> Iterable[tuple[int, Facts]]:
        """As ``ports.Journal``."""
        return self._store.tail(after)

    def checkpoint(self, seq: int, state: bytes) -> None:
        """As ``ports.Journal``, but goes without where it does not fit: the journal has everything all the same."""
        try:
            self._store.checkpoint(seq, state)
        except (StoreFull, StoreBusy) as error:
            log.error("no checkpoint at frame %d: %s", seq, error)

    def newest_checkpoint(self) -> tuple[int, bytes] | None:
        """As ``ports.Journal``."""
        return self._store.newest_checkpoint()
