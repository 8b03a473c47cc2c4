"""Who runs a task, and how it ended: from claims, wrappers and exit files to ``Task.end``."""

import asyncio
import logging
import os
import time
from collections.abc import Callable

from fairway.adapters.executors.local.attempt import Attempt, Task
from fairway.adapters.executors.local.folder import Claim, Exit, ExitKind
from fairway.adapters.executors.local.launch import is_wrapper
from fairway.adapters.executors.local.procs import Census, Process, boot_id, command_line, open_pidfd, reap
from fairway.model.time import Instant

_log = logging.getLogger(__name__)

_LOOK_AGAIN = 0.005
"""Seconds between two looks for a claim that is about to be made."""


class Watcher:
    """Watches wrappers on an asyncio loop. ``ended`` is called for each whose end came while it was watched."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[Attempt, Task], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._watched: dict[int, Task] = {}
        self._unclaimed: list[tuple[Attempt, Task]] = []

    def own(self, attempt: Attempt, task: Task, pid: int) -> None:
        """Watch a child of ours that was started just now. Raises OSError when there are no descriptors left."""
        fd = os.pidfd_open(pid)
        task.ours = True
        self._watch(attempt, task, pid, fd)

    def find(self, attempt: Attempt, task: Task, roll: "Roll | None" = None) -> None:
        """Look at an idle task's files: it becomes live, or gets its end, or stays idle when nobody has claimed it.

        A wrapper from before our time that has yet to claim it is found only in a ``roll`` of all wrappers. Without,
        it and the next one settle who runs the program by the claim.
        """
        task.end = attempt.folder.exit(task.rank)
        if task.end is not None:
            return
        claim = attempt.folder.claim(task.rank)
        if claim is None and roll is not None and self._watch_unnamed(attempt, task, roll):
            return
        if claim is None and attempt.folder.claimed(task.rank):
            # Somebody has claimed it and was not seen to write who: it is writing now, or has died writing.
            if self._watch_unnamed(attempt, task, Roll(Census.take())):
                return
            claim = attempt.folder.claim(task.rank)
            if claim is None:
                task.end = attempt.folder.exit(task.rank) or self.write_end(
                    attempt, task, "lost", "its wrapper died before it reached the program"
                )
                return
        if claim is not None:
            self._believe(attempt, task, claim)

    async def settle(self, seconds: float) -> None:
        """Wait until all wrappers that ``find`` saw before their claim have made it, or are gone; not for ever."""
        deadline = self._loop.time() + seconds
        while self._loop.time() < deadline:
            self._unclaimed = [(a, t) for a, t in self._unclaimed if t.live and a.folder.claim(t.rank) is None]
            if not self._unclaimed:
                return
            await asyncio.sleep(_LOOK_AGAIN)

    def write_end(self, attempt: Attempt, task: Task, kind: ExitKind, text: str | int) -> Exit:
        """Write down an end that the wrapper did not. On a full disk it is only remembered."""
        try:
            return attempt.folder.write_exit(task.rank, kind, text)
        except OSError as error:
            _log.error("the end of task %d of %s cannot be written down: %s", task.rank, attempt.id, error)
            return Exit(kind, str(text), Instant(time.time_ns() // 1_000_000))

    def close(self) -> None:
        """Watch nothing any more; nothing is signalled."""
        for fd in list(self._watched):
            self._unwatch(self._watched[fd])

    # -- from claim to process -------------------------------------------------------------------------------------

    def _believe(self, attempt: Attempt, task: Task, claim: Claim) -> None:
        """Take a claim as far as it is true: this boot's, and of a process that lives."""
        if claim.boot != boot_id():
            task.end = self.write_end(attempt, task, "lost", "the machine was restarted while it ran")
            return
        fd = open_pidfd(claim.wrapper.pid, claim.wrapper.started)
        if fd is not None:
            task.ours = False
            self._watch(attempt, task, claim.wrapper.pid, fd)
            return
        # It may have written its end after we looked for it and before it was gone.
        task.end = attempt.folder.exit(task.rank) or self._unwritten(attempt, task, None)

    def _watch_unnamed(self, attempt: Attempt, task: Task, roll: "Roll") -> bool:
        """Find a live wrapper of the task by its arguments, and watch it."""
        process = roll.wrapper(attempt.folder.path, task.rank)
        fd = open_pidfd(*process) if process is not None else None
        if process is None or fd is None:
            return False
        self._watch(attempt, task, process.pid, fd)
        task.ours = False
        self._unclaimed.append((attempt, task))
        return True

    def _watch(self, attempt: Attempt, task: Task, pid: int, fd: int) -> None:
        task.pid, task.pidfd = pid, fd
        self._watched[fd] = task
        self._loop.add_reader(fd, self._gone, attempt, task)

    def _unwatch(self, task: Task) -> None:
        if task.pidfd is not None:
            self._loop.remove_reader(task.pidfd)
            del self._watched[task.pidfd]
            os.close(task.pidfd)
            task.pidfd = None

    # -- from process to end ---------------------------------------------------------------------------------------

    def _gone(self, attempt: Attempt, task: Task) -> None:
        """A wrapper has ended: read what it wrote, or work out why it did not."""
        self._unwatch(task)
        status = reap(task.pid)
        end = attempt.folder.exit(task.rank)
        if end is None:
            claim = attempt.folder.claim(task.rank)
            if claim is not None and claim.wrapper.pid == task.pid and claim.boot == boot_id():
                end = self._unwritten(attempt, task, status)
            elif claim is not None:
                self._believe(attempt, task, claim)  # another wrapper was first: its is the task
                end = task.end
            elif not self._watch_unnamed(attempt, task, Roll(Census.take())):
                end = attempt.folder.exit(task.rank) or self._never_claimed(attempt, task, status)
                if end is None:
                    return
        if not task.live:
            task.end = end
            self._ended(attempt, task)

    def _unwritten(self, attempt: Attempt, task: Task, status: int | None) -> Exit:
        """The end of a wrapper that had begun and left no exit file. ``status`` is known of children of ours only."""
        if status is not None:
            return self.write_end(attempt, task, *(("killed", -status) if status < 0 else ("exited", status)))
        if attempt.folder.exit_begun(task.rank):
            return self.write_end(attempt, task, "lost", "its exit status could not be written: is the disk full?")
        # Nothing but SIGKILL ends a wrapper before its program: somebody's, or the kernel's for want of memory.
        return self.write_end(attempt, task, "killed", 9)

    def _never_claimed(self, attempt: Attempt, task: Task, status: int | None) -> Exit | None:
        """The end of a wrapper that never got as far as its claim. None when its control plane had died before it let
        the wrapper go on: then nothing was ever started, and the task is idle again."""
        if not task.ours and attempt.started is None and not attempt.folder.claimed(task.rank):
            task.pid = 0
            return None
        if not task.ours or status is None or status < 0:
            return self.write_end(attempt, task, "lost", "its wrapper died before it reached the program")
        text = f"its claim could not be written to {attempt.folder.path}: is the disk full or read-only?"
        return self.write_end(attempt, task, "refused", text)


class Roll:
    """The wrappers of a census, by the folder and the rank they were given. They are looked up when first asked for."""

    def __init__(self, census: Census) -> None:
        self._census = census
        self._wrappers: dict[tuple[str, int], Process] | None = None

    def wrapper(self, folder: str, rank: int) -> Process | None:
        if self._wrappers is None:
            leaders = (stat.process for stat in self._census.stats if stat.pid == stat.session)
            named = ((is_wrapper(command_line(process.pid)), process) for process in leaders)
            self._wrappers = {task: process for task, process in named if task is not None}
        return self._wrappers.get((folder, rank))
