"""Control groups, on plain folders that look like them, and on real ones where this machine has some."""

import os
import subprocess
from pathlib import Path

import pytest

from fairway.adapters.executors.local import cgroup


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    return tmp_path


def test_a_delegated_folder_is_taken(parent: Path) -> None:
    assert cgroup.find(str(parent)) == str(parent)
    assert cgroup.find("off") is None


def test_missing_controllers_are_turned_on(parent: Path) -> None:
    (parent / "cgroup.subtree_control").write_text("cpu\n")
    assert cgroup.find(str(parent)) == str(parent)
    assert (parent / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_a_folder_that_is_none_is_not_taken(tmp_path: Path) -> None:
    assert cgroup.find(str(tmp_path)) is None
    assert cgroup.find(str(tmp_path / "absent")) is None


def test_limits_are_written(parent: Path) -> None:
    path = parent / "task"
    path.mkdir()
    (path / "memory.swap.max").write_text("max\n")
    assert cgroup.create(str(parent), "task", 512, 100) == str(path)
    assert (path / "memory.max").read_text() == str(512 << 20)
    assert (path / "memory.swap.max").read_text() == "0"
    assert (path / "pids.max").read_text() == "100"


def test_no_limit_is_not_written(parent: Path) -> None:
    cgroup.create(str(parent), "task", 0, None)
    assert os.listdir(parent / "task") == []


def test_members_of_groups_below_count(parent: Path) -> None:
    below = parent / "task" / "made-by-the-program"
    below.mkdir(parents=True)
    (parent / "task" / "cgroup.procs").write_text("10\n11\n")
    (below / "cgroup.procs").write_text("12\n")
    assert cgroup.members(str(parent / "task")) == {10, 11, 12}
    assert cgroup.members(str(parent / "absent")) == set()


def test_running_out_of_memory_is_seen(parent: Path) -> None:
    assert not cgroup.out_of_memory(str(parent))
    (parent / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\n")
    assert not cgroup.out_of_memory(str(parent))
    (parent / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert cgroup.out_of_memory(str(parent))


@pytest.fixture
def real() -> str:
    """A real group (v2), whatever its controllers; skips where we may not make one."""
    found = cgroup._own()
    if found is None:
        pytest.skip("no cgroup v2 is mounted on this machine")
    path = f"{found}/fairway-test-{os.getpid()}"
    try:
        os.mkdir(path)
    except OSError as error:
        pytest.skip(f"no control group can be made on this machine: {error}")
    return path


@pytest.mark.real
@pytest.mark.component
def test_a_real_group_goes_when_nobody_is_inside(real: str) -> None:
    try:
        os.mkdir(f"{real}/below")
        with subprocess.Popen(["sleep", "60"]) as child:
            Path(real, "below", "cgroup.procs").write_text(str(child.pid))
            assert cgroup.members(real) == {child.pid}
            assert not cgroup.remove(real)
            child.kill()
    finally:
        assert cgroup.remove(real)
    assert not os.path.exists(real)
    assert cgroup.remove(real), "and what is gone is gone"
