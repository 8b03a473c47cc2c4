"""A control plane of the demo's own: a process, in a folder that is removed afterwards."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fairway.faces.client import Client, Target
from fairway.faces.demo import cast
from fairway.model.errors import FairwayError, Unavailable

START_S = 30.0
END_S = 10.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it plays: ``home`` is the control plane's, ``work`` where programs run and leave their results."""

    home: Path
    work: Path
    client: Client


@contextmanager
def stage(keep: bool) -> Iterator[Stage]:
    """Start a control plane with pretend GPUs, and end it and all that runs with the block."""
    folder = Path(tempfile.mkdtemp(prefix="fairway-demo-"))
    home, work = folder / "home", folder / "work"
    work.mkdir()
    command = [sys.executable, "-m", "fairway", "up", "--data-dir", str(home), "--virtual-gpus", str(cast.GPUS)]
    try:
        with open(folder / "control-plane.log", "wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            with Client(Target(home), patience=START_S) as client:
                _ready(client, process, folder / "control-plane.log")
                try:
                    yield Stage(home, work, client)
                finally:
                    _clear(client)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        if keep:
            print(f"Everything is kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _ready(client: Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for the first answer, and for the machine to be seen. Raises Unavailable with what the process said."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            said = log.read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
            raise Unavailable(f"the demo's control plane ended with status {process.returncode}: {said[-1]}")
        if os.path.exists(client.target.folder / "fairway.sock") and client.nodes():
            return
        time.sleep(0.05)
    raise Unavailable(f"the demo's control plane found no machine within {START_S:g} s")


def _clear(client: Client) -> None:
    """Leave nothing running: the control plane's end would not end it."""
    try:
        left = [job["id"] for job in client.jobs(active=1)]
        if left:
            client.cancel_many(left)
            end = time.monotonic() + END_S
            while client.jobs(active=1) and time.monotonic() < end:
                time.sleep(0.1)
    except FairwayError as error:
        print(f"the demo could not clear up: {error}", file=sys.stderr)
