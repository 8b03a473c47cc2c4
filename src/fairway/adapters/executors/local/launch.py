"""Starting the wrapper of one task, as cheaply as can be: ``posix_spawn``, nothing in Python between fork and exec.

What a wrapper does is in ``task.sh``. Its text is an argument, not a file: a running wrapper is not disturbed when
Fairway is upgraded under it.
"""

import logging
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fairway.adapters.executors.local.folder import WRAPPER

_log = logging.getLogger(__name__)

SHELL = "/bin/sh"

_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EVERY_SIGNAL = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))


@dataclass(frozen=True, slots=True)
class Launch:
    """All that one task needs. ``data_kib`` and ``cgroup`` hold its memory; ``nofile`` is its soft limit of files."""

    folder: str
    rank: int
    boot: str
    workdir: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    cores: tuple[int, ...] = ()
    data_kib: int | None = None
    cgroup: str = ""
    nofile: int | None = None


class Unlaunchable(Exception):
    """Why a task cannot be started, for people."""


@cache
def script() -> str:
    """The wrapper without its comments."""
    text = files("fairway.adapters.executors.local").joinpath("task.sh").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line and not line.lstrip().startswith("#"))


def check(command: Sequence[str], workdir: str, environment: Mapping[str, str]) -> None:
    """Refuse what cannot work before anything is started. Raises Unlaunchable with what to change."""
    if not command or not command[0]:
        raise Unlaunchable("the job has no command: give it one")
    if not os.path.isabs(workdir):
        raise Unlaunchable(f"the working directory {workdir!r} is relative: give its full path")
    if not os.path.isdir(workdir):
        raise Unlaunchable(f"the working directory {workdir!r} does not exist on this node")
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise Unlaunchable(f"the environment variable {name!r} has a name or a value that no process can be given")
    if any("\0" in word for word in command):
        raise Unlaunchable("the command has an argument with a zero byte, which no process can be given")
    program = command[0]
    if "/" not in program:
        if shutil.which(program, path=environment.get("PATH", "")) is None:
            raise Unlaunchable(f"no program {program!r} on its PATH ({environment.get('PATH', '')})")
        return
    path = os.path.join(workdir, program)
    if not os.path.isfile(path):
        raise Unlaunchable(f"there is no program {program!r}" + ("" if os.path.isabs(program) else f" in {workdir}"))
    if not os.access(path, os.X_OK):
        raise Unlaunchable(f"the program {program!r} is not executable: chmod +x it")


def keep_files_to_ourselves() -> None:
    """Mark every file this process holds beyond the usual three as not to be inherited. Python's own already are so;
    others come from whoever started us, and a task could keep them, a lock or a port among them, for days."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                os.set_inheritable(int(name), False)
        except OSError:
            pass  # closed by now: that of this very listing, or one of another thread


def spawn(launch: Launch) -> int:
    """Start the wrapper in a session of its own. Returns its process number. Raises OSError.

    The program may write to its two logs from any of its processes, so they are opened for appending.
    """
    arguments = [
        SHELL, "-c", script(), WRAPPER, launch.folder, str(launch.rank), launch.boot, launch.workdir,
        str(launch.data_kib or ""), launch.cgroup, str(launch.nofile or ""), "wait" if launch.cores else "",
        *_with_odd_names(launch.command, launch.environment),
    ]  # fmt: skip
    log = f"{launch.folder}/{launch.rank}."
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    logs = (
        (os.POSIX_SPAWN_OPEN, 1, log + "out", append, 0o644),
        (os.POSIX_SPAWN_OPEN, 2, log + "err", append, 0o644),
    )
    if launch.cores:
        return _spawn_bound(arguments, launch.environment, logs, launch.cores)
    return _spawn(arguments, launch.environment, (_NO_INPUT, *logs))


_Action = tuple[int, int, str, int, int] | tuple[int, int, int]
_NO_INPUT: _Action = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)


def _spawn(arguments: list[str], environment: Mapping[str, str], actions: Sequence[_Action]) -> int:
    return os.posix_spawn(
        SHELL, arguments, environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_EVERY_SIGNAL
    )


def _spawn_bound(
    arguments: list[str], environment: Mapping[str, str], logs: Sequence[_Action], cores: tuple[int, ...]
) -> int:
    """Start a wrapper that waits for a word on its input, bind it, and say the word: what it forks inherits its cores.
    Should this process die before that, the wrapper finds the end of its input and leaves without a claim."""
    ours, theirs = -1, -1
    try:
        theirs, ours = os.pipe()
        pid = _spawn(arguments, environment, ((os.POSIX_SPAWN_DUP2, theirs, 0), *logs))
        try:
            os.sched_setaffinity(pid, cores)
        except OSError as error:
            _log.warning("a task runs on any core, as it cannot be bound to %s: %s", cores, error)
        os.write(ours, b"go\n")
        return pid
    finally:
        for fd in (ours, theirs):
            if fd >= 0:
                os.close(fd)


def _with_odd_names(command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    """A shell drops variables whose names it could not write itself; ``env`` sets those again."""
    odd = tuple(f"{name}={value}" for name, value in environment.items() if not _SHELL_NAME.fullmatch(name))
    return ("env", *odd, *command) if odd else command


def is_wrapper(arguments: Sequence[str]) -> tuple[str, int] | None:
    """The folder and the rank that a process with these arguments is the wrapper of; None when it is none."""
    if len(arguments) < 6 or arguments[1] != "-c" or arguments[3] != WRAPPER or not arguments[5].isdecimal():
        return None
    return arguments[4], int(arguments[5])
