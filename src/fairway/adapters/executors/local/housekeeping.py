"""What is looked at from time to time while the executor is open: progress files, logs, folders past their time."""

import asyncio
import logging
import resource
from collections.abc import Callable, Mapping

from fairway.adapters.executors.local.attempt import Attempt
from fairway.adapters.executors.local.config import LocalConfig
from fairway.adapters.executors.local.folder import STREAMS
from fairway.adapters.executors.local.logs import oversized, rotate
from fairway.adapters.executors.local.retention import prune
from fairway.model.ids import AttemptId
from fairway.model.time import HOUR

_log = logging.getLogger(__name__)

_LOGS_EVERY = 4
"""Logs are looked at every so many times that progress is."""


class Housekeeping:
    """Looks at ``running`` attempts every ``poll_ms``, and calls ``report`` for each. Copying and removing files
    happens in a thread, one at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        data: str,
        config: LocalConfig,
        running: Mapping[AttemptId, Attempt],
        report: Callable[[Attempt], None],
    ) -> None:
        self._loop = loop
        self._data = data
        self._config = config
        self._running = running
        self._report = report
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._working: asyncio.Future[None] | None = None
        self._prune_every = max(1, HOUR // config.poll_ms)

    def begin(self) -> None:
        self._look()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._config.poll_ms / 1_000, self._look)
        for attempt in list(self._running.values()):
            self._report(attempt)
        idle = self._working is None or self._working.done()
        if idle and self._looks % self._prune_every == 0:
            self._working = self._loop.run_in_executor(None, self._prune)
        elif idle and self._looks % _LOGS_EVERY == 0 and (large := self._large_logs()):
            self._working = self._loop.run_in_executor(None, self._rotate, large)
        self._looks += 1

    def _large_logs(self) -> list[str]:
        limit = self._config.log_mib << 20
        paths = (a.folder.log(t.rank, stream) for a in self._running.values() for t in a.tasks for stream in STREAMS)
        return [path for path in paths if oversized(path, limit)]

    def _rotate(self, paths: list[str]) -> None:
        for path in paths:
            try:
                rotate(path, self._config.log_keep)
            except OSError as error:
                _log.warning("the log %s cannot be rotated: %s", path, error)

    def _prune(self) -> None:
        try:
            removed = prune(self._data, self._config.keep_attempts, self._config.keep_days)
        except OSError as error:
            _log.warning("old attempts in %s cannot be removed: %s", self._data, error)
            return
        if removed:
            _log.info("removed the folders of %d old attempts", removed)


def raise_open_files() -> int | None:
    """Let this process hold a descriptor for every task it watches. Returns the soft limit it had, for its tasks, if
    that was lower: programs that use select() must not see a higher one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard or soft == resource.RLIM_INFINITY:
        return None
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft
