"""Running work from the command line: what a user types, and what comes of it."""

import json
import os
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest

from fairway.testing.polling import wait_for
from tests.faces.plane import RunningPlane

pytestmark = pytest.mark.real


def test_run_shows_what_a_job_writes_and_exits_with_its_code(plane: RunningPlane) -> None:
    outcome = plane.cli("run", "--name", "both", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (outcome.code, outcome.out) == (3, "out\n")
    said = outcome.err.splitlines()
    assert "err" in said
    assert said[-1].endswith("failed: the program exited with status 3")


@pytest.mark.parametrize(
    ("command", "options", "code"),
    [
        (["true"], [], 0),
        (["sh", "-c", "kill -9 $$"], [], 137),
        (["sleep", "60"], ["--max-runtime", "300ms", "--grace", "1s"], 124),
        (["no-such-program-anywhere"], [], 127),
    ],
)
def test_the_exit_code_tells_how_a_job_ended(
    plane: RunningPlane, command: list[str], options: list[str], code: int
) -> None:
    if code == 127:
        document = {"kind": "Job", "name": "j", "command": command, "retries": {"start_limit": 0}}
        path = plane.work / "absent.yaml"
        path.write_text(json.dumps(document), "utf-8")
        outcome = plane.cli("submit", str(path), "--wait")
    else:
        outcome = plane.cli("run", *options, "--", *command)
    assert outcome.code == code, outcome.err


def test_run_follows_a_job_over_its_retries(plane: RunningPlane) -> None:
    script = 'echo attempt $FAIRWAY_ATTEMPT; test "$FAIRWAY_ATTEMPT" = 2'
    path = plane.work / "again.yaml"
    document = {"kind": "Job", "name": "again", "script": script, "retries": {"limit": 1, "backoff": "50ms"}}
    path.write_text(json.dumps(document), "utf-8")
    outcome = plane.cli("run", str(path))
    assert (outcome.code, outcome.out) == (0, "attempt 1\nattempt 2\n")
    assert "-- attempt 2 --" in outcome.err


def running_for_long(plane: RunningPlane, name: str) -> list[str]:
    """``fairway run`` of a job of this name, as a process of its own has to be called."""
    return [sys.executable, "-m", "fairway", "run", "--data-dir", str(plane.home), "--name", name, "--", "sleep", "99"]


def test_an_interrupt_without_anybody_to_ask_cancels_the_job(plane: RunningPlane) -> None:
    command = running_for_long(plane, "stopme")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=plane.work, text=True)
    assert process.stderr is not None
    job = next(line for line in process.stderr if " running on " in line).split()[0]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert plane.until(job)["phase"] == "cancelled"


def test_on_a_terminal_the_first_interrupt_only_asks(plane: RunningPlane) -> None:
    command = running_for_long(plane, "asked")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=plane.work)
    os.close(theirs)
    with open(ours, encoding="utf-8", newline="\n") as terminal:
        job = next(line for line in terminal if " running on " in line).split()[0]
        process.send_signal(signal.SIGINT)
        assert next(line for line in terminal if "goes on" in line).startswith(
            f"{job} goes on. Ctrl-C again cancels it"
        )
        assert plane.until(job, "running", "cancelled", "stopping")["phase"] == "running"
        process.send_signal(signal.SIGINT)
        assert next(line for line in terminal if "told to stop" in line)
        assert process.wait(30) == 130
    assert plane.until(job)["phase"] == "cancelled"


def test_a_table_that_keeps_itself_up_to_date(plane: RunningPlane) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fairway", "ps", "--watch", "--name", "watched", "--data-dir", str(plane.home)]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "200"}
    )
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        read_until(terminal, b"PHASE")
        job = plane.submit("sleep 0.1", name="watched")
        read_until(terminal, job.encode())
        read_until(terminal, b"succeeded")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def read_until(terminal: Any, part: bytes) -> None:
    """Read what a terminal shows until something is there."""
    seen = b""
    while part not in seen:
        seen += terminal.read(4096)


def test_the_environment_of_the_shell_goes_with_the_command(plane: RunningPlane) -> None:
    script = 'echo "$PATH|$PYTHONPATH|$OWN|$HANDED|$SECRET"; pwd'
    env = {"PATH": "/usr/bin:/bin:/opt/mine", "PYTHONPATH": "/py", "HANDED": "h", "SECRET": "s"}
    outcome = plane.cli("run", "--env", "OWN=o", "--env", "HANDED", "--", "/bin/sh", "-c", script, **env)
    assert outcome.out == f"/usr/bin:/bin:/opt/mine|/py|o|h|\n{plane.work}\n"
    outcome = plane.cli("run", "--clean-env", "--workdir", "/", "--", "/bin/sh", "-c", script, **env)
    assert outcome.out.endswith("|||||\n/\n".removeprefix("|"))
    assert "/opt/mine" not in outcome.out


def test_an_array_over_parameters(plane: RunningPlane) -> None:
    submitted = plane.cli(
        "submit", "--json", "--param", "lr=0.1,0.01", "--name", "sweep", "--", "echo", "{lr}", "{index}"
    )
    [applied] = submitted.json
    assert applied["count"] == 2
    for job, text in zip(applied["jobs"], ["0.1 0\n", "0.01 1\n"], strict=True):
        assert plane.until(job)["phase"] == "succeeded"
        assert plane.cli("logs", job).out == text
    listed = plane.cli("ps", "--array", applied["id"], "--json").json
    assert [job["id"] for job in listed] == applied["jobs"]
    assert f"'{applied['id']}' is an array: name one of its jobs" in plane.cli("show", applied["id"]).err


def test_waiting_for_several_ends_with_the_worst_code(plane: RunningPlane) -> None:
    outcome = plane.cli("submit", "--wait", "--json", "--array", "3", "--", "sh", "-c", "exit {index}")
    assert outcome.code == 2
    assert [job["exit_code"] for job in outcome.json] == [0, 1, 2]


def test_a_file_on_the_standard_input(plane: RunningPlane) -> None:
    outcome = plane.cli("submit", "-", text="kind: Job\nname: piped\ncommand: 'true'\n")
    assert outcome.out.startswith("piped-")
    assert plane.cli("apply", "-f", "-", text="kind: Q").error.startswith("stdin.kind: 'Q' is none of")


def test_a_dry_run_submits_nothing(plane: RunningPlane) -> None:
    outcome = plane.cli("submit", "--dry-run", "--name", "ghost", "--", "true")
    assert (outcome.code, outcome.out) == (0, "job ghost would be submitted\n")
    assert plane.cli("ps", "-a", "--name", "ghost", "--json").json == []


def test_the_same_token_is_the_same_job(plane: RunningPlane) -> None:
    first, again = (plane.cli("submit", "--token", "only-once", "--", "true") for _ in range(2))
    assert first.out == again.out
    other = plane.cli("submit", "--token", "only-once", "--", "false")
    assert other.code == 4
    assert "use a new token" in other.error


def test_logs_of_each_task_stream_and_attempt(plane: RunningPlane) -> None:
    job = plane.submit('echo "out $RANK"; echo "err $RANK" >&2; seq 5', workers=2)
    plane.until(job)
    assert plane.cli("logs", job, "--rank", "1").out == "out 1\n1\n2\n3\n4\n5\n"
    assert plane.cli("logs", job, "--stderr").out == "err 0\n"
    assert plane.cli("logs", job, "--tail", "2", "--attempt", "1").out == "4\n5\n"


def test_following_logs_until_the_end(plane: RunningPlane) -> None:
    job = plane.submit("for i in 1 2 3; do echo $i; sleep 0.2; done")
    outcome = plane.cli("logs", "-f", job)
    assert (outcome.code, outcome.out) == (0, "1\n2\n3\n")


def test_ps_filters_and_shows_why(plane: RunningPlane) -> None:
    holder = plane.submit("sleep 300", name="holder", request={"cpu": "10m", "gpus": 4})
    plane.until(holder, "running")
    waiting = plane.submit("true", name="waiting", request={"cpu": "10m", "gpus": 1})
    job = wait_for(
        lambda: plane.until(waiting, "queued")["reason"].startswith("no room") and plane.until(waiting, "queued")
    )
    assert job["tier"] == "no room now"
    table = plane.cli("ps", "--phase", "queued").out
    assert f"no room now: needs 1 GPU + 0.01 CPU" in table  # noqa: F541
    assert f"held by {holder}" in table
    running = plane.cli("ps", "--phase", "running", "--json").json
    assert [found["id"] for found in running] == [holder]
    assert "4 virtual" in plane.cli("ps", "--phase", "running").out
    explained = plane.cli("explain", waiting)
    assert "is queued: no room now" in explained.out
    assert "  fits if: after " in explained.out
    assert plane.cli("explain", waiting, "--json").json["expected_ms"].keys() == {"p50", "p90"}
    assert "fits if" not in plane.cli("explain", holder).out
    assert plane.cli("cancel", "--all", "--yes").out.splitlines() == [
        f"{holder} is told to stop",
        f"{waiting} is told to stop",
    ]
    assert plane.until(waiting)["phase"] == plane.until(holder)["phase"] == "cancelled"


def test_show_tells_everything_about_a_job(plane: RunningPlane) -> None:
    job = plane.submit("exit 7", name="shown", labels={"a": "b"})
    plane.until(job)
    text = plane.cli("show", job).out
    for part in (job, "failed", "the program exited with status 7", "sh -c 'exit 7'", str(plane.work), "0.1 CPU"):
        assert part in text
    found = plane.cli("show", job, "--json").json
    assert (found["exit_code"], found["cause"], found["spec"]["labels"]) == (7, "failed", [["a", "b"]])


def test_a_job_is_held_released_and_comes_after_another(plane: RunningPlane) -> None:
    first = plane.cli("submit", "--name", "first", "--not-before", "1h", "--", "true").out.strip()
    then = plane.cli("submit", "--name", "then", "--after", "first", "--", "true").out.strip()
    shown = plane.cli("ps", "--json").json
    assert {job["id"]: job["reason"] for job in shown if job["id"] in (first, then)} == {
        first: "waiting for its start time",
        then: f"waiting for {first} to end",
    }
    held = plane.cli("hold", then, "nobody-9")
    assert (held.out, held.code) == (f"{then} is held\n", 3)
    wait_for(lambda: plane.cli("show", then, "--json").json["reason"].startswith("held by"), "the hold")
    assert plane.cli("release", then).out == f"{then} is released\n"
    assert plane.cli("cancel", first).code == 0
    wait_for(lambda: plane.cli("show", then, "--json").json["ended_ms"], "its end")
    ended = plane.cli("show", then, "--json").json
    assert (ended["phase"], ended["cause"]) == ("failed", "dependency")
    assert first in ended["message"]
