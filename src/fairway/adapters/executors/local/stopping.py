"""Ending tasks: SIGTERM to every process, SIGKILL when their time is up, and nothing left behind.

A task is *cleared* when no process of it is left: not its wrapper and process group, not what stayed in its session,
not what carries its marks in the environment wherever it went, not what is in its control group. The ordinary end, a
group that is empty when its leader has gone, costs one system call; only others cost a census of all processes.

The number of a wrapper names its session only while the wrapper lives, or while somebody of the session does. So every
task is cleared at once when its wrapper ends, even if its gang goes on, and the number is not used after that.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fairway.adapters.executors.local import cgroup
from fairway.adapters.executors.local.attempt import Attempt, Task
from fairway.adapters.executors.local.launch import is_wrapper
from fairway.adapters.executors.local.procs import (
    Census,
    Process,
    children,
    command_line,
    open_pidfd,
    signal_group,
    signal_process,
)
from fairway.model.ids import AttemptId

_log = logging.getLogger(__name__)

_SETTLE = 0.02
"""Seconds until a signal is repeated for a wrapper that had not reached its program when it came."""
_GATHER = 0.005
"""Seconds for which requests for a census are collected."""


@dataclass(slots=True)
class _Ending:
    """A task that is being ended, or looked after. ``kill_at`` is in seconds of the loop's clock."""

    attempt: Attempt
    task: Task
    kill_at: float
    killing: bool = False
    timer: asyncio.TimerHandle | None = None
    repeat: asyncio.TimerHandle | None = None
    left: dict[Process, int] = field(default_factory=dict[Process, int])
    """Processes beside its wrapper that were signalled, each with the descriptor that tells its end."""
    beyond: set[Process] = field(default_factory=set[Process])
    """Processes that we may not signal: they belong to somebody else by now."""

    @property
    def key(self) -> tuple[AttemptId, int]:
        return self.attempt.id, self.task.rank

    def members(self, census: Census) -> set[Process]:
        """Every process of the task but its wrapper."""
        found = census.of_session(self.task.pid) if self.task.pid else set[Process]()
        found |= census.marked(f"FAIRWAY_PROGRESS={self.attempt.folder.progress}", f"FAIRWAY_TASK={self.task.rank}")
        if self.task.cgroup:
            found |= census.of_numbers(cgroup.members(self.task.cgroup))
        live = self.task.pid if self.task.live else 0
        return {process for process in found - self.beyond if process.pid != live}


class Stopper:
    """Ends tasks on an asyncio loop, and calls ``cleared`` once for each that was given to ``clear``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cleared: Callable[[Attempt, Task], None]) -> None:
        self._loop = loop
        self._cleared = cleared
        self._endings: dict[tuple[AttemptId, int], _Ending] = {}
        self._due: dict[tuple[AttemptId, int], None] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def terminate(self, attempt: Attempt, deadline: int) -> None:
        """SIGTERM now to every live task of an attempt, and SIGKILL at ``deadline`` (milliseconds of the wall clock).

        Again with an earlier deadline only brings the SIGKILL forward; a later one changes nothing.
        """
        kill_at = self._loop.time() + deadline / 1_000 - time.time()
        for task in attempt.tasks:
            ending = self._endings.get((attempt.id, task.rank))
            if ending is not None:
                ending.kill_at = min(ending.kill_at, kill_at)
                self._arm(ending)
            elif task.live:
                ending = self._begin(attempt, task, kill_at)
                self._term(ending)
                self._arm(ending)

    def clear(self, attempt: Attempt, task: Task, grace_ms: int, census: Census | None = None) -> None:
        """See to it that nothing is left of a task whose wrapper has ended, then call ``cleared``.

        What is left gets SIGTERM, and ``grace_ms`` where no stop has set a deadline. A task that was not stopped is
        taken at the word of its process group, unless a ``census`` is given to look deeper.
        """
        ending = self._endings.get((attempt.id, task.rank))
        if ending is None:
            fresh = _Ending(attempt, task, self._loop.time() + grace_ms / 1_000)
            left = fresh.members(census) if census is not None else task.pid and signal_group(task.pid, 0)
            if not left and (not task.cgroup or cgroup.remove(task.cgroup)):
                self._cleared(attempt, task)
                return
            ending = self._endings[fresh.key] = fresh
        self._request(ending)

    def close(self) -> None:
        """Forget everything, and signal nobody any more."""
        for ending in self._endings.values():
            self._release(ending)
        self._endings.clear()
        self._due.clear()
        if self._sweeping is not None:
            self._sweeping.cancel()

    # -- signals ---------------------------------------------------------------------------------------------------

    def _begin(self, attempt: Attempt, task: Task, kill_at: float) -> _Ending:
        ending = _Ending(attempt, task, kill_at)
        self._endings[ending.key] = ending
        return ending

    def _term(self, ending: _Ending) -> None:
        """SIGTERM to a task's group. The wrapper catches it; if it had not reached its program yet, nobody took it."""
        ending.repeat = None
        if not ending.task.live:
            return
        reached = _program_runs(ending.task.pid)
        signal_group(ending.task.pid, signal.SIGTERM)
        if not reached:
            ending.repeat = self._loop.call_later(_SETTLE, self._term, ending)

    def _kill(self, ending: _Ending) -> None:
        ending.killing = True
        ending.timer = None
        if ending.task.live:
            signal_group(ending.task.pid, signal.SIGKILL)
        self._request(ending)

    def _arm(self, ending: _Ending) -> None:
        if ending.timer is not None:
            ending.timer.cancel()
            ending.timer = None
        if not ending.killing:
            ending.timer = self._loop.call_at(ending.kill_at, self._kill, ending)

    # -- what is left ----------------------------------------------------------------------------------------------

    def _request(self, ending: _Ending) -> None:
        """Look at this task in the next census, soon: one census serves many."""
        self._due[ending.key] = None
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_GATHER, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        due = [self._endings[key] for key in self._due if key in self._endings]
        self._due.clear()
        census = Census.take() if due else None
        for ending in due:
            assert census is not None
            members = ending.members(census)
            if ending.task.live:
                if ending.killing:
                    self._press(ending, members, census)
            elif members:
                self._press(ending, members, census)
                self._arm(ending)
            else:
                self._finish(ending)

    def _press(self, ending: _Ending, members: set[Process], census: Census) -> None:
        """Signal what is left of a task, and look again when it has gone."""
        number = signal.SIGKILL if ending.killing else signal.SIGTERM
        if ending.killing and ending.task.pid and census.of_session(ending.task.pid):
            signal_group(ending.task.pid, number)  # all at once, so that nothing is forked meanwhile
        for member in sorted(members):
            new = member not in ending.left
            if new and not self._watch(ending, member):
                continue  # gone since the census
            if (new or ending.killing) and not signal_process(member, number):
                _log.warning("%s left process %d, which we may not signal", ending.attempt.id, member.pid)
                ending.beyond.add(member)
                self._unwatch(ending.left.pop(member))
        if not ending.left and not ending.task.live:
            self._request(ending)

    def _watch(self, ending: _Ending, member: Process) -> bool:
        fd = open_pidfd(*member)
        if fd is None:
            return False
        ending.left[member] = fd
        self._loop.add_reader(fd, self._gone, ending, member)
        return True

    def _gone(self, ending: _Ending, member: Process) -> None:
        self._unwatch(ending.left.pop(member))
        if not ending.left:
            self._request(ending)

    def _unwatch(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        os.close(fd)

    def _release(self, ending: _Ending) -> None:
        for handle in (ending.timer, ending.repeat):
            if handle is not None:
                handle.cancel()
        for fd in ending.left.values():
            self._unwatch(fd)
        ending.left.clear()

    def _finish(self, ending: _Ending) -> None:
        self._release(ending)
        del self._endings[ending.key]
        group = ending.task.cgroup
        if group and not cgroup.remove(group):
            _log.warning("the control group %s cannot be removed: remove it by hand", group)
        self._cleared(ending.attempt, ending.task)


def _program_runs(wrapper: int) -> bool:
    """Whether a wrapper has reached its program; True where the kernel does not tell."""
    below = children(wrapper)
    return below is None or any(is_wrapper(command_line(child)) is None for child in below)
