"""What is written down about attempts: whole or not at all."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.adapters.executors.local import log_path
from fairway.adapters.executors.local.folder import Folder, Spec, StopOrder, TaskSpec, indexed, prepare
from fairway.model.errors import InvalidField
from fairway.model.ids import AttemptId, JobId
from fairway.model.time import Duration, Instant

SPEC = Spec((TaskSpec(0, "main", (1, 3), 1_500), TaskSpec(1, "worker")), Duration(30_000), 4_711)
CLAIM = "42 (sh) R 1 42 42 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98765 2654208 383 0f1e-boot"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    prepare(str(tmp_path))
    return Folder(str(tmp_path), AttemptId(JobId("train-1"), 2))


def test_what_is_written_is_read(folder: Folder) -> None:
    planned = folder.create(SPEC)
    assert folder.spec() == (SPEC, planned)
    ordered = folder.write_stop(StopOrder(Instant(5), 1))
    assert folder.stop() == (StopOrder(Instant(5), 1), ordered)
    end = folder.write_exit(0, "lost", "the disk\nis full")
    assert folder.exit(0) == end._replace(text="the disk is full")
    Path(folder.path, "1.claim").write_text(CLAIM + "\n")
    claim = folder.claim(1)
    assert claim is not None
    assert (claim.wrapper.pid, claim.wrapper.session, claim.wrapper.started, claim.boot) == (42, 42, 98765, "0f1e-boot")


@given(cut=st.integers(min_value=1))
def test_a_record_that_was_cut_short_is_as_good_as_absent(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    data = tmp_path_factory.mktemp("data")
    prepare(str(data))
    folder = Folder(str(data), AttemptId(JobId("j"), 1))
    folder.create(SPEC)
    folder.write_stop(StopOrder(Instant(5)))
    Path(folder.path, "0.exit").write_text("exited 137\n")
    Path(folder.path, "0.claim").write_text(CLAIM + "\n")
    for path in (Path(folder.marker), *Path(folder.path).iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: -1 - cut % len(whole)])
    assert folder.spec() is None
    assert folder.stop() is None
    assert folder.exit(0) is None
    assert folder.claim(0) is None
    assert folder.claimed(0)


@pytest.mark.parametrize("rubbish", [b"\x00\x00\n", b"{}\n", b"[1]\n", b'{"tasks": 3}\n', b"\n", b"\xff\xfe\n"])
def test_records_that_make_no_sense_stop_nobody(folder: Folder, rubbish: bytes) -> None:
    folder.create(SPEC)
    Path(folder.marker).write_bytes(rubbish)
    Path(folder.path, "0.claim").write_bytes(rubbish)
    Path(folder.path, "stop").write_bytes(rubbish)
    assert folder.spec() is None
    assert folder.claim(0) is None
    found = folder.stop()
    assert found is not None, "an order that cannot be read is an order"
    assert found[0].deadline <= found[1]


def test_the_index_has_what_was_not_forgotten(folder: Folder) -> None:
    assert indexed(folder.data) == []
    folder.create(None)
    other = Folder(folder.data, AttemptId(JobId("a.3"), 10))
    other.create(SPEC)
    Path(folder.data, "index", "not-an-attempt").touch()
    assert indexed(folder.data) == [other.attempt, folder.attempt]
    folder.forget(False)
    assert indexed(folder.data) == [other.attempt]


def test_a_forgotten_attempt_is_not_created_again(folder: Folder) -> None:
    assert folder.create(SPEC) is not None
    folder.forget(True)
    folder.forget(True)
    assert folder.create(SPEC) is None
    assert indexed(folder.data) == []
    assert folder.spec() is not None, "its spec stays for people"


def test_a_job_that_succeeded_leaves_no_empty_folder(folder: Folder) -> None:
    folder.create(SPEC)
    os.mkdir(folder.checkpoints)
    folder.forget(False)
    assert os.path.isdir(folder.checkpoints), "the next attempt needs it"
    again = Folder(folder.data, AttemptId(folder.attempt.job, 3))
    again.create(SPEC)
    again.forget(True)
    assert not os.path.exists(folder.checkpoints)


def test_checkpoints_are_never_removed(folder: Folder) -> None:
    folder.create(SPEC)
    os.mkdir(folder.checkpoints)
    kept = Path(folder.checkpoints, "model.pt")
    kept.touch()
    folder.forget(True)
    assert kept.exists()


@pytest.mark.parametrize("what", ["rmdir", "rename"])
def test_a_folder_that_cannot_be_removed_or_put_away_is_told(
    folder: Folder, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: str) -> None:
        raise PermissionError(1, "not yours")

    folder.create(None)
    monkeypatch.setattr(os, what, fail)
    if what == "rmdir":
        assert not folder.discard()
    else:
        folder.forget(True)
    assert indexed(folder.data) == [folder.attempt]
    assert "not yours" in caplog.text


def test_nothing_written_down_can_be_undone(folder: Folder) -> None:
    folder.create(None)
    assert folder.discard()
    assert folder.create(SPEC) is not None
    Path(folder.path, "0.claim").touch()
    assert not folder.discard()


def test_a_folder_removed_by_hand_is_forgotten_all_the_same(folder: Folder) -> None:
    folder.create(SPEC)
    os.rmdir(folder.path)
    folder.forget(False)
    assert indexed(folder.data) == []


@pytest.mark.parametrize("job", ["", ".", "..", "a/b", "../a"])
def test_a_job_that_is_no_file_name_is_refused(job: str) -> None:
    with pytest.raises(InvalidField, match="folder"):
        Folder("/data", AttemptId(JobId(job), 1))


def test_logs_have_a_known_place(tmp_path: Path) -> None:
    assert log_path(tmp_path, "train-1", 2) == f"{tmp_path}/attempts/train-1@2/0.out"
    assert log_path(str(tmp_path), "train-1", 1, rank=3, stream="err") == f"{tmp_path}/attempts/train-1@1/3.err"
    with pytest.raises(InvalidField, match="stream"):
        log_path(tmp_path, "train-1", 1, stream="stdin")


def test_only_the_owner_looks_inside(tmp_path: Path) -> None:
    prepare(str(tmp_path / "new"))
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
