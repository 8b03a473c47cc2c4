"""A control plane: one store, one loop, the executors, and what faces need of them.

::

    plane = ControlPlane.open(folder, [LocalExecutor(folder / "local")])
    try:
        plane.run()                  # until SIGTERM, SIGINT or plane.stop()
    finally:
        plane.close()                # whatever runs goes on, and is adopted by the next

Faces read ``plane.readmodel`` and ``plane.queries`` and put into ``plane.inbox``, from threads of their own, from
``open`` to ``close``.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Self

from fairway.adapters.garbage import short_pauses
from fairway.adapters.live import MOST_FACTS, LiveWorld, WallClock
from fairway.adapters.live_journal import LiveJournal
from fairway.adapters.setaside import SetAside, unbelievable
from fairway.adapters.stores.catchup import recover_with
from fairway.adapters.stores.inbox import Inbox
from fairway.adapters.stores.projection import Projection
from fairway.adapters.stores.queries import Queries
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.adapters.warmup import WarmUp
from fairway.engine.adviser import Adviser
from fairway.engine.loop import CHECKPOINT_EVERY, Loop
from fairway.engine.ports import Executor
from fairway.engine.readmodel import ReadModel
from fairway.engine.reconcile import Reconciler
from fairway.model.errors import StoreError
from fairway.model.ids import AttemptId, ExecutorId, JobId
from fairway.model.policy import Policy
from fairway.state.cluster import ClusterState

STORE = "fairway.db"
VIEWS = "views.db"
"""Files in the data directory."""

log = logging.getLogger("fairway.live")


@dataclass(frozen=True, slots=True)
class Recovery:
    """How this process took over. Times are milliseconds since ``ControlPlane.open`` was called."""

    frames: int
    """Replayed after the checkpoint."""
    state_ms: float
    """Until the state was as it had been."""
    ready_ms: float
    """Until the first turn after which every executor's inventory was believed."""
    adopted: int
    """Attempts that had been running, and were found to run still."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether all is well, and what is not."""

    epoch: int
    leading: bool
    """Whether the loop runs."""
    troubles: tuple[str, ...]
    recovery: Recovery | None
    """None until every executor has told its inventory."""

    @property
    def ok(self) -> bool:
        """True when there is nothing to see to."""
        return self.leading and not self.troubles


class ControlPlane:
    """Made by ``open``; ``run`` in one thread, ``close`` afterwards."""

    def __init__(
        self, folder: Path, store: SqliteStore, projection: Projection, executors: Sequence[Executor],
        policy: Policy | None, checkpoint_every: int, began: float,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.readmodel = ReadModel()
        self._store = store
        self._projection = projection
        self._began = began
        self._replayed = _Counted()
        state, seq = recover_with(store, projection, [self._replayed])
        self.readmodel.fold(seq, state.now, state)
        state.news.clear()
        self.set_aside: dict[int, SetAside] = {}
        """Rows of the inbox that could not be believed since this process leads, by number. Only ever grows."""
        self.clock = WallClock(state.now)
        """The time that the loop goes by: never behind what is in the journal."""
        self._world = LiveWorld(executors, epoch=store.epoch, clock=self.clock)
        self._journal = LiveJournal(store, self._world.pause)
        self._world.read_mail_of(self._journal)
        self._arrival = _Arrival(self._world, [executor.name for executor in executors], state, self._arrived)
        self._loop = Loop(
            state, self._world, self._journal, policy, [self.readmodel, projection, self._arrival, WarmUp()], seq,
            checkpoint_every=checkpoint_every, since=self._replayed.frames,
        )  # fmt: skip
        self.adviser = Adviser(self._world.ring)
        self._state_ms = (time.monotonic() - began) * 1_000
        self._recovery: Recovery | None = None
        self._leading = False
        self.queries = Queries(folder / VIEWS)
        self.inbox = Inbox(folder / STORE, on_put=self._world.ring)

    @classmethod
    def open(
        cls,
        folder: Path,
        executors: Sequence[Executor],
        policy: Policy | None = None,
        *,
        wait: float | None = None,
        checkpoint_every: int = CHECKPOINT_EVERY,
    ) -> Self:
        """Lead the store in ``folder``, recovered up to its last frame. The executors are opened by ``run``.

        A ``policy`` that is given replaces the one that the store has. Another leader is waited for up to ``wait``
        seconds (None: not at all). Raises StoreBusy, StoreFull, NewerFormat, CorruptJournal.
        """
        began = time.monotonic()
        store = SqliteStore.open(folder / STORE, wait=wait)
        try:
            projection = Projection(folder / VIEWS)
            try:
                return cls(folder, store, projection, executors, policy, checkpoint_every, began)
            except BaseException:
                projection.close()
                raise
        except BaseException:
            store.close()
            raise

    def run(self) -> None:
        """Turn after turn until ``stop``, or SIGTERM or SIGINT when called from the main thread.

        A turn that raises because of what somebody has submitted is undone, and the submission set aside. Raises
        StaleEpoch when another process has taken the store over, StoreFull when told to stop while nothing could be
        written, CorruptJournal. Whatever it ends with, nothing that was acknowledged is lost and all work goes on.
        """
        with self._signals(), short_pauses():
            self._leading = True
            try:
                for facts in self._world.facts():
                    try:
                        self._loop.turn(facts)
                    except StoreError:
                        raise
                    except Exception as error:
                        if not self._set_aside():
                            raise
                        log.error("a turn failed: %s: %s", type(error).__name__, error)
                    self.adviser.answer(self._loop.state)
                self._loop.checkpoint()
            finally:
                self._leading = False

    def stop(self) -> None:
        """End ``run`` after the turn under way. From any thread."""
        self._world.stop()

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Runs in a thread of its own while the block lasts, then closes. Raises what ``run`` raised."""
        failed: list[BaseException] = []

        def target() -> None:
            try:
                self.run()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that cares
                failed.append(error)

        thread = threading.Thread(target=target, name="fairway-loop")
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            thread.join()
            self.close()
        if failed:
            raise failed[0]

    @property
    def epoch(self) -> int:
        """Counts the leaders of this store."""
        return self._store.epoch

    def refused(self) -> dict[JobId, str]:
        """Jobs that were submitted and set aside since this process leads, with what they raised. From any thread."""
        return {job: each.why for each in self.set_aside.copy().values() for job in each.jobs}

    def health(self) -> Health:
        """How it is now. From any thread."""
        behind = self._projection.failure
        aside = (f"submission {each.seq} was set aside: {each.why}" for each in self.set_aside.copy().values())
        troubles = (self._journal.trouble, *self._world.troubles, str(behind or ""), *aside)
        return Health(self.epoch, self._leading, tuple(filter(None, troubles)), self._recovery)

    def close(self) -> None:
        """Close everything, leave all work running, let another process lead. Idempotent."""
        self._world.close()
        self.inbox.close()
        self.queries.close()
        self._projection.close()
        self._store.close()

    def _set_aside(self) -> bool:
        """After a turn that raised: recover the state, and set aside what of the inbox cannot be believed. Whether
        there was any, and so the loop may go on."""
        self._store.let_go()
        self._journal.let_go()
        state, seq = recover_with(self._store, self._projection, [self._replayed])
        state.news.clear()
        found = list(unbelievable(state, self._store.take(MOST_FACTS), self.clock()))
        for each in found:
            self._store.set_aside(each.seq, each.why)
            self.set_aside[each.seq] = each
            log.error("submission %d cannot be believed and is set aside: %s", each.seq, each.why)
        self._loop = replace(self._loop, state=state, seq=seq, reconciler=Reconciler())
        self._world.look_again()
        return bool(found)

    def _arrived(self, adopted: int) -> None:
        ready = (time.monotonic() - self._began) * 1_000
        self._recovery = Recovery(self._replayed.frames, self._state_ms, ready, adopted)
        text = "leading epoch %d after %.0f ms: %d frames replayed, %d running attempts adopted"
        log.info(text, self.epoch, ready, self._replayed.frames, adopted)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def end(number: int, _: FrameType | None) -> None:
            log.info("stopping on %s; what runs goes on", signal.Signals(number).name)
            self.stop()

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Counted:
    """A view that counts replayed frames."""

    def __init__(self) -> None:
        self.frames = 0

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        self.frames += 1


class _Arrival:
    """A view that tells once how many attempts were adopted, when every executor's first inventory is believed."""

    def __init__(
        self, world: LiveWorld, executors: Sequence[str], state: ClusterState, tell: Callable[[int], None]
    ) -> None:
        self._world = world
        self._missing = {ExecutorId(name): state.inventory_seq.get(ExecutorId(name), -1) for name in executors}
        self._tell = tell
        jobs = state.jobs
        self._live = {jobs.attempt_id(row) for row in jobs.rows() if jobs.phase_of(row).live}

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        if not self._missing:
            return
        for name, before in list(self._missing.items()):
            if state.inventory_seq.get(name, -1) > before:
                del self._missing[name]
        if not self._missing:
            self._tell(len(self._live & self._found()))

    def _found(self) -> set[AttemptId]:
        told = self._world.inventories.values()
        return {each.attempt for inventory in told for each in inventory.attempts if each.ended is None}
