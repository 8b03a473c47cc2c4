"""One SQLite file: how it is opened, what its tables are, and how a transaction is written to it.

WAL with ``synchronous=FULL``: a transaction is on the disk when COMMIT returns, a reader never waits for a writer, and
a torn write at the end of the log is cut off by SQLite's own checksums. The format number stands in SQLite's header
(``user_version``), so that a version of Fairway that knows none of the tables can still say which one is needed.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4
from weakref import WeakValueDictionary

from fairway import __version__
from fairway.adapters.stores.errors import translated
from fairway.model.errors import CorruptJournal, NewerFormat, StoreError, StoreFull

FORMAT = 1
"""Of the tables below and of what is in them. A version reads every format up to its own."""

APPLICATION = 0x46574159
"""SQLite's application id of a Fairway store: ``FWAY``."""

BUSY_S = 10.0
"""How long a transaction waits for one of another process; each takes milliseconds."""

SMALLEST = 512
"""Bytes of the smallest page, and so of the smallest database."""

TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE frames(seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE checkpoints(seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE inbox(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT UNIQUE, digest BLOB, kind TEXT NOT NULL, crc INTEGER NOT NULL,
  body BLOB NOT NULL);
CREATE TABLE consumed(frame INTEGER PRIMARY KEY, up_to INTEGER NOT NULL);
CREATE TABLE quarantine(
  id INTEGER PRIMARY KEY, origin TEXT NOT NULL, seq INTEGER, epoch INTEGER, crc INTEGER, body BLOB, note TEXT);
"""
"""``frames`` is the journal. ``consumed`` says up to which row the inbox stands in the frames up to ``frame``: one row
for each commit that took something in. ``quarantine`` holds what a repair has set aside, from the table ``origin``."""

_turns: "WeakValueDictionary[str, threading.Lock]" = WeakValueDictionary()
_turns_guard = threading.Lock()


def _turn(path: Path) -> threading.Lock:
    """The lock that the writers of one file in this process take in turn: SQLite's own waiting polls, and is unfair."""
    with _turns_guard:
        key = str(path.resolve())
        return _turns.setdefault(key, threading.Lock())


class Database:
    """A connection to the store at ``path``, made if there is none.

    Raises NewerFormat, CorruptJournal (not a Fairway store), StoreFull (cannot be made or written), StoreBusy; a file
    that is refused is not changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turn = _turn(path)
        with translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            size = path.stat().st_size if path.exists() else 0
            if 0 < size < SMALLEST and not path.with_name(path.name + "-journal").exists():
                raise _foreign(path)  # SQLite would take it for empty, and write over it
            if size:
                # Reads only: a connection that may write would move a left-over log into the file when it closes.
                with closing(connect(path, "ro")) as peek:
                    check_format(peek, path)
            self.connection = connect(path, "rwc")
        try:
            self._prepare()
        except BaseException:
            self.connection.close()
            raise

    def _prepare(self) -> None:
        with translated(self.path):
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "cell_size_check=ON"):
                self.connection.execute(f"PRAGMA {pragma}")
            self.connection.execute(f"PRAGMA journal_size_limit={64 << 20}")
        if not check_format(self.connection, self.path):
            with self.transaction() as connection:
                if not check_format(connection, self.path):  # nobody was faster
                    for statement in TABLES.strip().split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id={APPLICATION}")
                    connection.execute(f"PRAGMA user_version={FORMAT}")
                    set_meta(connection, "written_by", __version__)
                    renew_identity(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable step: all of it is on the disk when the block has ended, or nothing is when it raises."""
        with self.turn, translated(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have rolled back by itself; the first error says why
                    self.connection.execute("ROLLBACK")
                raise

    def read(self, sql: str, *values: Any) -> list[Any]:
        """All rows of a query."""
        with translated(self.path):
            return self.connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Idempotent."""
        with translated(self.path):
            self.connection.close()


class ReadOnlyDatabase:
    """A connection that cannot write, to a store that exists. Works beside a leader, and on a read-only file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise StoreError(f"there is no store at {path}; start Fairway once, or choose another data directory")
        with translated(path):
            self.connection = connect(path, "ro")
            try:
                there = check_format(self.connection, path)
            except StoreFull:
                # SQLite keeps an index of its log beside the file. Where that cannot be made nobody writes either, so
                # the file may be read as it stands; unless there is a log, which only a writer can bring home.
                self.connection.close()
                log = path.with_name(path.name + "-wal")
                if log.exists() and log.stat().st_size:
                    raise
                self.connection = connect(path, "ro&immutable=1")
                there = check_format(self.connection, path)
        if not there:
            self.connection.close()
            raise _foreign(path)

    def read(self, sql: str, *values: Any) -> list[Any]:
        """All rows of a query."""
        with translated(self.path):
            return self.connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Idempotent."""
        self.connection.close()


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit mode; ``mode`` is ``ro``, ``rw`` or ``rwc`` (made if it is not there)."""
    # Used by one thread at a time, but not always by the one that opened it.
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False
    )


def check_format(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there; False for an empty database. Raises NewerFormat, CorruptJournal."""
    with translated(path):
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            return False
        if application != APPLICATION:
            raise _foreign(path)
        if version > FORMAT:
            writer = _writer(connection)
            raise NewerFormat(
                f"{path} is in store format {version}{writer}; this is Fairway {__version__}, which reads up to format "
                f"{FORMAT}: upgrade Fairway to use this store. Nothing in it was changed"
            )
    return True


def _foreign(path: Path) -> CorruptJournal:
    return CorruptJournal(f"{path} is not a Fairway store: move it away, or choose another data directory")


def _writer(connection: sqlite3.Connection) -> str:
    try:
        writer = get_meta(connection, "written_by")
    except sqlite3.Error:  # a newer format may keep it elsewhere
        return ""
    return f", written by Fairway {writer}" if writer else ""


def get_meta(connection: sqlite3.Connection, name: str, default: Any = None) -> Any:
    """A value from the table ``meta``."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return default if row is None else row[0]


def renew_identity(connection: sqlite3.Connection) -> None:
    """Make this a journal that was never seen before: what was derived from the one it was is derived anew."""
    set_meta(connection, "identity", uuid4().hex)


def set_meta(connection: sqlite3.Connection, name: str, value: Any) -> None:
    """Write a value to the table ``meta``, inside a transaction."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
