"""What the store's tests share: a place on disk, ways to spoil it, and a program that is killed while it writes."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from fairway.adapters.stores.sqlite import SqliteStore


def raw(path: Path) -> sqlite3.Connection:
    """A connection of one's own to a store, for looking and for spoiling."""
    return sqlite3.connect(path, isolation_level=None)


def spoil(path: Path, table: str, seq: int) -> None:
    """Flip one bit in the middle of a row's body, which SQLite does not notice."""
    with closing(raw(path)) as connection:
        (body,) = connection.execute(f"SELECT body FROM {table} WHERE seq = ?", (seq,)).fetchone()
        spoilt = bytearray(body)
        spoilt[len(spoilt) // 2] ^= 0x04
        connection.execute(f"UPDATE {table} SET body = ? WHERE seq = ?", (bytes(spoilt), seq))


def steal_lock(path: Path) -> None:
    """What somebody does who thinks that a lock file is in the way."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)


class SqlitePlace:
    """A harness for ``JournalContract``: one store on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "fairway.db"
        self.leaders: list[SqliteStore] = []

    def lead(self) -> SqliteStore:
        """A new leader; the one before is still there, as after a network partition: only its epoch stops it."""
        steal_lock(self.path)
        self.leaders.append(SqliteStore.open(self.path))
        return self.leaders[-1]

    @contextmanager
    def full(self) -> Iterator[None]:
        """As on a file system that was mounted read-only: not even a small frame can be written."""
        connections = [leader._database.connection for leader in self.leaders]
        for connection in connections:
            with suppress(sqlite3.ProgrammingError):
                connection.execute("PRAGMA query_only = ON")
        try:
            yield
        finally:
            for connection in connections:
                with suppress(sqlite3.ProgrammingError):
                    connection.execute("PRAGMA query_only = OFF")

    def damage(self, seq: int) -> None:
        """Flip a bit."""
        spoil(self.path, "frames", seq)

    def fresh(self) -> "SqlitePlace":
        """Another store."""
        return SqlitePlace(Path(mkdtemp(dir=self.folder)))

    def discard(self) -> None:
        """Close every leader."""
        for leader in self.leaders:
            leader.close()


def child(code: str, *arguments: str, **options: object) -> "subprocess.Popen[str]":
    """A Python process that runs ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"}, **options,
    )  # type: ignore[call-overload]  # fmt: skip
