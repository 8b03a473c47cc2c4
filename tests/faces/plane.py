"""A control plane as users run it, a process of its own, and the command line as they call it."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fairway.faces.cli.main import main
from fairway.faces.client import Client, Target
from fairway.model.errors import Unavailable
from fairway.testing.polling import PATIENCE_S, wait_for


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on stderr; anything else is not an error as users should see it."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0].removeprefix("error: ")


def fairway(
    *arguments: str, home: Path, cwd: Path | None = None, text: str = "", within: float = 2 * PATIENCE_S, **env: str
) -> Outcome:
    """One call of the command line: in this process, which spares the start of an interpreter, but for what takes a
    process over."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FAIRWAY_")}
    environment = {**inherited, "FAIRWAY_HOME": str(home), "NO_COLOR": "1", **env}
    if arguments and arguments[0] not in ("up", "demo", "completion"):
        return _here(arguments, cwd or home.parent, text, environment)
    outcome = subprocess.run(
        [sys.executable, "-m", "fairway", *arguments],
        env=environment,
        cwd=cwd or home.parent,
        input=text,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    assert "Traceback" not in outcome.stderr, outcome.stderr
    return Outcome(outcome.returncode, outcome.stdout, outcome.stderr)


def _here(arguments: tuple[str, ...], cwd: Path, text: str, environment: dict[str, str]) -> Outcome:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    code: object = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(os, "environ", environment)
        patch.setattr(sys, "stdin", io.StringIO(text))
        patch.setattr(sys, "argv", ["fairway", *arguments])
        patch.chdir(cwd)
        try:
            main()
        except SystemExit as end:
            code = end.code
    for stream in (out, err):
        stream.flush()
    told, said = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    assert isinstance(code, int)
    return Outcome(code, told, said)


@dataclass
class RunningPlane:
    """A control plane with four pretend GPUs and four pretend CPUs."""

    home: Path
    options: tuple[str, ...] = ("--virtual-gpus", "4", "--cpus", "4")
    process: "subprocess.Popen[bytes] | None" = None
    work: Path = field(init=False)

    def __post_init__(self) -> None:
        self.work = self.home.parent / "work"
        self.work.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Returns when it answers and has seen its machine."""
        log = open(self.home.parent / "up.log", "ab")  # noqa: SIM115 - the process keeps it
        command = [sys.executable, "-m", "fairway", "up", "--data-dir", str(self.home), *self.options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.work)
        log.close()
        wait_for(self._answers, "the control plane")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.home.parent / "up.log").read_text("utf-8")
        try:
            with self.client() as client:
                return bool(client.nodes())
        except Unavailable:
            return False

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As Ctrl-C would."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_S)
            self.process = None

    def client(self, patience: float = 0.0) -> Client:
        return Client(Target(self.home), patience=patience)

    def cli(self, *arguments: str, text: str = "", **env: str) -> Outcome:
        """A command that talks to this control plane."""
        return fairway(*arguments, home=self.home, cwd=self.work, text=text, **env)

    def submit(self, script: str, **fields: Any) -> str:
        """Submit a shell script; returns the job's id."""
        document = {"kind": "Job", "name": "job", "command": ["sh", "-c", script], "request": {"cpu": "100m"}, **fields}
        with self.client() as client:
            [applied] = client.apply([document], base=str(self.work))
        return applied["id"]

    def until(self, job: str, *phases: str) -> dict[str, Any]:
        """The job once it is in one of these phases; by default, once it has ended."""
        wanted = phases or ("succeeded", "failed", "cancelled")

        def look() -> dict[str, Any] | None:
            with self.client(PATIENCE_S) as client:
                found = client.job(job)
            return found if found["phase"] in wanted else None

        found = wait_for(look, f"{job} to be {' or '.join(wanted)}")
        assert found is not None
        return found


@contextmanager
def running(folder: Path, *options: str) -> Iterator[RunningPlane]:
    """A control plane in this folder, and nothing left of it afterwards."""
    plane = RunningPlane(folder / "home", options) if options else RunningPlane(folder / "home")
    plane.start()
    try:
        yield plane
        with plane.client() as client:
            left = [job["id"] for job in client.jobs(active=1)]
            client.cancel_many(left)
            wait_for(lambda: not client.jobs(active=1), "jobs to stop")
    finally:
        plane.stop()
