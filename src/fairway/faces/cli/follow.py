"""``logs``, and following a job to its end."""

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairway.faces.cli.common import DataDir, connect, interactive, note
from fairway.faces.cli.jobs import ending, why

if TYPE_CHECKING:
    from fairway.faces.client import Client

ENDED = ("succeeded", "failed", "cancelled")
POLL_S = 0.2
RESTART_S = 60.0


def logs(
    job: Annotated[str, typer.Argument(help="A job's id, like train-17.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    rank: Annotated[int, typer.Option("--rank", "-r", min=0, help="Which task of a gang.")] = 0,
    stderr: Annotated[bool, typer.Option("--stderr", help="What it wrote to stderr instead of stdout.")] = False,
    attempt: Annotated[int, typer.Option("--attempt", min=0, help="Which attempt; the newest if not given.")] = 0,
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, help="Begin with the last so many lines.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Print what a job wrote."""
    stream = "stderr" if stderr else "stdout"
    with connect(data_dir, RESTART_S if follow else 0.0) as client:
        log = Log(client, job, stream, rank, attempt, tail)
        if not follow:
            log.print_all()
            return
        while True:
            status = client.job(job)
            log.print_new(status)
            if status["phase"] in ENDED or (attempt and status["attempt"] > attempt):
                return
            time.sleep(POLL_S)


@dataclass(slots=True)
class Log:
    """One stream of one task, printed as far as it goes. Without an ``attempt`` it moves on to newer ones."""

    client: "Client"
    job: str
    stream: str = "stdout"
    rank: int = 0
    attempt: int = 0
    tail: int = 0
    cursor: str = ""
    _at: int = 0
    _begun: bool = field(default=False)

    def print_all(self) -> None:
        """Everything there is now."""
        more = True
        while more:
            more = self._print(self.attempt or None)

    def print_new(self, status: dict[str, Any]) -> None:
        """What has come since the last call. ``status`` is the job's, asked before: so nothing is missed at its end."""
        newest = self.attempt or status["attempt"]
        if not newest:
            return
        if not self._at:
            self._at = newest if self.tail else 1 if not self.attempt else newest
        while True:
            while self._print(self._at):
                pass  # there is more to be had at once
            if self._at >= newest:
                return
            self._at, self.cursor, self.tail, self._begun = self._at + 1, "", 0, False
            note(f"-- attempt {self._at} --")

    def _print(self, attempt: int | None) -> bool:
        tail = self.tail if self.tail and not self._begun else None
        chunk = self.client.logs(
            self.job, attempt=attempt, rank=self.rank, stream=self.stream, cursor=self.cursor, tail=tail
        )
        self.cursor, self._begun = chunk.cursor, True
        out = sys.stderr if self.stream == "stderr" and not self.attempt and self._at else sys.stdout
        out.buffer.write(chunk.data)
        out.flush()
        return chunk.more


def follow_job(client: "Client", job: str) -> int:
    """Print what a job writes, to the stream it wrote it to, and what becomes of it; returns its exit code."""
    streams = [Log(client, job, "stdout"), Log(client, job, "stderr")]
    told = ""
    asked = False
    tenths = 0
    note(f"{job} submitted; `fairway explain {job}` says more")
    while True:
        try:
            status = client.job(job)
            told = _tell(status, told)
            tenths = _tell_progress(status, tenths)
            for each in streams:
                each.print_new(status)
            if status["phase"] in ENDED:
                note(f"{job} {status['phase']}" + (f": {ending(status)}" if ending(status) else ""))
                return exit_code(status)
            time.sleep(POLL_S)
        except KeyboardInterrupt:
            if asked or not interactive():
                client.cancel_many([job])
                note(f"{job} is told to stop")
                return 130
            asked = True
            note(f"\n{job} goes on. Ctrl-C again cancels it; `fairway logs -f {job}` follows it from anywhere")


def _tell(status: dict[str, Any], told: str) -> str:
    """Say on stderr what a job waits for or where it runs, once."""
    if status["phase"] in ("waiting", "queued"):
        text = f"{status['phase']}: {why(status)}" if why(status) else status["phase"]
    elif status["phase"] == "running":
        virtual = " (virtual devices)" if status["virtual"] else ""
        text = f"running on {', '.join(status['devices'] or status['nodes'])}{virtual}"
    elif status["phase"] == "stopping":
        text = f"stopping: {status['reason']}"
    else:
        return told
    text = f"{text} (attempt {status['attempt']})" if status["attempt"] > 1 else text
    if text != told and status["phase"] not in ENDED:
        note(f"{status['id']} {text}")
    return text


def _tell_progress(status: dict[str, Any], tenths: int) -> int:
    """Say on a terminal when another tenth of the work is done; returns how many are."""
    done = 10 * status["step"] // status["total"] if status["total"] else 0
    if done > tenths and sys.stderr.isatty():
        note(f"{status['id']} {status['step']} of {status['total']} steps")
    return max(done, tenths)


def wait_for(client: "Client", jobs: list[str]) -> list[dict[str, Any]]:
    """The jobs as they ended, in the order given."""
    ended: dict[str, dict[str, Any]] = {}
    while len(ended) < len(jobs):
        for job in jobs:
            if job not in ended:
                status = client.job(job)
                if status["phase"] not in ENDED:
                    break
                ended[job] = status
        else:
            break
        time.sleep(POLL_S)
    return [ended[job] for job in jobs]


def exit_code(job: dict[str, Any]) -> int:
    """The code for a shell: the program's own; 128 + its signal; 124 for a timeout; 127 when it could not be started;
    130 when it was cancelled."""
    if job["phase"] == "succeeded":
        return 0
    if job["phase"] == "cancelled":
        return 130
    special = {"timed_out": 124, "start_failed": 127}.get(job["cause"] or "")
    if special:
        return special
    return job["exit_code"] or (128 + job["signal"] if job["signal"] else 1)
