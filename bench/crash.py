"""Kill the control plane again and again while real programs run, and count what was lost and what ran twice.

::

    python -m bench.crash --kills 100 --jobs 200 --json

One process, the client, submits short programs to a control plane in a process of its own, kills that process with
SIGKILL at random moments (seeded; a quarter of them while it is still starting, others right after a submission) and
starts it again at once. A client that was not answered submits again with the same token, as any face does. Every
program appends a line to its own file when it begins and when it ends: those lines are the evidence, not the control
plane's word.

- ``lost``: acknowledged jobs that are not recorded as succeeded, or whose program did not run from beginning to end
  exactly once, or that exist twice;
- ``double_run``: jobs whose program began more than once;
- ``adopted``: running attempts that a new control plane found and went on with, added up over all restarts;
- ``recovery_ms``: from the start of the process (Python's own start included) to the end of the first turn that had
  believed the local executor's inventory, over all restarts that got that far before they were killed;
  ``recovery_from_open_ms`` is the part of it that begins with the opening of the store.
"""

import argparse
import json
import math
import os
import queue
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from fairway.model.time import Instant
from fairway.testing.polling import wait_for

PROGRAM = 'echo "begin $FAIRWAY_ATTEMPT" >>"$0"; sleep "$1"; echo "end $FAIRWAY_ATTEMPT" >>"$0"'
CORES = 16
"""Declared, so that so many programs, which only sleep, run at once on any machine."""
LONGEST_S = 4.0
"""Programs take up to so long: several restarts."""
LIFE_S = 1.2
"""A control plane is killed at most so long after it was ready."""
START_S = 0.8
"""One that is killed early, at most so long after it was started."""
PATIENCE_S = 120.0
CHECKPOINT_EVERY = 40
"""Frames: far fewer than usual, so that restarts begin at many different checkpoints."""


@dataclass
class Client:
    """Submits jobs, kills control planes, and keeps what it was told."""

    folder: Path
    jobs: int
    rng: random.Random
    acknowledged: dict[int, str] = field(default_factory=dict)
    """Job id by number of submission."""
    asked: Counter[int] = field(default_factory=Counter)
    recoveries_ms: list[float] = field(default_factory=list)
    from_open_ms: list[float] = field(default_factory=list)
    adopted: int = 0
    killed_early: int = 0

    def live_and_die(self) -> None:
        """One control plane, from its start until it is killed."""
        with Plane(self.folder) as plane:
            early = self.rng.random() < 0.25
            dies = plane.began + self.rng.uniform(0, START_S) if early else math.inf
            pending = self._pending()
            submits = math.inf  # an unheard submission would only wait in a pipe
            while (now := time.monotonic()) < dies:
                if pending and now >= submits:
                    self._submit(plane, pending.pop(0))
                    submits = now + self.rng.uniform(0, LIFE_S / 2)
                    if self.rng.random() < 0.2:  # the moments that matter most
                        dies = min(dies, now + self.rng.uniform(0, 0.02))
                event = plane.next_event(min(dies, submits, now + 1))
                if event and self._hear(plane, event) == "ready":
                    submits = time.monotonic()
                    dies = min(dies, submits + self.rng.uniform(0, LIFE_S))
            for event in plane.kill():
                self._hear(plane, event)
            self.killed_early += not plane.was_ready

    def live_on(self) -> None:
        """The last control plane: everything that is left is submitted, and it ends when all has."""
        with Plane(self.folder) as plane:
            for number in self._pending():
                self._submit(plane, number)
            while self._pending():
                self._hear_next(plane)
            unfinished = self.jobs
            while unfinished:
                plane.say({"ask": "unfinished"})
                while (event := self._hear_next(plane))["event"] != "unfinished":
                    pass
                unfinished = event["jobs"]
                time.sleep(0.05)

    def _pending(self) -> list[int]:
        return [number for number in range(self.jobs) if number not in self.acknowledged]

    def _hear_next(self, plane: "Plane") -> dict[str, Any]:
        event = plane.next_event(time.monotonic() + PATIENCE_S)
        if event is None:
            raise AssertionError(f"the control plane said nothing for {PATIENCE_S:g} s")
        self._hear(plane, event)
        return event

    def _submit(self, plane: "Plane", number: int) -> None:
        self.asked[number] += 1
        seconds = random.Random(number).choice((0.02, 0.2, 1.0, LONGEST_S))
        plane.say({"number": number, "seconds": seconds, "evidence": str(self.folder / "evidence" / str(number))})

    def _hear(self, plane: "Plane", event: dict[str, Any]) -> str:
        match event["event"]:
            case "ready":
                self.recoveries_ms.append((event["at"] - plane.began) * 1_000)
                self.from_open_ms.append(event["ready_ms"])
                self.adopted += event["adopted"]
            case "ack":
                before = self.acknowledged.setdefault(event["number"], event["job"])
                if before != event["job"]:
                    raise AssertionError(f"submission {event['number']} became {before} and {event['job']}")
        return event["event"]


class Plane:
    """A control plane in a process of its own, with a line of JSON for each word in either direction."""

    def __init__(self, folder: Path) -> None:
        self.began = time.monotonic()
        command = [sys.executable, "-m", "bench.crash", "--serve", str(folder)]
        self._log = open(folder / "log", "a")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, bufsize=1
        )
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        self.was_ready = False

    def _read(self, stream: TextIO) -> None:
        for line in stream:
            if line.endswith("\n"):  # a word that was cut short was not said
                self._events.put(json.loads(line))
        self._events.put(None)

    def say(self, words: dict[str, Any]) -> None:
        """Dead ears are no error: what is not answered is said again."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
        except BrokenPipeError:
            if self._process.poll() is None:
                raise

    def next_event(self, until: float) -> dict[str, Any] | None:
        """The next word, or None at ``until``. Raises when the process has ended by itself."""
        try:
            event = self._events.get(timeout=max(until - time.monotonic(), 0))
        except queue.Empty:
            return None
        if event is None:
            raise AssertionError(f"the control plane ended by itself with {self._process.wait()}: see {self._log.name}")
        self.was_ready |= event["event"] == "ready"
        return event

    def kill(self) -> list[dict[str, Any]]:
        """SIGKILL. Returns what it had said before it died."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        said: list[dict[str, Any]] = []
        while (event := self._events.get()) is not None:
            said.append(event)
        return said

    def __enter__(self) -> "Plane":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()


def serve(folder: Path) -> None:
    """The control plane's side: ``fairway up`` without its API, and a line protocol on stdin and stdout instead."""
    import logging

    from fairway.adapters.controlplane import ControlPlane
    from fairway.adapters.executors.local import LocalConfig, LocalExecutor
    from fairway.model.facts import Facts, JobSubmitted
    from fairway.model.ids import JobId, QueueId
    from fairway.model.job import Job, Role
    from fairway.model.resources import Request
    from fairway.state.frames import encode

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s")
    config = LocalConfig(cpu_milli=CORES * 1_000)
    plane = ControlPlane.open(folder, [LocalExecutor(folder / "local", config)], checkpoint_every=CHECKPOINT_EVERY)
    mouth = threading.Lock()

    def say(**words: Any) -> None:
        with mouth:
            print(json.dumps(words), flush=True)

    def announce() -> None:
        recovery = wait_for(lambda: plane.health().recovery, "the first inventory", PATIENCE_S)
        assert recovery is not None
        say(event="ready", at=time.monotonic(), adopted=recovery.adopted, ready_ms=recovery.ready_ms)

    def listen() -> None:
        for line in sys.stdin:
            words = json.loads(line)
            if "ask" in words:
                unfinished = sum(not status.phase.ended for status in plane.readmodel.jobs())
                say(event="unfinished", jobs=unfinished + plane.inbox.waiting())
                continue
            command = ("/bin/sh", "-c", PROGRAM, words["evidence"], str(words["seconds"]))

            def body(seq: int, command: tuple[str, ...] = command) -> bytes:
                role = Role(request=Request(cpu_milli=1_000))
                job = Job(JobId(f"crash-{seq}"), "crash", QueueId("crash"), (role,), command=command)
                return encode(Facts(Instant(0), (JobSubmitted(job),)))

            seq = plane.inbox.put(f"token-{words['number']}", body)
            say(event="ack", number=words["number"], job=f"crash-{seq}")

    for target in (announce, listen):
        threading.Thread(target=target, daemon=True).start()
    try:
        plane.run()
    finally:
        plane.close()


def judge(folder: Path, client: Client) -> dict[str, Any]:
    """What the evidence and, separately, the journal say."""
    from fairway.adapters.stores.sqlite import SqliteStore
    from fairway.engine.recover import recover
    from fairway.model.phases import JobPhase
    from fairway.state.check import check
    from fairway.state.codec import digest

    with SqliteStore.open(folder / "fairway.db") as store:
        state, frames = recover(store, from_start=True)
        short = recover(store).state
    problems = check(state) + ([] if digest(short) == digest(state) else ["its checkpoint is another state"])
    if problems:
        raise AssertionError(f"the journal adds up to a broken state: {problems}")
    lines = {number: read_evidence(folder / "evidence" / str(number)) for number in range(client.jobs)}
    begun = {number: sum(line.startswith("begin") for line in some) for number, some in lines.items()}
    whole = {number for number, some in lines.items() if [line.split()[0] for line in some] == ["begin", "end"]}
    good = {record.job.id for record in state.ended.values() if record.phase is JobPhase.SUCCEEDED}
    lost = [number for number, job in client.acknowledged.items() if number not in whole or job not in good]
    known = {*state.ended, *state.jobs.row_of}
    return {
        "lost": len(lost) + client.jobs - len(client.acknowledged) + len(known - {*client.acknowledged.values()}),
        "double_run": sum(count > 1 for count in begun.values()),
        "adopted": client.adopted,
        "recovery_ms": spread(client.recoveries_ms),
        "recovery_from_open_ms": spread(client.from_open_ms),
        "restarts_ready": len(client.recoveries_ms),
        "killed_before_ready": client.killed_early,
        "acknowledged": len(client.acknowledged),
        "asked_again": sum(count - 1 for count in client.asked.values()),
        "frames": frames,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and largest."""
    return {"p50": round(statistics.median(values), 1), "max": round(max(values), 1)}


def read_evidence(path: Path) -> list[str]:
    """The lines a program has written; none where it never began."""
    return path.read_text().splitlines() if path.exists() else []


def bench(kills: int, jobs: int, seed: int) -> dict[str, Any]:
    """Run it in a temporary folder. The folder stays, and is named, when anything was lost or ran twice."""
    folder = Path(tempfile.mkdtemp(prefix="fairway-crash-"))
    (folder / "evidence").mkdir()
    client = Client(folder, jobs, random.Random(seed))
    began = time.monotonic()
    for _ in range(kills):
        client.live_and_die()
    client.live_on()
    result = judge(folder, client) | {"kills": kills, "jobs": jobs, "seed": seed}
    result["wall_s"] = round(time.monotonic() - began, 1)
    if result["lost"] or result["double_run"]:
        result["folder"] = str(folder)
    else:
        import shutil

        shutil.rmtree(folder)
    return result


def main() -> int:
    """Exit status 1 when anything was lost or ran twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    result = bench(options.kills, options.jobs, options.seed)
    print(json.dumps(result) if options.json else "\n".join(f"{key:20} {value}" for key, value in result.items()))
    return 1 if result["lost"] or result["double_run"] else 0


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    sys.exit(main())
