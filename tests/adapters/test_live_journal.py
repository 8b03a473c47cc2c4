from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.adapters.live_journal import LiveJournal
from fairway.adapters.stores.sqlite import InboxRow, SqliteStore
from fairway.engine.memory_journal import Disk, MemoryJournal
from fairway.model import facts as f
from fairway.model.errors import StoreFull
from fairway.model.ids import AttemptId, JobId
from fairway.model.phases import JobPhase
from fairway.model.time import Instant
from fairway.state.frames import encode
from fairway.testing.polling import wait_for
from tests.adapters.actor import Stage, phase, plane_of, submit, succeeded

FIRST = AttemptId(JobId("job-1"), 1)


@pytest.fixture
def stage() -> Stage:
    return Stage()


class Mailbox(MemoryJournal):
    """A journal in memory with an inbox of two rows beside it. ``marks`` are durable, ``_marks`` not yet."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.marks: list[tuple[int, int]] = []
        self._marks: list[tuple[int, int]] = []

    def take(self, limit: int) -> list[InboxRow]:
        taken = max((up_to for _, up_to in self.marks), default=0)
        return [InboxRow(seq, "facts", encode(batch_of(seq))) for seq in (1, 2)[taken : taken + limit]]

    def consumed(self, up_to: int) -> None:
        self._marks.append((self.last, up_to))

    def commit(self) -> None:
        marks, self._marks = self._marks, []
        super().commit()
        self.marks += marks


def batch_of(number: int) -> f.Facts:
    return f.Facts(Instant(number), (f.CancelAsked(JobId("j"), str(number)),))


def test_rows_of_the_inbox_are_consumed_by_the_frame_that_holds_them_and_again_after_a_full_disk() -> None:
    disk, pauses = Disk(full=True), list[float]()

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        disk.full = False
        return False

    box = Mailbox(disk)
    journal = LiveJournal(box, pause)
    for number in (1, 2):
        items = journal.take(1)
        assert items == list(batch_of(number).items)
        journal.append(f.Facts(Instant(number), tuple(items)))
        journal.append(batch_of(0))
        journal.commit()
    assert len(pauses) == 1
    assert box.marks == [(1, 1), (3, 2)]
    assert journal.take(1) == []
    journal.append(batch_of(3))
    journal.commit()
    assert box.marks == [(1, 1), (3, 2)], "a frame that took in nothing marks nothing"


def test_a_full_disk_is_waited_for_and_every_frame_written_once() -> None:
    disk, waited = Disk(), list[float]()

    def pause(seconds: float) -> bool:
        waited.append(seconds)
        disk.full = len(waited) < 3
        return False

    journal = LiveJournal(Mailbox(disk), pause)
    disk.full = True
    batches = [batch_of(number) for number in range(2)]
    seqs = [journal.append(batch) for batch in batches]
    journal.commit()
    assert (len(waited), journal.trouble) == (3, "")
    assert list(journal.tail(0)) == list(zip(seqs, batches, strict=True))


def test_a_full_disk_ends_the_loop_only_when_it_is_told_to_stop() -> None:
    disk = Disk(full=True)
    journal = LiveJournal(Mailbox(disk), lambda _: True)
    journal.append(batch_of(1))
    with pytest.raises(StoreFull):
        journal.commit()
    assert "no space" in journal.trouble
    journal.checkpoint(0, b"a checkpoint is not worth an error")


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """While its one item is True, the leader's commits find the disk full."""
    full, commit = [False], SqliteStore.commit

    def checked(store: SqliteStore) -> None:
        if full[0]:
            store._pending, store._marks, store._last = [], {}, None
            raise StoreFull("no space left")
        commit(store)

    monkeypatch.setattr(SqliteStore, "commit", checked)
    monkeypatch.setattr("fairway.adapters.live_journal.PAUSE_S", 0.01)
    yield full
    full[0] = False


def test_a_control_plane_outlives_a_full_disk(tmp_path: Path, stage: Stage, crowded: list[bool]) -> None:
    with plane_of(tmp_path, stage).running() as plane:
        before = submit(plane.inbox)
        succeeded(plane, before)
        crowded[0] = True
        job = submit(plane.inbox)
        wait_for(lambda: "no space left" in plane.health().troubles)
        assert (stage.called("start"), phase(plane, job)) == (1, None)
        crowded[0] = False
        succeeded(plane, job)
        assert plane.health().ok
    with plane_of(tmp_path, stage).running() as plane:
        assert (phase(plane, before), phase(plane, job)) == (JobPhase.SUCCEEDED, JobPhase.SUCCEEDED)
        assert plane.inbox.waiting() == 0
    assert stage.called("start") == 2


def test_what_could_not_be_written_before_the_end_is_taken_in_by_the_next(
    tmp_path: Path, stage: Stage, crowded: list[bool]
) -> None:
    plane = plane_of(tmp_path, stage)
    job = JobId("job-1")

    def crowd_out() -> None:
        with plane.running():
            wait_for(lambda: plane.health().recovery)
            crowded[0] = True
            assert submit(plane.inbox) == job
            wait_for(lambda: plane.health().troubles)

    with pytest.raises(StoreFull):
        crowd_out()
    crowded[0] = False
    with plane_of(tmp_path, stage).running() as successor:
        succeeded(successor, job)
