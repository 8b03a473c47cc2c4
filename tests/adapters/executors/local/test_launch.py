"""The wrapper: it claims, it starts one program at most, it leaves the status. Under every shell there is."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.adapters.executors.local import launch
from fairway.adapters.executors.local.folder import WRAPPER, Folder, prepare
from fairway.adapters.executors.local.launch import (
    Launch,
    Unlaunchable,
    check,
    is_wrapper,
    keep_files_to_ourselves,
    spawn,
)
from fairway.adapters.executors.local.procs import boot_id, command_line, read_stat
from fairway.model.ids import AttemptId, JobId

pytestmark = pytest.mark.real

SHELLS = [path for path in map(shutil.which, ("sh", "dash", "bash", "busybox")) if path]
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/"}


@pytest.fixture(params=sorted({os.path.realpath(path) for path in SHELLS}), ids=os.path.basename)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """An attempt's folder, with wrappers that run under one of the shells."""
    shell = tmp_path / "bin" / "sh"
    shell.parent.mkdir()
    shell.symlink_to(request.param)
    monkeypatch.setattr(launch, "SHELL", str(shell))
    prepare(str(tmp_path))
    made = Folder(str(tmp_path), AttemptId(JobId("j"), 1))
    made.create(None)
    return made


def start(folder: Folder, *command: str, **more: object) -> int:
    fields = {"workdir": folder.path, "environment": ENVIRONMENT, **more}
    return spawn(Launch(folder.path, 0, boot_id(), command=command, **fields))


def run(folder: Folder, *command: str, **more: object) -> tuple[str, str, str]:
    """What a task wrote to its two logs, and its exit file."""
    os.waitpid(start(folder, *command, **more), 0)
    return read(folder, "0.out"), read(folder, "0.err"), read(folder, "0.exit")


def read(folder: Folder, name: str) -> str:
    path = Path(folder.path, name)
    return path.read_text() if path.exists() else ""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("status", [0, 1, 75, 126, 127, 200, 255])
def test_the_status_is_kept(folder: Folder, status: int) -> None:
    assert run(folder, "sh", "-c", f"exit {status}")[2] == f"exited {status}\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_signal_is_kept_and_nobody_talks_about_it(folder: Folder, number: signal.Signals) -> None:
    assert run(folder, "sh", "-c", f"kill -{int(number)} $$") == ("", "", f"exited {128 + number}\n")


def test_the_claim_names_the_wrapper(folder: Folder) -> None:
    pid = start(folder, "sleep", "60")
    until(lambda: folder.claim(0))
    claim = folder.claim(0)
    assert claim is not None
    now = read_stat(pid)
    assert now is not None
    assert (claim.wrapper.process, claim.wrapper.session, claim.boot) == (now.process, pid, boot_id())
    assert is_wrapper(command_line(pid)) == (folder.path, 0)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not folder.exit_begun(0)


def test_of_many_wrappers_one_runs_the_program(folder: Folder) -> None:
    pids = [start(folder, "sh", "-c", "echo ran; exit 5") for _ in range(12)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert read(folder, "0.out") == "ran\n"
    assert read(folder, "0.exit") == "exited 5\n"
    assert statuses.count(5) == 1, "whoever waits for the wrapper learns the status as well"
    assert os.listdir(folder.path).count("0.claim") == 1


def test_a_stop_that_came_before_keeps_the_program_from_starting(folder: Folder) -> None:
    Path(folder.path, "stop").touch()
    assert run(folder, "sh", "-c", "echo ran") == ("", "", "stopped\n")


@pytest.mark.parametrize(("more", "why"), [({"workdir": "/no/such"}, "workdir"), ({"cgroup": "/no/such"}, "limit")])
def test_a_task_that_cannot_be_set_up_is_not_run(folder: Folder, more: dict[str, str], why: str) -> None:
    assert run(folder, "sh", "-c", "echo ran", **more) == ("", "", f"unrun {why}\n")


@pytest.mark.parametrize("command", [["/no/such/program"], ["/etc"], ["no-such-program-anywhere"], ["{folder}/script"]])
def test_a_program_that_cannot_be_executed_is_told_apart(folder: Folder, command: list[str]) -> None:
    script = Path(folder.path, "script")
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    path = command[0].format(folder=folder.path)
    run(folder, path)
    end = folder.exit(0)
    assert end is not None
    assert end.kind == "unrun"
    assert path in end.text


@pytest.mark.parametrize(
    "program", ["exit 127", "exit 126", "no-such-command", "echo fairway-task: x >&2; echo >&2; exit 127"]
)
def test_a_program_that_ran_may_exit_with_the_same_status(folder: Folder, program: str) -> None:
    run(folder, "sh", "-c", program)
    end = folder.exit(0)
    assert end is not None
    assert (end.kind, end.text) in {("exited", "127"), ("exited", "126")}


def test_the_program_finds_the_usual_signals_and_files(folder: Folder) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        out, _, _ = run(folder, "cat", "/proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGINT, before)
    status = dict(line.split(":", 1) for line in out.splitlines())
    assert [int(status[name], 16) & ((1 << 31) - 1) for name in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


def test_the_program_finds_the_usual_files_and_none_of_ours(folder: Folder) -> None:
    held = os.dup2(0, 77, inheritable=True)
    try:
        keep_files_to_ourselves()
        out, _, _ = run(folder, "sh", "-c", "echo /proc/self/fd/*")
    finally:
        os.close(held)
    assert out.split() == [f"/proc/self/fd/{number}" for number in range(4)], "three, and the folder that is read"


def test_the_wrapper_outlives_a_sigterm_to_the_group_and_the_program_gets_it(folder: Folder) -> None:
    pid = start(folder, "sh", "-c", "trap 'echo asked; exit 75' TERM; echo ready; sleep 60 & wait")
    until(lambda: "ready" in read(folder, "0.out"))
    os.killpg(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    assert read(folder, "0.out") == "ready\nasked\n"
    assert read(folder, "0.exit") == "exited 75\n"


def test_it_is_the_leader_of_a_session_and_a_group_of_its_own(folder: Folder) -> None:
    pid = start(folder, "sleep", "60")
    try:
        assert os.getsid(pid) == os.getpgid(pid) == pid
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_limits_and_cores_are_the_programs(folder: Folder) -> None:
    core = min(os.sched_getaffinity(0))
    out, _, _ = run(
        folder, "sh", "-c", "ulimit -d; ulimit -S -n; grep Cpus_allowed_list /proc/self/status",
        data_kib=200_000, nofile=64, cores=(core,),
    )  # fmt: skip
    assert out.split() == ["200000", "64", "Cpus_allowed_list:", str(core)]
    assert len(os.sched_getaffinity(0)) >= 1
    assert os.sched_getaffinity(0) == os.sched_getaffinity(os.getppid()), "ours is as before"


def test_a_wrapper_whose_control_plane_died_binding_it_leaves_without_a_claim(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(pid: int, cores: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "sched_setaffinity", die)
    with pytest.raises(KeyboardInterrupt):
        start(folder, "echo", "ran", cores=(0,))
    _, status = os.waitpid(-1, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not folder.claimed(0)
    assert read(folder, "0.out") == ""


def test_a_bound_program_has_no_input_either(folder: Folder) -> None:
    core = min(os.sched_getaffinity(0))
    assert run(folder, "sh", "-c", "cat; readlink /proc/self/fd/0; nproc", cores=(core,))[0] == "/dev/null\n1\n"


def test_cores_that_are_not_there_keep_nobody_from_running(folder: Folder) -> None:
    assert run(folder, "echo", "ran", cores=(100_000,))[0] == "ran\n"


def test_the_environment_is_given_as_it_is(folder: Folder) -> None:
    given = {**ENVIRONMENT, "PLAIN": "a b\nc", "ünï": "é", "with.dot": "1", "with-dash": "$X `x`", "EMPTY": ""}
    out, _, _ = run(folder, "env", "-0", environment=given, workdir="/")
    found = dict(entry.split("=", 1) for entry in out.split("\0")[:-1])
    assert {name: found.get(name) for name in given} == given
    assert found.keys() - given.keys() <= {"PWD", "SHLVL", "_"}, "and nothing of the wrapper's"


def test_arguments_are_given_as_they_are(folder: Folder) -> None:
    words = ["", " ", "a b", "$HOME", "*", "'", '"', "\\", "-n", "--", "ü\n", "~"]
    out, _, _ = run(folder, "sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "x", *words)
    assert out.split("\0")[:-1] == words


def test_it_starts_where_it_is_told(folder: Folder) -> None:
    assert run(folder, "pwd", workdir="/usr")[0] == "/usr\n"


def test_a_full_disk_does_not_run_what_it_cannot_claim(folder: Folder) -> None:
    shutil.rmtree(folder.path)
    os.symlink("/dev/full", Path(folder.data, "attempts", "x"))
    pid = spawn(
        Launch(f"{folder.data}/attempts", 0, boot_id(), "/", ("sh", "-c", "echo ran > $HOME/ran"),
               {**ENVIRONMENT, "HOME": folder.data})
    )  # fmt: skip
    os.waitpid(pid, 0)
    assert Path(folder.data, "ran").exists(), "an ordinary folder is claimed"
    os.unlink(Path(folder.data, "ran"))
    Path(folder.data, "attempts", "1.claim").symlink_to("/dev/full")
    pid = spawn(
        Launch(f"{folder.data}/attempts", 1, boot_id(), "/", ("sh", "-c", "echo ran > $HOME/ran"),
               {**ENVIRONMENT, "HOME": folder.data})
    )  # fmt: skip
    os.waitpid(pid, 0)
    assert not Path(folder.data, "ran").exists()


class TestCheck:
    def test_what_can_work_passes(self, tmp_path: Path) -> None:
        check(["true"], str(tmp_path), ENVIRONMENT)
        (tmp_path / "run.sh").write_text("#!/bin/sh\n")
        (tmp_path / "run.sh").chmod(0o755)
        check(["./run.sh"], str(tmp_path), ENVIRONMENT)

    @pytest.mark.parametrize(
        ("command", "workdir", "environment", "words"),
        [
            ([], "/", {}, "no command"),
            ([""], "/", {}, "no command"),
            (["true"], "relative/folder", {}, "relative"),
            (["true"], "/no/such/folder", {}, "does not exist"),
            (["no-such-program"], "/", {}, "no-such-program.*PATH"),
            (["true"], "/", {"PATH": "/nowhere"}, "PATH"),
            (["/no/such"], "/", {}, "/no/such"),
            (["./no-such"], "/usr", {}, "in /usr"),
            (["/etc/passwd"], "/", {}, "chmod"),
            (["/usr"], "/", {}, "no program"),
            (["true", "a\0b"], "/", {}, "zero byte"),
            (["true"], "/", {"A": "\0"}, "'A'"),
            (["true"], "/", {"A=B": "1"}, "'A=B'"),
        ],
    )
    def test_what_cannot_is_refused_with_what_to_change(
        self, command: list[str], workdir: str, environment: dict[str, str], words: str
    ) -> None:
        with pytest.raises(Unlaunchable, match=words):
            check(command, workdir, {**ENVIRONMENT, **environment})


def test_other_processes_are_no_wrappers() -> None:
    for arguments in ([], ["sh"], ["sh", "-c", "x", "y", "z", "0"], ["sh", "-c", "x", WRAPPER, "/d", "zero"]):
        assert is_wrapper(arguments) is None


def test_the_wrapper_passes_a_syntax_check_under_every_shell() -> None:
    for shell in SHELLS:
        words = (
            [shell, "sh", "-n", "-c", launch.script()]
            if shell.endswith("busybox")
            else [shell, "-n", "-c", launch.script()]
        )
        subprocess.run(words, check=True)
