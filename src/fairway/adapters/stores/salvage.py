"""Repair of a store that nobody leads: what ``fairway doctor --repair-journal`` does.

Damaged rows are set aside in place (``repair``). Where whole pages are damaged SQLite refuses to write the file: then
what can still be read is copied to a new one, row by row, and the damaged file is kept beside it under another name.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from fairway.adapters.stores import reader
from fairway.adapters.stores.database import Database, get_meta, renew_identity, set_meta
from fairway.adapters.stores.errors import translated
from fairway.adapters.stores.lock import StoreLock, this_process
from fairway.adapters.stores.repair import Repair, quarantine_tail
from fairway.model.errors import CorruptJournal, StoreError

Row = tuple[int, int, int, bytes]
"""A frame or checkpoint: (seq, epoch, crc, body)."""


def repair_journal(path: Path) -> tuple[Repair, Path | None]:
    """What was set aside, and where the damaged file is kept if a new one had to be made (None: repaired in place).

    Raises StoreError where there is no store, StoreBusy while another process leads it, NewerFormat, StoreFull, and
    CorruptJournal when not even the tables can be found any more.
    """
    if not path.exists():
        raise StoreError(f"there is no store at {path}; name the one to repair")
    lock = StoreLock.take(path, this_process())
    try:
        with closing(Database(path)) as database:
            done = _in_place(database)
        return (done, None) if done is not None else _rebuild(path)
    finally:
        lock.release()


def _in_place(database: Database) -> Repair | None:
    """What was set aside; None when damaged pages are in the way."""
    try:
        if database.read("PRAGMA quick_check(1)") != [("ok",)]:
            return None
        with database.transaction() as connection:
            _fence_all(connection)
            return quarantine_tail(database, connection)
    except CorruptJournal:
        return None


def _fence_all(connection: Connection) -> None:
    set_meta(connection, "epoch", get_meta(connection, "epoch", 0) + 1)


def _rebuild(path: Path) -> tuple[Repair, Path]:
    """Copy what can be read to a new file, and put that in the place of the damaged one, which is kept."""
    fresh = path.with_name(path.name + ".repaired")
    for left in _files(fresh):
        left.unlink(missing_ok=True)
    with closing(Database(path)) as old, closing(Database(fresh)) as new, new.transaction() as connection:
        done = _copy(old, connection)
        _fence_all(connection)
        epoch = get_meta(connection, "epoch")
    kept = path.with_name(f"{path.name}.damaged-{epoch}")
    with translated(path):
        for left in _files(path):  # SQLite finds the log of a file by the file's name
            if left.exists():
                left.rename(kept.with_name(kept.name + left.name.removeprefix(path.name)))
        fresh.rename(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return done, kept


def _files(path: Path) -> tuple[Path, ...]:
    return path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _copy(old: Database, new: Connection) -> Repair:
    """Fill the tables of ``new`` with every row of ``old`` that verifies. Raises CorruptJournal when it cannot be told
    what the inbox has already given to the journal."""
    for name, value in old.read("SELECT name, value FROM meta WHERE name != 'written_by'"):
        set_meta(new, name, value)
    renew_identity(new)
    compacted = get_meta(new, "compacted", 0)
    checkpoints, bad_checkpoints = _verified(old, "checkpoints", _keys(old, "checkpoints"))
    base = max((row[0] for row in checkpoints), default=compacted)
    history, bad_history = _verified(old, "frames", range(compacted + 1, base + 1))
    new.executemany("INSERT INTO checkpoints VALUES (?, ?, ?, ?)", checkpoints)
    new.executemany("INSERT INTO frames VALUES (?, ?, ?, ?)", history)
    cut = base + 1
    for row in _unbroken(old, cut):
        new.execute("INSERT INTO frames VALUES (?, ?, ?, ?)", row)
        cut = row[0] + 1
    marks = old.read("SELECT frame, up_to FROM consumed WHERE frame < ? ORDER BY frame DESC LIMIT 1", cut)
    new.executemany("INSERT INTO consumed VALUES (?, ?)", marks)
    bad_rows = _copy_inbox(old, new)
    lost = cut if _goes_on(old, cut) else 0
    return Repair(lost, (), tuple(bad_checkpoints), tuple(bad_rows), tuple(bad_history))


def _copy_inbox(old: Database, new: Connection) -> list[int]:
    """The numbers of rows that could not be saved. Those the journal has taken in are only missed by their tokens."""
    (newest,) = old.read("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'inbox'), 0)")[0]
    lost: list[int] = []
    for seq in range(1, newest + 1):
        try:
            rows = old.read("SELECT seq, token, digest, kind, crc, body FROM inbox WHERE seq = ?", seq)
        except CorruptJournal:
            lost.append(seq)
            continue
        for row in rows:
            if reader.intact(seq, 0, *row[4:]):
                new.execute("INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?)", row)
            else:
                lost.append(seq)
    # Numbers go on from the newest there ever was, whether it could be saved or not.
    if newest:
        new.execute("DELETE FROM sqlite_sequence WHERE name = 'inbox'")
        new.execute("INSERT INTO sqlite_sequence VALUES ('inbox', ?)", (newest,))
    return lost


def _keys(database: Database, table: str) -> list[int]:
    """The sequence numbers in a table, as far as they can be read from its front."""
    keys: list[int] = []
    sql = f"SELECT seq FROM {table} WHERE seq > ? ORDER BY seq LIMIT 1"
    try:
        while found := database.read(sql, keys[-1] if keys else 0):
            keys.append(found[0][0])
    except CorruptJournal:
        return keys
    return keys


def _verified(database: Database, table: str, keys: Any) -> tuple[list[Row], list[int]]:
    """The rows at ``keys`` that verify, and the keys of the others."""
    good: list[Row] = []
    bad: list[int] = []
    for seq in keys:
        row = _row(database, table, seq)
        if row:
            good.append(row)
        else:
            bad.append(seq)
    return good, bad


def _unbroken(database: Database, first: int) -> Iterator[Row]:
    """Frames from ``first`` on, up to the first that is missing or does not verify."""
    while row := _row(database, "frames", first):
        yield row
        first += 1


def _goes_on(database: Database, seq: int) -> bool:
    """Whether there was anything at or after frame ``seq``, readable or not."""
    try:
        return bool(database.read("SELECT seq FROM frames WHERE seq >= ? LIMIT 1", seq))
    except CorruptJournal:
        return True


def _row(database: Database, table: str, seq: int) -> Row | None:
    try:
        rows = database.read(f"SELECT seq, epoch, crc, body FROM {table} WHERE seq = ?", seq)
    except CorruptJournal:
        return None
    return next((row for row in rows if reader.intact(*row)), None)
