"""Processes as ``/proc`` tells of them: who a process is beyond its number, and who belongs to a session.

A process number alone names nobody: it is used again. A process is known by its number, the clock tick it started at
and the boot it belongs to.
"""

import os
import signal
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

_DEAD = frozenset("ZXx")


class Process(NamedTuple):
    """One process and no other, until the machine is restarted: ``started`` is in clock ticks since the boot."""

    pid: int
    started: int


class Stat(NamedTuple):
    """One line of ``/proc/PID/stat``; ``session`` is the number of its leader."""

    pid: int
    state: str
    session: int
    started: int

    @property
    def process(self) -> Process:
        return Process(self.pid, self.started)

    @property
    def dead(self) -> bool:
        """True for a process that has ended and only waits to be reaped."""
        return self.state in _DEAD


@cache
def boot_id() -> str:
    """A text that is different after every boot of this machine."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def parse_stat(line: str) -> Stat | None:
    """The fields of a ``/proc/PID/stat`` line; None when it is not a whole one. The name may contain anything."""
    head, found, tail = line.rpartition(")")
    fields = tail.split()
    try:
        return Stat(int(head.partition(" ")[0]), fields[0], int(fields[3]), int(fields[19])) if found else None
    except (ValueError, IndexError):
        return None


def read_stat(pid: int) -> Stat | None:
    """What a process is now; None when there is none of this number."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return parse_stat(file.read().decode(errors="replace"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def open_pidfd(pid: int, started: int | None) -> int | None:
    """A descriptor that becomes readable when the process ends; the caller closes it.

    None when the process is gone, or when its number now belongs to one that started at another tick.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    now = read_stat(pid)
    if now is None or now.dead or started not in (None, now.started):
        os.close(fd)
        return None
    return fd


def reap(pid: int) -> int | None:
    """Collect an ended child. Its exit status, negative for a signal; None when it is not ours or still runs."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if found else None


def signal_group(leader: int, number: int) -> bool:
    """Signal a whole process group. False when nobody is left in it, or nobody whom we may signal.

    Raises ValueError for 0 and 1, which the kernel takes for our own group and for everybody.
    """
    if leader <= 1:
        raise ValueError(f"{leader} is no process group of a task")
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_process(process: Process, number: int) -> bool:
    """Signal this very process, and no other that has got its number since. False when we are not allowed to."""
    fd = open_pidfd(*process)
    if fd is None:
        return True
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return True  # it has ended just now
    except PermissionError:
        return False
    finally:
        os.close(fd)
    return True


def children(pid: int) -> list[int] | None:
    """The children of a single-threaded process; None where this kernel does not tell."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return None if os.path.exists(f"/proc/{pid}") else []


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of a process, its program first; empty when it is gone."""
    return _strings(f"/proc/{pid}/cmdline")


def environment(pid: int) -> tuple[str, ...]:
    """What a process got as its environment when it started, as ``NAME=value``; empty when we may not know."""
    return _strings(f"/proc/{pid}/environ")


def _strings(path: str) -> tuple[str, ...]:
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ()
    return tuple(part.decode(errors="surrogateescape") for part in data.split(b"\0")[:-1])


@dataclass(slots=True)
class Census:
    """Every live process of one moment. Environments are read when first asked for."""

    stats: tuple[Stat, ...]
    _marks: dict[Process, frozenset[str]] | None = None

    @classmethod
    def take(cls) -> "Census":
        """Read all of ``/proc``: about 10 microseconds a process."""
        found = (read_stat(int(entry)) for entry in os.listdir("/proc") if entry.isdecimal())
        return cls(tuple(stat for stat in found if stat is not None and not stat.dead))

    def of_session(self, leader: int) -> set[Process]:
        """Who belongs to the session with this leader, whether or not the leader is still there."""
        return {stat.process for stat in self.stats if stat.session == leader}

    def of_numbers(self, pids: Collection[int]) -> set[Process]:
        """Who has these numbers."""
        return {stat.process for stat in self.stats if stat.pid in pids}

    def marked(self, *marks: str) -> set[Process]:
        """Who was started with all of these ``FAIRWAY_NAME=value`` in its environment, wherever it has gone since."""
        if self._marks is None:
            entries = ((stat.process, environment(stat.pid)) for stat in self.stats)
            own = ((who, frozenset(e for e in all_ if e.startswith("FAIRWAY_"))) for who, all_ in entries)
            self._marks = {who: found for who, found in own if found}
        return {who for who, found in self._marks.items() if found.issuperset(marks)}
