"""The journal in SQLite: the contract, one leader at a time, checksums, checkpoints, repair in place."""

import logging
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fairway.adapters.stores.inbox import Entry, Inbox
from fairway.adapters.stores.reader import JournalReader, checksum
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.model.errors import CorruptJournal, NewerFormat, StaleEpoch, StoreBusy, StoreError
from fairway.testing.contracts.journal import JournalContract, batch, committed
from tests.adapters.stores.places import SqlitePlace, child, raw, spoil, steal_lock


class TestSqliteStore(JournalContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[SqlitePlace]:
        place = SqlitePlace(tmp_path)
        yield place
        place.discard()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "fairway.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore.open(path) as store:
        yield store


# -- one leader ---------------------------------------------------------------------------------------------------


def test_opening_makes_the_directory_and_every_leader_has_a_higher_epoch(path: Path) -> None:
    epochs: list[int] = []
    for _ in range(3):
        with SqliteStore.open(path) as store:
            epochs.append(store.epoch)
    assert epochs == [1, 2, 3]


def test_what_is_written_is_on_the_disk_when_commit_returns(store: SqliteStore) -> None:
    settings = {name: store._database.read(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")}
    assert settings == {"journal_mode": "wal", "synchronous": 2}


def test_a_second_leader_in_this_process_is_refused_by_name(path: Path, store: SqliteStore) -> None:
    with pytest.raises(StoreBusy, match=r"led by pid \d+ on \S+: stop that process first"):
        SqliteStore.open(path)
    assert committed(store, 1, 1) == [(1, batch(1))]


def test_a_refused_leader_does_not_loosen_the_lock_of_the_first(path: Path, store: SqliteStore) -> None:
    """POSIX locks go when any descriptor of the file is closed: looking who holds it must not be one."""
    with pytest.raises(StoreBusy):
        SqliteStore.open(path)
    other = child(LEAD, str(path), "0")
    assert "StoreBusy" in other.communicate()[0]
    assert store.epoch == 1


LEAD = """
import sys
from pathlib import Path
from fairway.adapters.stores.sqlite import SqliteStore
try:
    store = SqliteStore.open(Path(sys.argv[1]), wait=float(sys.argv[2]) or None, holder="the other one")
except Exception as error:
    sys.exit(print(type(error).__name__, error))
print("leads", store.epoch)
sys.stdin.readline()
"""


def test_a_second_process_is_refused_and_does_nothing_to_the_store(path: Path) -> None:
    first = child(LEAD, str(path), "0", stdin=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == "leads 1\n"
    with pytest.raises(StoreBusy, match="led by the other one"):
        SqliteStore.open(path)
    with closing(JournalReader(path)) as reader:
        assert reader._database.read("SELECT value FROM meta WHERE name = 'epoch'") == [(1,)]
    first.communicate("\n")
    with SqliteStore.open(path) as store:
        assert store.epoch == 2


def test_a_second_process_waits_for_the_first_to_end(path: Path) -> None:
    with SqliteStore.open(path) as store:
        frames = committed(store, 1, 3)
        second = child(LEAD, str(path), "60")
    assert second.communicate()[0] == "leads 2\n"
    with closing(JournalReader(path)) as reader:
        assert list(reader.tail(0)) == frames


def test_waiting_ends(path: Path, store: SqliteStore) -> None:
    with pytest.raises(StoreBusy, match=r"waited 0\.1 s"):
        SqliteStore.open(path, wait=0.1)
    assert store.epoch == 1


def test_a_killed_leader_leaves_the_store_free(path: Path) -> None:
    first = child(LEAD, str(path), "0")
    assert first.stdout is not None
    assert first.stdout.readline() == "leads 1\n"
    first.kill()
    first.communicate()
    with SqliteStore.open(path) as store:
        assert store.epoch == 2


def test_a_child_that_outlives_its_leader_does_not_keep_the_lock(path: Path) -> None:
    """Jobs survive the control plane: what was forked from it must not lead in its name."""
    parent = child(FORK, str(path))
    assert parent.communicate()[0].split() == ["forked"]
    with SqliteStore.open(path) as store:
        assert store.epoch == 2


FORK = """
import os, sys
from pathlib import Path
from fairway.adapters.stores.sqlite import SqliteStore
store = SqliteStore.open(Path(sys.argv[1]))
if os.fork() == 0:
    os.closerange(0, 3)  # keeps every other descriptor of its parent, the lock's too
    import select
    select.select([], [], [], 5)
    os._exit(0)
print("forked")
sys.stdout.flush()
os._exit(0)
"""


def test_an_epoch_stops_a_leader_whose_lock_was_stolen(path: Path, store: SqliteStore) -> None:
    steal_lock(path)
    with SqliteStore.open(path, holder="the thief") as thief:
        store.append(batch(1))
        with pytest.raises(StaleEpoch, match=r"the thief leads .* since epoch 2; this one .1. must stop"):
            store.commit()
        assert committed(thief, 5, 6) == [(1, batch(5)), (2, batch(6))]


def test_a_closed_store_says_so(path: Path) -> None:
    store = SqliteStore.open(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        list(store.tail(0))


# -- reading beside a leader --------------------------------------------------------------------------------------


def test_a_reader_needs_no_lead_and_sees_what_is_committed(path: Path, store: SqliteStore) -> None:
    frames = committed(store, 1, 3)
    store.append(batch(4))
    store.checkpoint(2, b"two")
    with closing(JournalReader(path)) as reader:
        assert list(reader.tail(0)) == frames
        assert reader.newest_checkpoint() == (2, b"two")
    assert committed(store, 5, 5) == [(5, batch(5))]


def test_a_reader_of_nothing_says_what_to_do(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        JournalReader(path)
    assert not path.exists()


# -- damage -------------------------------------------------------------------------------------------------------


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    path: Path, store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    committed(store, 1, 4)
    store.checkpoint(2, b"state two")
    store.checkpoint(4, b"state four")
    spoil(path, "checkpoints", 4)
    with caplog.at_level(logging.WARNING, "fairway.store"):
        assert store.newest_checkpoint() == (2, b"state two")
    assert "checkpoint 4" in caplog.text
    spoil(path, "checkpoints", 2)
    assert store.newest_checkpoint() is None
    assert len(list(store.tail(0))) == 4


def test_an_older_checkpoint_can_be_asked_for(store: SqliteStore) -> None:
    committed(store, 1, 4)
    store.checkpoint(2, b"state two")
    store.checkpoint(4, b"state four")
    assert [store.newest_checkpoint(seq) for seq in (1, 2, 3, 4)] == [
        None,
        (2, b"state two"),
        (2, b"state two"),
        (4, b"state four"),
    ]


def test_a_journal_keeps_its_identity_until_frames_are_cut_off(path: Path, tmp_path: Path) -> None:
    with SqliteStore.open(path) as store:
        first = store.identity
        committed(store, 1, 3)
        assert not store.quarantine_tail()
    with SqliteStore.open(path) as store:
        assert store.identity == first
        spoil(path, "frames", 3)
        assert store.quarantine_tail().cut == 3
        assert store.identity != first
    with SqliteStore.open(tmp_path / "other.db") as other:
        assert other.identity not in (first, store.identity)


def test_only_two_checkpoints_are_kept(store: SqliteStore) -> None:
    committed(store, 1, 4)
    for seq in (1, 2, 3, 4):
        store.checkpoint(seq, b"x")
    assert store._database.read("SELECT seq FROM checkpoints ORDER BY seq") == [(3,), (4,)]


def test_a_frame_is_bound_to_its_place_and_epoch(path: Path, store: SqliteStore) -> None:
    committed(store, 1, 4)
    with closing(raw(path)) as connection:
        connection.execute("UPDATE frames SET body = (SELECT body FROM frames WHERE seq = 1) WHERE seq = 3")
        connection.execute("UPDATE frames SET crc = (SELECT crc FROM frames WHERE seq = 1) WHERE seq = 3")
        connection.execute("UPDATE frames SET epoch = 7 WHERE seq = 2")
    with pytest.raises(CorruptJournal, match="frame 2"):
        list(store.tail(0))
    with pytest.raises(CorruptJournal, match="frame 3"):
        list(store.tail(2))


def test_a_missing_frame_is_noticed(path: Path, store: SqliteStore) -> None:
    committed(store, 1, 4)
    with closing(raw(path)) as connection:
        connection.execute("DELETE FROM frames WHERE seq = 2")
    with pytest.raises(CorruptJournal, match="frame 2: is missing"):
        list(store.tail(0))


def test_a_damaged_last_frame_is_set_aside_and_nothing_before_it_is_lost(path: Path) -> None:
    with SqliteStore.open(path) as store:
        frames = committed(store, 1, 5)
    spoil(path, "frames", 5)
    with SqliteStore.open(path) as store:
        tail = store.tail(0)
        assert [next(tail) for _ in range(4)] == frames[:4]
        with pytest.raises(CorruptJournal, match=r"frame 5: .*the 4 before it are intact.*doctor --repair-journal"):
            next(tail)
        done = store.quarantine_tail()
        assert (done.frames, done.checkpoints, done.inbox, done.history) == ((5,), (), (), ())
        assert list(store.tail(0)) == frames[:4]
        assert committed(store, 6, 6) == [(5, batch(6))]
        kept = store._database.read("SELECT origin, seq, length(body) > 10 FROM quarantine")
        assert kept == [("frames", 5, 1)]
        assert not store.quarantine_tail()


def test_a_repair_cuts_before_the_first_damaged_frame(path: Path, store: SqliteStore) -> None:
    frames = committed(store, 1, 6)
    spoil(path, "frames", 3)
    assert store.quarantine_tail().frames == (3, 4, 5, 6)
    assert list(store.tail(0)) == frames[:2]


def test_a_repair_leaves_alone_what_a_checkpoint_stands_for(path: Path, store: SqliteStore) -> None:
    frames = committed(store, 1, 6)
    store.checkpoint(4, b"four")
    spoil(path, "frames", 2)
    done = store.quarantine_tail()
    assert not done
    assert done.history == (2,)
    assert list(store.tail(4)) == frames[4:]


def test_a_repair_sets_a_damaged_checkpoint_aside(path: Path, store: SqliteStore) -> None:
    frames = committed(store, 1, 4)
    store.checkpoint(2, b"good")
    store.checkpoint(4, b"spoilt")
    spoil(path, "checkpoints", 4)
    spoil(path, "frames", 4)
    done = store.quarantine_tail()
    assert (done.frames, done.checkpoints) == ((4,), (4,))
    assert store.newest_checkpoint() == (2, b"good")
    assert list(store.tail(2)) == frames[2:3]
    assert store.append(batch(9)) == 4


def test_what_the_inbox_had_given_to_a_cut_off_frame_is_given_again(path: Path, store: SqliteStore) -> None:
    with Inbox(path) as inbox:
        for number in range(1, 5):
            assert inbox.put(f"t{number}", b"body %d" % number) == number
    for now, up_to in ((1, 1), (2, 3), (3, 4)):
        store.append(batch(now))
        store.consumed(up_to)
        store.commit()
    assert store.take(10) == []
    spoil(path, "frames", 2)
    store.quarantine_tail()
    assert [row.seq for row in store.take(10)] == [2, 3, 4]


def test_a_repair_does_not_take_a_newer_version_for_damage(path: Path, store: SqliteStore) -> None:
    committed(store, 1, 2)
    _write_frame(path, 3, b'{"now":1,"items":[{"is":"NodeDreamt"}]}')
    with pytest.raises(NewerFormat, match=r"frame 3: .*NodeDreamt"):
        list(store.tail(0))
    with pytest.raises(NewerFormat):
        store.quarantine_tail()
    assert store._database.read("SELECT count(*) FROM frames") == [(3,)]


def _write_frame(path: Path, seq: int, body: bytes) -> None:
    with closing(raw(path)) as connection:
        connection.execute("INSERT INTO frames VALUES (?, 1, ?, ?)", (seq, checksum(seq, 1, body), body))


# -- compaction ---------------------------------------------------------------------------------------------------


def test_compaction_drops_only_what_two_checkpoints_stand_for(path: Path, store: SqliteStore) -> None:
    frames = committed(store, 1, 10)
    assert store.compact(8) == 0
    store.checkpoint(5, b"five")
    assert store.compact(8) == 0
    store.checkpoint(9, b"nine")
    assert store.compact(4) == 3
    assert store.compact(100) == 2
    assert list(store.tail(5)) == frames[5:]
    with pytest.raises(CorruptJournal, match=r"frames up to 5 .*compacted away"):
        list(store.tail(0))
    spoil(path, "checkpoints", 9)
    assert store.newest_checkpoint() == (5, b"five")


def test_a_journal_goes_on_counting_after_all_its_frames_were_dropped(path: Path) -> None:
    with SqliteStore.open(path) as store:
        committed(store, 1, 4)
        store.checkpoint(3, b"three")
        store.checkpoint(4, b"four")
        assert store.compact(100) == 3
    with closing(raw(path)) as connection:
        connection.execute("DELETE FROM frames")
    with SqliteStore.open(path) as store:
        assert store.append(batch(5)) == 5


def test_compaction_drops_the_inbox_rows_of_the_frames_it_drops(path: Path, store: SqliteStore) -> None:
    with Inbox(path) as inbox:
        inbox.put_many([Entry(f"t{number}", b"x") for number in range(1, 7)])
        for now in range(1, 6):
            store.append(batch(now))
            store.consumed(now)
            store.commit()
        store.checkpoint(3, b"three")
        store.checkpoint(5, b"five")
        store.compact(100)
        assert store._database.read("SELECT seq FROM inbox ORDER BY seq") == [(4,), (5,), (6,)]
        assert [row.seq for row in store.take(10)] == [6]
        assert inbox.put("new", b"x") == 7
