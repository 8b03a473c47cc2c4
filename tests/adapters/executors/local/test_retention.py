"""Old attempts' folders go; those that were not forgotten never do."""

import os
from pathlib import Path

import pytest

from fairway.adapters.executors.local.folder import Folder, prepare
from fairway.adapters.executors.local.retention import prune
from fairway.model.ids import AttemptId, JobId

DAY = 86_400


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten forgotten attempts, 0 to 9 days old, and one from long ago that was not forgotten."""
    prepare(str(tmp_path))
    for days in range(10):
        folder = Folder(str(tmp_path), AttemptId(JobId(f"j-{days}"), 1))
        folder.create(None)
        folder.forget(False)
        Path(folder.log(0, "out")).touch()
        _age(folder.path, days)
    known = Folder(str(tmp_path), AttemptId(JobId("known"), 1))
    known.create(None)
    _age(known.path, 1_000)
    return tmp_path


def _age(path: str, days: int) -> None:
    then = Path("/proc/self").stat().st_mtime - days * DAY
    os.utime(path, (then, then))


def left(data: Path) -> set[str]:
    return {path.name for path in (data / "attempts").iterdir()}


def test_without_a_limit_everything_stays(data: Path) -> None:
    assert prune(str(data), None, None) == 0
    assert len(left(data)) == 11


def test_the_newest_are_kept(data: Path) -> None:
    assert prune(str(data), 3, None) == 7
    assert left(data) == {"j-0@1", "j-1@1", "j-2@1", "known@1"}


def test_the_old_go(data: Path) -> None:
    assert prune(str(data), None, 4.5) == 5
    assert left(data) == {*(f"j-{days}@1" for days in range(5)), "known@1"}


def test_nothing_kept_means_nothing_but_what_is_known(data: Path) -> None:
    assert prune(str(data), 0, None) == 10
    assert left(data) == {"known@1"}
