"""A full disk, a read-only file, no store at all, a newer format: a clear error, and nothing acknowledged lost."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fairway.adapters.stores.inbox import Inbox
from fairway.adapters.stores.reader import JournalReader
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.model.errors import CorruptJournal, NewerFormat, StoreFull
from fairway.model.facts import CancelAsked, Facts
from fairway.model.ids import JobId
from fairway.model.time import Instant
from fairway.testing.contracts.journal import batch, committed
from tests.adapters.stores.places import child, raw

NOBODY = 65534


def large(now: int, size: int = 20_000) -> Facts:
    """A batch that needs new pages."""
    return Facts(Instant(now), (CancelAsked(JobId("x" * size)),))


def fill(store: SqliteStore) -> list[tuple[int, Facts]]:
    """Commit large frames until there is no space; those that were acknowledged."""
    frames: list[tuple[int, Facts]] = []
    for now in range(10_000):
        seq = store.append(large(now))
        try:
            store.commit()
        except StoreFull:
            return frames
        frames.append((seq, large(now)))
    raise AssertionError("the disk never filled")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fairway.db"


# -- no space -----------------------------------------------------------------------------------------------------


def test_a_full_file_keeps_what_was_acknowledged_and_goes_on_when_there_is_room(path: Path) -> None:
    with SqliteStore.open(path) as store:
        connection = store._database.connection
        connection.execute("PRAGMA max_page_count = 100")
        frames = fill(store)
        assert frames
        store.append(large(0))
        with pytest.raises(StoreFull, match=r"no space left for .*free some space.*acknowledged so far is kept"):
            store.commit()
        assert list(store.tail(0)) == frames
        connection.execute("PRAGMA max_page_count = 10000")
        store.append(large(1))
        store.commit()
        assert list(store.tail(0)) == [*frames, (len(frames) + 1, large(1))]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; skips where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_keeps_what_was_acknowledged_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    path = small_disk / "fairway.db"
    with Inbox(path) as inbox, SqliteStore.open(path) as store:
        assert inbox.put("before", b"x") == 1
        frames = fill(store)
        with pytest.raises(StoreFull, match="no space left"):
            inbox.put("while full", b"x" * 50_000)
        assert list(store.tail(0)) == frames
        ballast.unlink()
        assert inbox.put("before", b"x") == 1
        assert inbox.put("while full", b"x" * 50_000) == 2
        store.append(batch(7))
        store.commit()
    with SqliteStore.open(path) as store:
        assert list(store.tail(0)) == [*frames, (len(frames) + 1, batch(7))]
        assert [row.seq for row in store.take(10)] == [1, 2]


def test_a_store_cannot_be_made_on_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(2_000_000))
    with pytest.raises(StoreFull):
        SqliteStore.open(small_disk / "fairway.db")
    ballast.unlink()
    with SqliteStore.open(small_disk / "fairway.db") as store:
        assert committed(store, 1, 1) == [(1, batch(1))]


LIMITED = """
import resource, sys
from pathlib import Path
from fairway.adapters.stores.sqlite import SqliteStore
from tests.adapters.stores.test_failures import fill, large
with SqliteStore.open(Path(sys.argv[1])) as store:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    print(len(fill(store)))
    try:
        store.append(large(0))
        store.commit()
    except Exception as error:
        print(type(error).__name__, error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store.append(large(999))
    store.commit()
"""


def test_a_file_size_limit_is_a_clear_error_too(path: Path, repository: Path) -> None:
    process = child(LIMITED, str(path), cwd=repository)
    out, err = process.communicate()
    assert process.returncode == 0, err
    count, error = out.splitlines()
    assert int(count) > 0
    assert error.startswith("StoreFull ")
    assert "over a quota or file size limit" in error
    with SqliteStore.open(path) as store:
        frames = list(store.tail(0))
    assert frames == [*((now + 1, large(now)) for now in range(int(count))), (int(count) + 1, large(999))]


# -- read-only ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users can reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from fairway.adapters.stores.inbox import Inbox
from fairway.adapters.stores.reader import JournalReader
from fairway.adapters.stores.sqlite import SqliteStore
import cattrs, msgspec, encodings.idna
path = Path(sys.argv[1])
if os.geteuid() == 0:
    os.seteuid(int(sys.argv[2]))
for kind in (SqliteStore.open, Inbox):
    try:
        kind(path)
        print("opened")
    except Exception as error:
        print(type(error).__name__, error)
if path.exists():
    print(len(list(JournalReader(path).tail(0))))
"""


@pytest.mark.parametrize("there", [True, False], ids=["an existing store", "no store yet"])
def test_what_may_not_be_written_is_a_clear_error_and_can_be_read(shared: Path, there: bool) -> None:
    path = shared / "fairway.db"
    if there:
        with SqliteStore.open(path) as store:
            committed(store, 1, 3)
        before = path.read_bytes()
        path.chmod(0o444)
    shared.chmod(0o555)
    try:
        process = child(UNPRIVILEGED, str(path), str(NOBODY))
        out, err = process.communicate()
    finally:
        shared.chmod(0o755)
    assert process.returncode == 0, err
    lines = out.splitlines()
    for line in lines[:2]:
        assert line.startswith("StoreFull ")
        assert "cannot be written" in line
        assert "make the file and its directory writable" in line
    if there:
        assert lines[2] == "3"
        assert path.read_bytes() == before


def test_a_file_system_that_was_mounted_read_only_is_a_clear_error_and_can_be_read(small_disk: Path) -> None:
    path = small_disk / "fairway.db"
    with SqliteStore.open(path) as store:
        frames = committed(store, 1, 3)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreFull, match="cannot be written"):
        SqliteStore.open(path)
    with closing(JournalReader(path)) as reader:
        assert list(reader.tail(0)) == frames


# -- not a store, or a newer one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"kind: Job\nname: train\n" * 50, b"x", b"\0" * 8192], ids=["a manifest", "one byte", "zeros"]
)
def test_a_file_that_is_no_store_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for kind in (SqliteStore.open, Inbox, JournalReader):
        with pytest.raises(CorruptJournal, match="not a Fairway store"):
            kind(path)
    assert path.read_bytes() == content
    assert list(path.parent.glob("fairway.db-*")) == []


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    with closing(raw(path)) as connection:
        connection.execute("CREATE TABLE cookies(name)")
    before = path.read_bytes()
    for kind in (SqliteStore.open, Inbox, JournalReader):
        with pytest.raises(CorruptJournal, match="not a Fairway store"):
            kind(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with pytest.raises(CorruptJournal, match="not a Fairway store"):
        JournalReader(path)
    with SqliteStore.open(path) as store:
        assert committed(store, 1, 1) == [(1, batch(1))]


@pytest.mark.parametrize("crashed", [False, True], ids=["closed", "with a log left over"])
def test_a_store_of_a_newer_format_is_refused_and_not_touched(tmp_path: Path, crashed: bool) -> None:
    origin, copy = tmp_path / "a" / "fairway.db", tmp_path / "b" / "fairway.db"
    copy.parent.mkdir()
    with SqliteStore.open(origin) as store:
        frames = committed(store, 1, 3)
        connection = store._database.connection
        connection.execute("UPDATE meta SET value = '9.9' WHERE name = 'written_by'")
        connection.execute("PRAGMA user_version = 2")
        if crashed:
            _copy(origin, copy)
    if not crashed:
        _copy(origin, copy)
    before = {file.name: file.read_bytes() for file in copy.parent.iterdir()}
    assert ("fairway.db-wal" in before) == crashed
    for kind in (SqliteStore.open, Inbox, JournalReader):
        with pytest.raises(
            NewerFormat, match=r"is in store format 2, written by Fairway 9\.9.*upgrade.*Nothing .*changed"
        ):
            kind(copy)
    after = {name: (copy.parent / name).read_bytes() for name in before}
    assert after == before
    with closing(raw(copy)) as connection:
        connection.execute("PRAGMA user_version = 1")
    with SqliteStore.open(copy) as store:
        assert list(store.tail(0)) == frames
        assert store.epoch == 2


def _copy(origin: Path, copy: Path) -> None:
    for end in ("", "-wal"):
        if (origin.parent / (origin.name + end)).exists():
            shutil.copy(origin.parent / (origin.name + end), copy.parent / (copy.name + end))


def test_a_torn_log_keeps_every_commit_but_the_torn_one(tmp_path: Path) -> None:
    """What a power cut leaves: the last write is only half there. SQLite's own checksums cut it off."""
    origin, copy = tmp_path / "a" / "fairway.db", tmp_path / "b" / "fairway.db"
    copy.parent.mkdir()
    with SqliteStore.open(origin) as store:
        frames = committed(store, 1, 20)
        _copy(origin, copy)
    log = copy.parent / "fairway.db-wal"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 1000)
    with SqliteStore.open(copy) as store:
        assert list(store.tail(0)) == frames[:19]
