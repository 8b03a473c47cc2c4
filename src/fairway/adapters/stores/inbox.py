"""Durable intake: a face answers "accepted" only after the submission is on the disk, whoever leads at the time.

Any thread, coroutine or process may put. One writer thread for each ``Inbox`` takes everything that is waiting and
writes it in one transaction, so that many callers share one wait for the disk. The sequence number a put gets is its
place in the order of submissions; numbers are never used twice.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection
from threading import Lock
from typing import Self

from fairway.adapters.stores.database import Database, ReadOnlyDatabase
from fairway.adapters.stores.reader import checksum
from fairway.model.errors import Conflict, StoreError

Make = Callable[[int], bytes]
"""Makes a body that contains its own sequence number. Called inside the transaction, on the inbox's thread: must be
quick, must not touch the store, and may be called again with the same number."""

log = logging.getLogger("fairway.store")

MOST_AT_ONCE = 4096
"""Rows in one transaction: the journal's own commits must get their turn."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to put in.

    ``token`` is the idempotency key: the same token again is the same submission; None for one that is not repeated.
    ``same`` is what must then be equal (the manifest as the user sent it, say); without it, the body itself.
    """

    token: str | None
    body: bytes | Make
    kind: str = "facts"
    same: bytes | None = None


@dataclass(slots=True)
class _Ticket:
    entries: Sequence[Entry]
    answer: "Future[list[int]]" = field(default_factory=Future)


_Row = tuple[int, str | None, bytes | None, str, int, bytes]


class Inbox:
    """A face's end of the store at ``path``: writes to the inbox, never to the journal, and needs no leader.

    ``on_put`` is called on the inbox's thread after rows have become durable: a leader in the same process wakes by it.
    Raises NewerFormat, CorruptJournal, StoreFull on opening.
    """

    def __init__(self, path: Path, on_put: Callable[[], None] | None = None) -> None:
        self._database = Database(path)
        # Of its own: on the writer's connection one would see rows that are not durable yet.
        self._reader = ReadOnlyDatabase(path)
        self._on_put = on_put
        self._waiting: list[_Ticket] = []
        self._guard, self._reading = Lock(), Lock()
        self._writer = ThreadPoolExecutor(1, "fairway-inbox")

    def put(self, token: str | None, body: bytes | Make, kind: str = "facts", same: bytes | None = None) -> int:
        """Sequence number of the row, durable on return; of the row there is, when the token was used before.

        Raises Conflict when that one is different, StoreFull, StoreBusy: then nothing was put.
        """
        return self.put_many([Entry(token, body, kind, same)])[0]

    def put_many(self, entries: Iterable[Entry]) -> list[int]:
        """The same for several in one step: all of them are put, or none."""
        return self._hand_in(entries).result()

    async def put_async(self, entries: Iterable[Entry]) -> list[int]:
        """``put_many`` for coroutines; those that wait at the same time share one transaction."""
        return await asyncio.wrap_future(self._hand_in(entries))

    def number_of(self, token: str) -> int | None:
        """The sequence number of the row that was put with ``token``; None when there is none."""
        with self._reading:
            rows = self._reader.read("SELECT seq FROM inbox WHERE token = ?", token)
        return rows[0][0] if rows else None

    def waiting(self) -> int:
        """Rows that no leader has moved into the journal yet."""
        sql = "SELECT count(*) FROM inbox WHERE seq > coalesce((SELECT max(up_to) FROM consumed), 0)"
        with self._reading:
            return self._reader.read(sql)[0][0]

    def close(self) -> None:
        """Waits for what was handed in. Idempotent."""
        self._writer.shutdown(wait=True)
        with self._reading:
            self._reader.close()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hand_in(self, entries: Iterable[Entry]) -> "Future[list[int]]":
        ticket = _Ticket(list(entries))
        with self._guard:
            self._waiting.append(ticket)
        try:
            self._writer.submit(self._write)
        except RuntimeError as error:
            raise StoreError(f"the inbox of {self._database.path} is closed; nothing was put") from error
        return ticket.answer

    def _write(self) -> None:
        """Answer everything that waits; whoever hands in meanwhile has asked for another round."""
        while tickets := self._next():
            answers: list[list[int] | Exception] = []
            try:
                with self._database.transaction() as connection:
                    answers += [_answer(connection, ticket.entries) for ticket in tickets]
            except Exception as error:  # noqa: BLE001 - every caller is waiting for it, none may be left waiting
                answers = [error] * len(tickets)
            for ticket, answer in zip(tickets, answers, strict=True):
                if isinstance(answer, Exception):
                    ticket.answer.set_exception(answer)
                else:
                    ticket.answer.set_result(answer)
            if self._on_put and any(isinstance(answer, list) for answer in answers):
                try:
                    self._on_put()
                except Exception:
                    log.exception("a listener of the inbox failed; what was put is durable all the same")

    def _next(self) -> list[_Ticket]:
        with self._guard:
            rows = taken = 0
            while taken < len(self._waiting) and rows < MOST_AT_ONCE:
                rows += len(self._waiting[taken].entries)
                taken += 1
            tickets, self._waiting = self._waiting[:taken], self._waiting[taken:]
        # A coroutine that was cancelled while it waited: its future says so, and its entries are not put.
        return [ticket for ticket in tickets if ticket.answer.set_running_or_notify_cancel()]


def _answer(connection: Connection, entries: Sequence[Entry]) -> list[int] | Exception:
    """The sequence numbers of one caller's entries, written; or why none of them was. One caller's mistake must not
    cost the others their turn, so nothing is written before all entries have passed."""
    (last,) = connection.execute(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'inbox'), 0)"
    ).fetchone()
    numbers: list[int] = []
    fresh: list[_Row] = []
    by_token: dict[str, _Row] = {}
    try:
        for entry in entries:
            known = by_token.get(entry.token) or _find(connection, entry.token) if entry.token is not None else None
            if known:
                _check_same(entry, known)
                numbers.append(known[0])
                continue
            row = _row(entry, last + 1 + len(fresh))
            fresh.append(row)
            numbers.append(row[0])
            if entry.token is not None:
                by_token[entry.token] = row
    except Exception as error:  # noqa: BLE001 - handed to the caller whose ``make`` it came from
        return error
    connection.executemany("INSERT INTO inbox (seq, token, digest, kind, crc, body) VALUES (?, ?, ?, ?, ?, ?)", fresh)
    return numbers


def _row(entry: Entry, seq: int) -> _Row:
    body = entry.body if isinstance(entry.body, bytes) else entry.body(seq)
    digest = None if entry.same is None else sha256(entry.same).digest()
    return seq, entry.token, digest, entry.kind, checksum(seq, 0, body), body


def _find(connection: Connection, token: str) -> _Row | None:
    return connection.execute(
        "SELECT seq, token, digest, kind, crc, body FROM inbox WHERE token = ?", (token,)
    ).fetchone()


def _check_same(entry: Entry, known: _Row) -> None:
    seq, _, digest, kind, _, body = known
    _, _, new_digest, new_kind, _, new_body = _row(entry, seq)
    same = digest == new_digest if digest is not None else body == new_body
    if not same or kind != new_kind:
        text = f"{entry.token!r} was used for a different submission (number {seq}); use a new token for a new one"
        raise Conflict(text, "token")
