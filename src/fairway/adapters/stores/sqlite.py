"""The journal in SQLite: the leader's end of ``fairway.db``.

A frame is a row ``(seq, epoch, crc, body)``. ``append`` collects; ``commit`` writes what was collected, and how far the
inbox stands in it, in one transaction that first looks whether this leader's epoch is still the newest. One process
leads: it holds a lock (``lock``) and has raised the epoch; whoever gets past the lock is still stopped by the epoch.

**After a commit that raised**, none of what was appended since the last one is in the journal, and the store can be
used. The caller's *state* is ahead of it though: a loop that has applied those facts must let go of its state, recover
from this store again (checkpoint and tail), and take what it can again: the inbox has kept its rows, executors repeat
theirs in the next inventory. On StaleEpoch it must stop.
"""

from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple, Self

from fairway.adapters.stores import reader
from fairway.adapters.stores.database import Database, get_meta, set_meta
from fairway.adapters.stores.errors import REPAIR, translated
from fairway.adapters.stores.lock import StoreLock, this_process
from fairway.adapters.stores.repair import RAISED, Repair, quarantine_tail
from fairway.model.errors import CorruptJournal, InvalidField, StaleEpoch
from fairway.model.facts import Facts
from fairway.state.frames import encode

KEPT_CHECKPOINTS = 2


class InboxRow(NamedTuple):
    """Something a face has put in: ``kind`` says what ``body`` holds (``facts``: an encoded batch)."""

    seq: int
    kind: str
    body: bytes


class SqliteStore:
    """The leader's journal at one path. Used by one thread at a time. ``epoch`` counts the leaders of the store."""

    def __init__(self, database: Database, lock: StoreLock, holder: str) -> None:
        self._database = database
        self._lock = lock
        self._pending: list[tuple[int, int, int, bytes]] = []
        self._marks: dict[int, int] = {}
        self._last: int | None = None
        with database.transaction() as connection:
            self.epoch: int = get_meta(connection, "epoch", 0) + 1
            set_meta(connection, "epoch", self.epoch)
            set_meta(connection, "holder", holder)
            self._identity: str = get_meta(connection, "identity")

    @classmethod
    def open(cls, path: Path, *, wait: float | None = None, holder: str | None = None) -> Self:
        """Lead the store at ``path``, a file that is made if there is none; its epoch is durable on return.

        Another leader is waited for up to ``wait`` seconds (None: not at all). Raises StoreBusy naming it, StoreFull,
        NewerFormat, CorruptJournal (not a store).
        """
        holder = holder or this_process()
        database = Database(path)
        try:
            lock = StoreLock.take(path, holder, wait)
            try:
                return cls(database, lock, holder)
            except BaseException:
                lock.release()
                raise
        except BaseException:
            database.close()
            raise

    def append(self, facts: Facts) -> int:
        """The frame's sequence number, counted from 1. Raises InvalidField for what cannot be written down."""
        body = encode(facts)
        seq = self.last + 1
        self._pending.append((seq, self.epoch, reader.checksum(seq, self.epoch, body), body))
        return seq

    @property
    def last(self) -> int:
        """The sequence number of the newest frame, appended or committed; 0 in an empty journal."""
        if self._pending:
            return self._pending[-1][0]
        if self._last is None:
            with translated(self._database.path):
                self._last = _last(self._database.connection)
        return self._last

    @property
    def identity(self) -> str:
        """Which journal this is. Another one has another identity, and so has this one after frames were cut off: what
        was derived from it under its old identity is to be derived anew."""
        return self._identity

    def commit(self) -> None:
        """Make everything appended, and every ``consumed``, durable in one step.

        Raises StaleEpoch, StoreFull, StoreBusy: then nothing of it is (see the module's docstring).
        """
        if not self._pending and not self._marks:
            return
        frames, marks, last = self._pending, self._marks, self.last
        # Forgotten first: whatever happens now, the next append asks the file where it stands.
        self._pending, self._marks, self._last = [], {}, None
        with self._database.transaction() as connection:
            self._fence(connection)
            if frames and frames[0][0] != (there := _last(connection)) + 1:
                text = f"frame {frames[0][0]} was to follow, but the journal ends at {there}; restart this leader"
                raise StaleEpoch(text)
            connection.executemany("INSERT INTO frames VALUES (?, ?, ?, ?)", frames)
            connection.executemany("INSERT OR REPLACE INTO consumed VALUES (?, ?)", marks.items())
        self._last = last

    def _fence(self, connection: Connection) -> None:
        epoch = get_meta(connection, "epoch", 0)
        if epoch != self.epoch:
            holder = get_meta(connection, "holder", "another process")
            raise StaleEpoch(
                f"{holder} leads {self._database.path} since epoch {epoch}; this one ({self.epoch}) must stop"
            )

    def tail(self, after: int) -> Iterator[tuple[int, Facts]]:
        """Committed frames with a sequence number above ``after``, in order. Raises CorruptJournal at the first damaged
        one, after all before it, and NewerFormat."""
        return reader.tail(self._database, after)

    def checkpoint(self, seq: int, state: bytes) -> None:
        """Keep ``state`` as what the frames up to ``seq`` add up to; the two newest checkpoints are kept.

        Raises InvalidField when ``seq`` is not committed, and as ``commit``.
        """
        committed = self._pending[0][0] - 1 if self._pending else self.last
        if not 0 <= seq <= committed:
            raise InvalidField("seq", f"frame {seq} is not committed, so it has no checkpoint; the last is {committed}")
        with self._database.transaction() as connection:
            self._fence(connection)
            row = (seq, self.epoch, reader.checksum(seq, self.epoch, state), state)
            connection.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)", row)
            connection.execute(
                "DELETE FROM checkpoints WHERE seq NOT IN (SELECT seq FROM checkpoints ORDER BY seq DESC LIMIT ?)",
                (KEPT_CHECKPOINTS,),
            )

    def newest_checkpoint(self, at_most: int | None = None) -> tuple[int, bytes] | None:
        """(Sequence number, state) of the newest checkpoint that verifies, not above frame ``at_most``; a damaged one
        is passed over, with a warning."""
        return reader.newest_checkpoint(self._database, at_most)

    def take(self, limit: int) -> list[InboxRow]:
        """Up to ``limit`` of the inbox's rows that are not consumed, in order; the same again until ``consumed``.

        Raises CorruptJournal at a row that does not verify.
        """
        start = max(self._marks.values(), default=0)
        rows = self._database.read(
            "SELECT seq, kind, crc, body FROM inbox WHERE seq > max(?, "
            "coalesce((SELECT up_to FROM consumed ORDER BY frame DESC LIMIT 1), 0)) ORDER BY seq LIMIT ?",
            start,
            limit,
        )
        for seq, _, crc, body in rows:
            if not reader.intact(seq, 0, crc, body):
                text = f"row {seq} of the inbox of {self._database.path} does not verify; {REPAIR}"
                raise CorruptJournal(text, f"inbox {seq}")
        return [InboxRow(seq, kind, body) for seq, kind, _, body in rows]

    def consumed(self, up_to: int) -> None:
        """The inbox's rows up to ``up_to`` stand in the frames appended so far: becomes true with the next commit."""
        self._marks[self.last] = up_to

    def let_go(self) -> None:
        """Forget what was appended and not committed: its caller could not believe it."""
        self._pending, self._marks, self._last = [], {}, None

    def set_aside(self, seq: int, why: str) -> None:
        """Move a row of the inbox, which cannot be believed, into the table ``quarantine``; durable on return. Raises
        as ``commit``."""
        columns = "seq, NULL, crc, body, ?"
        insert = f"INSERT INTO quarantine (origin, seq, epoch, crc, body, note) SELECT 'inbox', {columns} FROM inbox"
        with self._database.transaction() as connection:
            self._fence(connection)
            connection.execute(f"{insert} WHERE seq = ?", (f"{RAISED}{why}", seq))
            connection.execute("DELETE FROM inbox WHERE seq = ?", (seq,))

    def compact(self, before: int) -> int:
        """Drop frames below ``before`` that two checkpoints stand for, and the inbox's rows that went into them, with
        their tokens. Returns how many frames. Never done by itself: a what-if replays from the first frame."""
        checkpoints = [seq for (seq,) in self._database.read("SELECT seq FROM checkpoints ORDER BY seq")]
        good = [seq for seq in checkpoints if reader.checkpoint(self._database, seq) is not None]
        if len(good) < KEPT_CHECKPOINTS:
            return 0
        up_to = min(before - 1, good[0])
        with self._database.transaction() as connection:
            self._fence(connection)
            dropped = connection.execute("DELETE FROM frames WHERE seq <= ?", (up_to,)).rowcount
            if dropped:
                set_meta(connection, "compacted", up_to)
                connection.execute(
                    "DELETE FROM inbox WHERE seq <= "
                    "coalesce((SELECT up_to FROM consumed WHERE frame <= ? ORDER BY frame DESC LIMIT 1), 0)",
                    (up_to,),
                )
                connection.execute(
                    "DELETE FROM consumed WHERE frame < (SELECT max(frame) FROM consumed WHERE frame <= ?)", (up_to,)
                )
        return dropped

    def quarantine_tail(self) -> Repair:
        """Set damaged rows aside, and every frame from the first damaged one on: see ``repair.quarantine_tail``."""
        self.let_go()
        with self._database.transaction() as connection:
            self._fence(connection)
            done = quarantine_tail(self._database, connection)
            self._identity = get_meta(connection, "identity")
        return done

    def close(self) -> None:
        """Let another process lead. What was appended and not committed is dropped. Idempotent."""
        self._pending, self._marks = [], {}
        self._database.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _last(connection: Connection) -> int:
    """The newest frame there ever was: a journal whose frames were compacted away goes on counting."""
    newest = connection.execute("SELECT coalesce(max(seq), 0) FROM frames").fetchone()[0]
    oldest = connection.execute("SELECT coalesce(max(seq), 0) FROM checkpoints").fetchone()[0]
    return max(newest, oldest)
