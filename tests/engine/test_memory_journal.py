"""The journal in memory keeps the promises of a file, with and without the codec."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fairway.engine.memory_journal import Disk, MemoryJournal
from fairway.model.errors import InvalidField
from fairway.model.facts import CancelAsked, Facts
from fairway.model.ids import JobId
from fairway.model.time import Instant
from fairway.testing.contracts.journal import JournalContract, batch


class MemoryHarness:
    """One disk."""

    def __init__(self, encoded: bool) -> None:
        self.encoded = encoded
        self.disk = Disk()

    def lead(self) -> MemoryJournal:
        return MemoryJournal(self.disk, encoded=self.encoded)

    @contextmanager
    def full(self) -> Iterator[None]:
        self.disk.full = True
        try:
            yield
        finally:
            self.disk.full = False

    def damage(self, seq: int) -> None:
        self.disk.frames[seq - 1] = b"\x00damaged"

    def fresh(self) -> "MemoryHarness":
        return MemoryHarness(self.encoded)

    def discard(self) -> None:
        self.disk = Disk()


@pytest.mark.parametrize("harness", [False, True], ids=["as it is", "encoded"], indirect=True)
class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest) -> MemoryHarness:
        return MemoryHarness(request.param)


def test_a_crash_keeps_what_was_committed_and_nothing_else() -> None:
    journal = MemoryJournal()
    journal.append(batch(1))
    journal.commit()
    journal.append(batch(2))
    after = journal.crashed()
    assert list(after.tail(0)) == [(1, batch(1))]
    assert (after.epoch, after.last) == (2, 1)


def test_encoded_frames_are_bytes_and_what_cannot_be_written_is_refused_at_once() -> None:
    journal = MemoryJournal(encoded=True)
    journal.append(batch(1))
    journal.commit()
    assert journal.disk.frames == [b'{"now":1,"items":[{"is":"CancelAsked","job":"job-1","by":"somebody"}]}']
    with pytest.raises(InvalidField):
        journal.append(Facts(Instant(1), (CancelAsked(JobId("\ud800")),)))
    assert journal.last == 1
