"""Repair: damaged rows are set aside in the table ``quarantine``, where a person may look at them; nothing is deleted.

A frame that does not verify makes every later one meaningless, unless a checkpoint stands for it. So the journal is cut
before the first damaged frame that is newer than the newest good checkpoint. What faces had put in and only the cut-off
frames contained counts as not consumed again: the next leader takes it in anew, so no acknowledged submission is lost.
"""

from dataclasses import dataclass
from sqlite3 import Connection

from fairway.adapters.stores import reader
from fairway.adapters.stores.database import renew_identity
from fairway.adapters.stores.reader import Readable
from fairway.model.errors import CorruptJournal

RAISED = "raised: "
"""How the note begins of a row of the inbox that is whole, and raised when it was believed."""


def refused(database: Readable) -> list[tuple[int, str]]:
    """(number, what it is and what it raised) of the inbox's rows that could not be believed, oldest first."""
    sql = "SELECT seq, note FROM quarantine WHERE origin = 'inbox' AND note LIKE ? ORDER BY id"
    return [(seq, note.removeprefix(RAISED)) for seq, note in database.read(sql, f"{RAISED}%")]


@dataclass(frozen=True, slots=True)
class Repair:
    """What was set aside. ``cut`` is the first frame that the journal has lost (0: none), ``frames`` those from there
    on that are kept to look at. ``history`` are damaged frames that a checkpoint stands for: only a replay from the
    first frame misses them."""

    cut: int = 0
    frames: tuple[int, ...] = ()
    checkpoints: tuple[int, ...] = ()
    inbox: tuple[int, ...] = ()
    history: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.cut or self.checkpoints or self.inbox)


def quarantine_tail(database: Readable, connection: Connection) -> Repair:
    """Cut the journal before its first damaged frame, inside the caller's transaction. Raises NewerFormat for a frame
    that is whole and was written by a newer version: that is no damage."""
    newest = reader.newest_checkpoint(database)
    base = newest[0] if newest else _compacted(database)
    bad = _first_damaged(database, base)
    frames = _numbers(database, "SELECT seq FROM frames WHERE seq >= ? ORDER BY seq", bad) if bad else ()
    # A checkpoint past the cut can only be one that does not verify, or it would be the base.
    checkpoints = tuple(
        seq
        for seq in _numbers(database, "SELECT seq FROM checkpoints ORDER BY seq")
        if reader.checkpoint(database, seq) is None
    )
    inbox = _damaged(connection, "SELECT seq, 0, crc, body FROM inbox")
    history = _damaged(connection, "SELECT seq, epoch, crc, body FROM frames WHERE seq <= ?", base)
    note = f"cut before frame {bad}" if bad else "damaged"
    for origin, columns, numbers in (
        ("frames", "seq, epoch, crc, body", frames),
        ("checkpoints", "seq, epoch, crc, body", checkpoints),
        ("inbox", "seq, NULL, crc, body", inbox),
    ):
        for seq in numbers:
            insert = (
                f"INSERT INTO quarantine (origin, seq, epoch, crc, body, note) SELECT ?, {columns}, ? FROM {origin}"
            )
            connection.execute(f"{insert} WHERE seq = ?", (origin, note, seq))
            connection.execute(f"DELETE FROM {origin} WHERE seq = ?", (seq,))
    if bad:
        connection.execute("DELETE FROM consumed WHERE frame >= ?", (bad,))
        renew_identity(connection)
    return Repair(bad, frames, checkpoints, inbox, history)


def _compacted(database: Readable) -> int:
    rows = database.read("SELECT value FROM meta WHERE name = 'compacted'")
    return rows[0][0] if rows else 0


def _first_damaged(database: Readable, base: int) -> int:
    """The sequence number at which reading from ``base`` on stops; 0 when it does not."""
    good = base
    try:
        for seq, _ in reader.tail(database, base):
            good = seq
    except CorruptJournal:
        return good + 1
    return 0


def _numbers(database: Readable, sql: str, *values: int) -> tuple[int, ...]:
    return tuple(seq for (seq,) in database.read(sql, *values))


def _damaged(connection: Connection, sql: str, *values: int) -> tuple[int, ...]:
    return tuple(row[0] for row in connection.execute(sql, values) if not reader.intact(*row))
