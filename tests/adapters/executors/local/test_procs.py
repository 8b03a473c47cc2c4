"""Who a process is, and who belongs to whom."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.adapters.executors.local.procs import (
    Census,
    Process,
    boot_id,
    children,
    command_line,
    environment,
    open_pidfd,
    parse_stat,
    read_stat,
    reap,
    signal_group,
    signal_process,
)

FIELDS = st.lists(st.integers(0, 10**9).map(str), min_size=49, max_size=49)


@given(pid=st.integers(1, 4_194_304), name=st.text(), state=st.sampled_from("RSDZT"), rest=FIELDS)
def test_a_stat_line_is_read_whatever_the_program_is_called(pid: int, name: str, state: str, rest: list[str]) -> None:
    stat = parse_stat(f"{pid} ({name}) {state} {' '.join(rest)}")
    assert stat == (pid, state, int(rest[2]), int(rest[18]))
    assert stat.dead == (state == "Z")


@given(st.text())
def test_nonsense_is_no_stat_line(text: str) -> None:
    parse_stat(text)  # must not raise
    assert parse_stat(text.replace(")", "")) is None


@given(cut=st.integers(0, 40))
def test_a_line_that_was_cut_short_is_none(cut: int) -> None:
    whole = f"77 (sh) S 1 77 77 0 {' '.join('0' for _ in range(13))} 4711"
    assert parse_stat(whole[: len(whole) - 5 - cut]) is None


@pytest.mark.real
class TestRealProcesses:
    def test_a_process_is_known_by_its_start_as_well(self) -> None:
        with subprocess.Popen(["sleep", "60"]) as child:
            stat = read_stat(child.pid)
            assert stat is not None
            fd = open_pidfd(child.pid, stat.started)
            assert fd is not None
            os.close(fd)
            assert open_pidfd(child.pid, stat.started + 1) is None
            assert signal_process(Process(child.pid, stat.started + 1), signal.SIGKILL)
            assert child.poll() is None, "a process was signalled that only has the same number"
            assert signal_process(stat.process, signal.SIGTERM)
            assert child.wait() == -signal.SIGTERM

    def test_a_zombie_is_dead_and_can_be_reaped_once(self) -> None:
        child = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], {})
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        stat = read_stat(child)
        assert stat is not None
        assert stat.dead
        assert open_pidfd(child, stat.started) is None
        assert stat.process not in {s.process for s in Census.take().stats}
        assert reap(child) == 3
        assert reap(child) is None
        assert read_stat(child) is None

    def test_what_it_was_started_with_can_be_read(self) -> None:
        with subprocess.Popen(["sleep", "60"], env={"A": "1", "FAIRWAY_X": "ü"}) as child:
            try:
                while not command_line(child.pid):  # it is not there yet in the middle of an exec
                    assert child.poll() is None
                assert command_line(child.pid) == ("sleep", "60")
                assert set(environment(child.pid)) == {"A=1", "FAIRWAY_X=ü"}
                assert child.pid in (children(os.getpid()) or [child.pid])
            finally:
                child.kill()
        assert command_line(child.pid) == ()
        assert environment(child.pid) == ()

    def test_a_census_finds_who_left_its_session_by_its_marks(self) -> None:
        marks = {"FAIRWAY_PROGRESS": "/p/1", "FAIRWAY_TASK": "0"}
        with (
            subprocess.Popen(["sleep", "60"], env=marks, start_new_session=True) as one,
            subprocess.Popen(["sleep", "60"], env={**marks, "FAIRWAY_TASK": "1"}) as two,
        ):
            try:
                census = Census.take()
                assert {p.pid for p in census.marked("FAIRWAY_PROGRESS=/p/1")} == {one.pid, two.pid}
                assert {p.pid for p in census.marked("FAIRWAY_PROGRESS=/p/1", "FAIRWAY_TASK=1")} == {two.pid}
                assert {p.pid for p in census.of_session(one.pid)} == {one.pid}
                assert census.marked("FAIRWAY_PROGRESS=/p/2") == set()
            finally:
                one.kill()
                two.kill()

    @pytest.mark.parametrize("number", [0, 1, -1])
    def test_our_own_group_is_none_of_a_task(self, number: int) -> None:
        with pytest.raises(ValueError, match="no process group"):
            signal_group(number, 0)

    def test_a_group_without_members_is_not_signalled(self) -> None:
        with subprocess.Popen(["true"], start_new_session=True) as child:
            child.wait()
        assert not signal_group(child.pid, 0)

    def test_the_boot_has_one_name(self) -> None:
        again = subprocess.check_output(
            [sys.executable, "-c", "from fairway.adapters.executors.local.procs import boot_id; print(boot_id())"],
            text=True,
        )
        assert again.strip() == boot_id()
