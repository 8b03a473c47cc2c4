"""Recovery with a projection: from a checkpoint that its tables have reached, so that no frame is missing in them."""

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from fairway.adapters.stores.projection import Projection
from fairway.engine.ports import Journal, View
from fairway.engine.recover import Recovered, recover
from fairway.model.errors import CorruptJournal
from fairway.model.facts import Facts
from fairway.state.codec import load

log = logging.getLogger("fairway.store")


class Source(Journal, Protocol):
    """A journal that says which one it is: ``SqliteStore``."""

    @property
    def identity(self) -> str: ...

    @property
    def last(self) -> int: ...

    def newest_checkpoint(self, at_most: int | None = None) -> tuple[int, bytes] | None: ...


def recover_with(journal: Source, projection: Projection, views: Sequence[View] = ()) -> Recovered:
    """``engine.recover``, which also brings ``projection`` up to the journal's last frame.

    Tables of another journal, or of frames this one no longer has, are made anew. Raises CorruptJournal, NewerFormat as
    ``recover`` does, and StoreError where the tables cannot be written.
    """
    if projection.identity != journal.identity or projection.seq > journal.last:
        projection.clear(journal.identity)
    newest = journal.newest_checkpoint()
    if newest is not None and projection.seq < newest[0]:
        if _readable(journal, projection.seq, newest[0]):
            return recover(_UpTo(journal, projection.seq), [projection, *views])
        log.warning(
            "frames %d to %d cannot be read again: %s shows no attempts and decisions from then",
            projection.seq + 1, newest[0], projection.path,
        )  # fmt: skip
        state = load(newest[1])
        projection.resync(newest[0], state.now, state)
    return recover(journal, [projection, *views])


def _readable(journal: Source, have: int, until: int) -> bool:
    """Whether the frames that the tables lack can be replayed from a checkpoint at or before frame ``have``."""
    start = journal.newest_checkpoint(have)
    try:
        for seq, _ in journal.tail(start[0] if start else 0):
            if seq >= until:
                break
    except CorruptJournal:
        return False
    return True


class _UpTo:
    """A journal that does not know the checkpoints above a frame."""

    def __init__(self, journal: Source, seq: int) -> None:
        self._journal = journal
        self._seq = seq

    def newest_checkpoint(self) -> tuple[int, bytes] | None:
        return self._journal.newest_checkpoint(self._seq)

    def tail(self, after: int) -> Iterable[tuple[int, Facts]]:
        return self._journal.tail(after)

    def append(self, facts: Facts) -> int:
        return self._journal.append(facts)

    def commit(self) -> None:
        self._journal.commit()

    def checkpoint(self, seq: int, state: bytes) -> None:
        self._journal.checkpoint(seq, state)
