"""SQLite's errors, said in Fairway's words: what is wrong with which file, and what to do about it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairway.model.errors import CorruptJournal, StoreBusy, StoreError, StoreFull

KEPT = "everything acknowledged so far is kept"
REPAIR = "stop Fairway and run `fairway doctor --repair-journal`, which sets damaged rows aside and deletes nothing"

_READ_FAILED = frozenset(
    {"SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS", "SQLITE_IOERR_DATA"}
)
"""Every other I/O error comes from writing: a full quota, a file size limit, a device that went away."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns errors of SQLite and of the file system inside it into StoreError and its kin."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    except OSError as error:
        raise StoreFull(f"{path} cannot be written ({error.strerror}); {_CURE_WRITE}; {KEPT}") from error


_CURE_SPACE = "free some space there and try again"
_CURE_WRITE = "make the file and its directory writable for this user, or choose another data directory"
_CURE_READ = f"check the disk, then {REPAIR}"


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """The error to raise for what SQLite said about ``path``."""
    code, name = getattr(error, "sqlite_errorcode", 0), getattr(error, "sqlite_errorname", "")
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StoreFull(f"no space left for {path}; {_CURE_SPACE}; {KEPT}")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StoreFull(f"{path} cannot be written ({error}); {_CURE_WRITE}; {KEPT}")
        case sqlite3.SQLITE_IOERR if name in _READ_FAILED:
            return CorruptJournal(f"{path} cannot be read ({name}); {_CURE_READ}")
        case sqlite3.SQLITE_IOERR:
            why = f"the device refused a write ({name}): it is full, over a quota or file size limit, or failing"
            return StoreFull(f"{path}: {why}; {_CURE_SPACE}; {KEPT}")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreBusy(f"another process keeps {path} locked; find it with `fuser {path}` and stop it")
        case sqlite3.SQLITE_NOTADB:
            return CorruptJournal(f"{path} is not a Fairway store: move it away, or choose another data directory")
        case sqlite3.SQLITE_CORRUPT:
            return CorruptJournal(f"{path} has damaged pages ({error}); {REPAIR}")
        case _:
            return StoreError(f"{path}: {error}")
