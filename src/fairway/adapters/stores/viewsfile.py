"""The file ``views.db``: opened for its one writer, or for any number of readers."""

import logging
import sqlite3
from pathlib import Path

from fairway.adapters.stores import views
from fairway.adapters.stores.database import connect
from fairway.adapters.stores.errors import translated
from fairway.model.errors import CorruptJournal, StoreError

log = logging.getLogger("fairway.store")


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The tables, made anew where they are missing, damaged or another version's.

    Raises StoreFull, StoreBusy, and CorruptJournal for a file that is something else.
    """
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open(path)
    except CorruptJournal:
        if not _is_ours(path):
            raise
    log.warning("%s is damaged; it is made anew from the journal", path)
    with translated(path):
        for name in (path.name, path.name + "-wal", path.name + "-shm"):
            path.with_name(name).unlink(missing_ok=True)
    return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    with translated(path):
        connection = connect(path, "rwc")
        try:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if tables and application != views.APPLICATION:
                raise CorruptJournal(f"{path} is not Fairway's: move it away, or choose another data directory")
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=4000"):
                connection.execute(f"PRAGMA {pragma}")
            if connection.execute("PRAGMA user_version").fetchone() != (views.shape(),):
                start_anew(connection)
            connection.execute("SELECT count(*) FROM meta").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def _is_ours(path: Path) -> bool:
    """Whether the header says so; a damaged file's tables cannot be asked."""
    with path.open("rb") as file:
        header = file.read(72)
    return header[:15] == b"SQLite format 3" and header[68:72] == views.APPLICATION.to_bytes(4, "big")


def start_anew(connection: sqlite3.Connection) -> None:
    """Empty tables, at frame 0. Readers see the old ones until it is done."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            connection.execute(f'DROP TABLE "{name}"')
        for statement in views.statements():
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={views.APPLICATION}")
        connection.execute(f"PRAGMA user_version={views.shape()}")
        connection.execute("INSERT INTO meta VALUES ('seq', 0), ('identity', '')")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Raises StoreError where there is nothing that this version can read."""
    if not path.exists():
        raise StoreError(f"there is nothing at {path} yet; start Fairway once, or choose another data directory")
    with translated(path):
        connection = connect(path, "ro")
        if connection.execute("PRAGMA user_version").fetchone() == (views.shape(),):
            return connection
        connection.close()
    raise StoreError(f"{path} has another version's tables; start this version of Fairway once: it makes them anew")
