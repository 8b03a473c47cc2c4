"""Who leads a store: an exclusive lock on the file ``fairway.db.lock``, which holds the leader's name.

The operating system gives it back when the process ends, however it ends. A POSIX record lock (``lockf``), because
it belongs to the process alone: children that are forked, and outlive it, do not keep it. Such a lock is lost when
*any* descriptor of the file is closed, and is no bar to its own process; so the files locked here are remembered.
"""

import fcntl
import os
import socket
import threading
import time
from pathlib import Path

from fairway.adapters.stores.errors import translated
from fairway.model.errors import StoreBusy

POLL_S = 0.05

_held: dict[tuple[int, int], str] = {}
_held_guard = threading.Lock()
"""(device, inode) of the files locked by this process, and by whom."""


def this_process() -> str:
    """How a leader is called: its process id and host."""
    return f"pid {os.getpid()} on {socket.gethostname()}"


class StoreLock:
    """Held from ``take`` to ``release``, or to the end of the process."""

    def __init__(self, path: Path, descriptor: int, identity: tuple[int, int]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._identity = identity

    @classmethod
    def take(cls, store: Path, holder: str, wait: float | None = None) -> "StoreLock":
        """The lock of ``store``, after waiting up to ``wait`` seconds (None: not at all, ``inf``: for ever) for another
        leader to end.

        Raises StoreBusy naming the holder, StoreFull where the lock file cannot be made.
        """
        until = None if wait is None else time.monotonic() + wait
        path = store.with_name(store.name + ".lock")
        while True:
            with translated(path):
                lock = cls._try(path, holder)
            if lock:
                return lock
            if until is None or time.monotonic() >= until:
                raise StoreBusy(_busy(store, path, wait))
            time.sleep(POLL_S)

    @classmethod
    def _try(cls, path: Path, holder: str) -> "StoreLock | None":
        with _held_guard:
            if path.exists() and _identity(os.stat(path)) in _held:
                return None
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                identity = _identity(os.fstat(descriptor))
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, holder.encode(), 0)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            _held[identity] = holder
            return cls(path, descriptor, identity)

    def release(self) -> None:
        """Let another process lead. Idempotent. The file stays: without it, two processes could lock two files."""
        with _held_guard:
            if _held.pop(self._identity, None) is not None:
                os.close(self._descriptor)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _busy(store: Path, path: Path, wait: float | None) -> str:
    with _held_guard:
        try:
            # A file that this process holds may not even be read: see the module's docstring.
            holder = _held.get(_identity(os.stat(path))) or path.read_text("utf-8", "replace")
        except OSError:
            holder = ""  # taken away since; the answer stays the same
    waited = f"; waited {wait:g} s" if wait else ""
    return (
        f"{store} is led by {holder or 'another process'}{waited}: stop that process first, "
        "or choose another data directory"
    )
