"""Reading a journal: frames and checkpoints are believed only when their checksum is right.

``JournalReader`` opens a store beside its leader, or from a backup, and changes nothing: for what-if and audits.
"""

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

from fairway.adapters.stores.database import ReadOnlyDatabase
from fairway.adapters.stores.errors import REPAIR
from fairway.model.errors import CorruptJournal, NewerFormat
from fairway.model.facts import Facts
from fairway.state.frames import MAX_INT, decode

log = logging.getLogger("fairway.store")

CHUNK = 512
"""Frames fetched at a time: a reader that holds a query open keeps SQLite from shortening its log."""

_HEAD = struct.Struct("<qq")


class Readable(Protocol):
    """A connection that answers queries: either kind of database."""

    path: Path

    def read(self, sql: str, *values: Any) -> list[Any]:
        """All rows of a query."""
        ...


def checksum(seq: int, epoch: int, body: bytes) -> int:
    """CRC-32 over the sequence number and epoch (two little-endian 64-bit integers) and the body."""
    return crc32(body, crc32(_HEAD.pack(seq, epoch)))


def intact(seq: int, epoch: int, crc: int, body: Any) -> bool:
    """Whether a row is what was once written."""
    return isinstance(body, bytes) and checksum(seq, epoch, body) == crc


def tail(database: Readable, after: int) -> Iterator[tuple[int, Facts]]:
    """Frames above ``after`` in order, without a gap. Raises CorruptJournal at the first that does not verify, after
    all before it; NewerFormat at one that this version cannot read."""
    expected = after + 1
    while rows := _chunk(database, expected):
        for seq, epoch, crc, body in rows:
            if seq != expected:
                raise _missing(database, expected, seq)
            if not intact(seq, epoch, crc, body):
                raise CorruptJournal(_broken(database.path, seq, "does not verify"), f"frame {seq}")
            try:
                yield seq, decode(body)
            except NewerFormat as error:
                raise NewerFormat(f"{error.message}. {database.path} was not changed", f"frame {seq}") from None
            except CorruptJournal as error:
                raise CorruptJournal(_broken(database.path, seq, error.message), f"frame {seq}") from None
            expected += 1


def _chunk(database: Readable, first: int) -> list[Any]:
    sql = "SELECT seq, epoch, crc, body FROM frames WHERE seq >= ? ORDER BY seq LIMIT ?"
    try:
        return database.read(sql, first, CHUNK)
    except CorruptJournal:  # a damaged page spoils the whole chunk: hand out one by one what stands before it
        try:
            return database.read(sql, first, 1)
        except CorruptJournal:
            raise CorruptJournal(_broken(database.path, first, "lies on a damaged page"), f"frame {first}") from None


def _missing(database: Readable, expected: int, found: int) -> CorruptJournal:
    compacted = database.read("SELECT value FROM meta WHERE name = 'compacted'")
    if compacted and expected <= compacted[0][0]:
        text = (
            f"frames up to {compacted[0][0]} of {database.path} were compacted away; start from its oldest checkpoint"
        )
        return CorruptJournal(text, f"frame {expected}")
    return CorruptJournal(_broken(database.path, expected, f"is missing (the next is {found})"), f"frame {expected}")


def _broken(path: Path, seq: int, what: str) -> str:
    return f"{what}, in {path}; the {seq - 1} before it are intact. To go on from there, {REPAIR}"


def newest_checkpoint(database: Readable, at_most: int | None = None) -> tuple[int, bytes] | None:
    """The newest checkpoint, not above ``at_most``, that verifies; one that does not is passed over with a warning."""
    top = MAX_INT if at_most is None else at_most
    for (seq,) in database.read("SELECT seq FROM checkpoints WHERE seq <= ? ORDER BY seq DESC", top):
        body = checkpoint(database, seq)
        if body is not None:
            return seq, body
        log.warning("checkpoint %d of %s does not verify; falling back to an older one", seq, database.path)
    return None


def checkpoint(database: Readable, seq: int) -> bytes | None:
    """The checkpoint at ``seq`` if it is there and verifies."""
    for epoch, crc, body in database.read("SELECT epoch, crc, body FROM checkpoints WHERE seq = ?", seq):
        if intact(seq, epoch, crc, body):
            return body
    return None


class JournalReader:
    """The journal of a store, without leading it. Raises StoreError where there is none, NewerFormat, CorruptJournal
    (not a store)."""

    def __init__(self, path: Path) -> None:
        self._database = ReadOnlyDatabase(path)

    def tail(self, after: int) -> Iterator[tuple[int, Facts]]:
        """Committed frames above ``after``; those a leader commits meanwhile are among them."""
        return tail(self._database, after)

    def newest_checkpoint(self) -> tuple[int, bytes] | None:
        """As of the journal's writer: (sequence number, state)."""
        return newest_checkpoint(self._database)

    def close(self) -> None:
        """Idempotent."""
        self._database.close()
