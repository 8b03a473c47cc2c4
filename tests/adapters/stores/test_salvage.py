"""Repair of a store that nobody leads, down to damaged pages: nothing readable is lost, nothing at all is deleted."""

from pathlib import Path

import pytest

from fairway.adapters.stores.inbox import Inbox
from fairway.adapters.stores.salvage import repair_journal
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.model.errors import CorruptJournal, StaleEpoch, StoreBusy, StoreError
from fairway.model.facts import Facts
from fairway.testing.contracts.journal import batch, committed
from tests.adapters.stores.places import spoil, steal_lock

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fairway.db"


def written(path: Path, count: int) -> list[tuple[int, Facts]]:
    """A store with ``count`` frames, each with an inbox row that it has taken in, and two rows that wait."""
    with Inbox(path) as inbox, SqliteStore.open(path) as store:
        frames = []
        for now in range(1, count + 1):
            inbox.put(f"t{now}", b"row %d" % now)
            frames.append((store.append(batch(now)), batch(now)))
            store.consumed(now)
            store.commit()
        inbox.put("waits 1", b"x")
        inbox.put("waits 2", b"x")
    return frames


def spoil_page_of(path: Path, text: bytes) -> None:
    """Overwrite the head of the page that ``text`` is on, as a bad sector would."""
    data = bytearray(path.read_bytes())
    at = data.rindex(text) // PAGE * PAGE
    data[at : at + 64] = b"\xff" * 64
    path.write_bytes(data)


def test_a_damaged_frame_is_set_aside_in_place(path: Path) -> None:
    frames = written(path, 5)
    spoil(path, "frames", 5)
    done, kept = repair_journal(path)
    assert (done.cut, done.frames, kept) == (5, (5,), None)
    with SqliteStore.open(path) as store:
        assert list(store.tail(0)) == frames[:4]
        assert [row.seq for row in store.take(10)] == [5, 6, 7]


def test_a_damaged_page_keeps_all_before_it_and_the_damaged_file(path: Path) -> None:
    frames = written(path, 300)
    spoil_page_of(path, b'"job-300"')
    before = path.read_bytes()
    with SqliteStore.open(path) as store:
        with pytest.raises(CorruptJournal, match=r"lies on a damaged page.*doctor --repair-journal"):
            list(store.tail(0))
        tail = store.tail(0)
        assert [next(tail) for _ in range(200)] == frames[:200]
    done, kept = repair_journal(path)
    assert 200 < done.cut <= 300
    assert kept is not None
    assert len(kept.read_bytes()) == len(before)
    with SqliteStore.open(path) as store:
        saved = list(store.tail(0))
        assert len(saved) == done.cut - 1
        assert saved == frames[: len(saved)]
        assert [row.seq for row in store.take(1000)] == list(range(len(saved) + 1, 303))
        assert committed(store, 7, 7) == [(len(saved) + 1, batch(7))]
    with Inbox(path) as inbox:
        assert inbox.put("t1", b"row 1") == 1
        assert inbox.put("new", b"x") == 303
    assert not repair_journal(path)[0]


def test_a_damaged_page_that_a_checkpoint_stands_for_costs_only_history(path: Path) -> None:
    frames = written(path, 300)
    with SqliteStore.open(path) as store:
        store.checkpoint(290, b"two hundred and ninety")
    spoil_page_of(path, b'"job-100"')
    done, kept = repair_journal(path)
    assert kept is not None
    assert not done.cut
    assert 100 in done.history
    with SqliteStore.open(path) as store:
        assert store.newest_checkpoint() == (290, b"two hundred and ninety")
        assert list(store.tail(290)) == frames[290:]
        assert [row.seq for row in store.take(10)] == [301, 302]


def test_a_damaged_page_of_the_inbox_is_reported_row_by_row(path: Path) -> None:
    frames = written(path, 300)
    spoil_page_of(path, b"row 40")
    done, kept = repair_journal(path)
    assert kept is not None
    assert 40 in done.inbox
    assert 301 not in done.inbox
    assert not done.cut
    with SqliteStore.open(path) as store:
        assert list(store.tail(0)) == frames
        assert [row.seq for row in store.take(10)] == [301, 302]


def test_a_repair_finds_nothing_wrong_with_a_sound_store(path: Path) -> None:
    frames = written(path, 3)
    done, kept = repair_journal(path)
    assert not done
    assert kept is None
    with SqliteStore.open(path) as store:
        assert list(store.tail(0)) == frames


def test_a_store_that_is_led_is_not_repaired(path: Path) -> None:
    with SqliteStore.open(path), pytest.raises(StoreBusy):
        repair_journal(path)


def test_a_leader_that_got_past_the_lock_is_stopped_by_a_repair(path: Path) -> None:
    with SqliteStore.open(path) as store:
        steal_lock(path)
        repair_journal(path)
        store.append(batch(1))
        with pytest.raises(StaleEpoch):
            store.commit()


def test_there_must_be_something_to_repair(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        repair_journal(path)
    assert list(path.parent.iterdir()) == []
