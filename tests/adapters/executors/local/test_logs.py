"""Rotating logs that somebody holds open."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.adapters.executors.local.logs import oversized, rotate


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "0.out"


@given(parts=st.lists(st.binary(max_size=50), max_size=6), keep=st.integers(0, 3))
def test_the_newest_parts_are_kept_in_order(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], keep: int
) -> None:
    log = tmp_path_factory.mktemp("logs") / "0.out"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for part in parts:
        os.write(fd, part)
        rotate(str(log), keep)
        assert log.stat().st_size == 0
    os.write(fd, b"now")
    os.close(fd)
    assert log.read_bytes() == b"now", "its writer goes on at the beginning, without a hole"
    kept = [log.with_name(f"0.out.{number}") for number in range(1, keep + 2)]
    assert [path.read_bytes() for path in kept if path.exists()] == parts[::-1][:keep]


def test_only_what_is_larger_is_oversized(log: Path) -> None:
    assert not oversized(str(log), 10)
    log.write_bytes(b"x" * 10)
    assert not oversized(str(log), 10)
    log.write_bytes(b"x" * 11)
    assert oversized(str(log), 10)


def test_nothing_is_lost_when_there_is_no_room_for_the_copy(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_bytes(b"precious")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        rotate(str(log), 2)
    assert log.read_bytes() == b"precious"
    assert os.listdir(log.parent) == ["0.out"]
