"""What ``doctor`` looks at: each check finds something out, and says what to do when it is not as it should be."""

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fairway import __version__
from fairway.faces.paths import SOCKET, STORE
from fairway.model.errors import FairwayError, NotFound, Unavailable

Level = Literal["ok", "warning", "failed"]

LEAST_DISK = 1 << 30
PLAUSIBLE_S = 1_700_000_000
"""A clock before this instant, in 2023, is not set."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. Only ``failed`` keeps Fairway from working."""

    name: str
    level: Level
    text: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        """Whether Fairway can work with this."""
        return self.level != "failed"

    def shape(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return asdict(self)


def examine(folder: Path) -> list[Check]:
    """Every check, in order. A check that breaks is a failed one."""
    found: list[Check] = []
    for name, look in CHECKS:
        try:
            found.append(look(folder))
        except Exception as error:  # noqa: BLE001 - a doctor that falls ill says so and goes on
            found.append(Check(name, "failed", f"{type(error).__name__}: {error}"))
    return found


def repair(folder: Path) -> str:
    """Set damaged rows of the store aside, and say what was done. Raises NotFound, StoreBusy, StoreError."""
    from fairway.adapters.stores.sqlite import SqliteStore

    path = folder / STORE
    if not path.exists():
        raise NotFound("there is no store here: nothing to repair", str(path))
    with SqliteStore.open(path) as store:
        done = store.quarantine_tail()
    parts = [
        f"frames {done.cut} to {max(done.frames, default=done.cut)} (the journal now ends before them)"
        if done.cut
        else "",
        f"checkpoints {_numbers(done.checkpoints)}" if done.checkpoints else "",
        f"submissions {_numbers(done.inbox)}" if done.inbox else "",
        f"{len(done.history)} old frames that a checkpoint stands for" if done.history else "",
    ]
    told = ", ".join(filter(None, parts))
    return f"set aside in the table quarantine of {path}: {told}" if told else f"nothing in {path} is damaged"


def _numbers(found: tuple[int, ...]) -> str:
    return ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")


def _python(_: Path) -> Check:
    text = f"{sys.version.split()[0]} at {sys.executable}, Fairway {__version__}"
    old = sys.version_info < (3, 11)
    return Check("python", "failed" if old else "ok", text, "install Python 3.11 or newer" if old else "")


def _folder(folder: Path) -> Check:
    name, nearest = "data directory", folder
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Check(name, "failed", f"{folder} cannot be written", f"make {nearest} writable, or set FAIRWAY_HOME")
    if nearest == folder and (folder.stat().st_mode & 0o077):
        return Check(name, "warning", f"{folder} is open to others", f"chmod 700 {folder}: logs may hold secrets")
    return Check(name, "ok", f"{folder}{'' if nearest == folder else ' (not made yet)'}")


def _disk(folder: Path) -> Check:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    text = f"{free / (1 << 30):.1f}Gi free"
    if free < LEAST_DISK:
        return Check("disk", "warning", text, "make room: a full disk stops submissions")
    return Check("disk", "ok", text)


def _sqlite(_: Path) -> Check:
    version = sqlite3.sqlite_version_info
    if version < (3, 35):
        return Check("sqlite", "failed", sqlite3.sqlite_version, "use a Python built with SQLite 3.35 or newer")
    return Check("sqlite", "ok", sqlite3.sqlite_version)


def _store(folder: Path) -> Check:
    from fairway.adapters.stores.reader import JournalReader

    path = folder / STORE
    if not path.exists():
        return Check("store", "ok", "none yet: `fairway up` makes it")
    try:
        with closing(JournalReader(path)) as reader:
            begin = (reader.newest_checkpoint() or (0, b""))[0]
            frames = sum(1 for _ in reader.tail(begin))
    except FairwayError as error:
        return Check(
            "store", "failed", error.message, "see the message; `fairway doctor --repair-journal` sets damage aside"
        )
    return Check(
        "store", "ok", f"{frames} frames since the last checkpoint verified, {path.stat().st_size / (1 << 20):.1f}Mi"
    )


def _submissions(folder: Path) -> Check:
    from fairway.adapters.stores.database import ReadOnlyDatabase
    from fairway.adapters.stores.repair import refused

    path, name = folder / STORE, "submissions"
    if not path.exists():
        return Check(name, "ok", "none yet")
    try:
        with closing(ReadOnlyDatabase(path)) as database:
            found = refused(database)
    except FairwayError as error:
        return Check(name, "warning", error.message, "see the check of the store")
    if not found:
        return Check(name, "ok", "none was set aside")
    seq, why = found[-1]
    text = f"{len(found)} set aside, as they could not be believed; the last is number {seq}, {why}"
    cure = f"a fault of Fairway: report it, with the rows of the table quarantine of {path}; then submit anew"
    return Check(name, "warning", text, cure)


def _control_plane(folder: Path) -> Check:
    from fairway.faces.client import Client, Target

    try:
        with Client(Target(folder), timeout=5) as client:
            status = client.status()
    except Unavailable as error:
        if (folder / SOCKET).exists():
            return Check("control plane", "warning", "a socket is there and nobody answers", error.message)
        return Check("control plane", "ok", "not running", "")
    text = f"running as process {status['pid']}, version {status['version']}, leader number {status['epoch']}"
    if status["version"] != __version__:
        return Check("control plane", "warning", text, f"restart it: this command is {__version__}")
    if status["troubles"]:
        return Check("control plane", "warning", text, "; ".join(status["troubles"]))
    return Check("control plane", "ok", text)


def _machine(folder: Path) -> Check:
    from fairway.adapters.executors.local import discover

    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    node = discover(data=str(nearest))
    memory, disk = node.memory_mib / 1024, node.disk_mib / 1024
    text = f"{node.cpu_milli / 1000:g} CPUs, {memory:.1f}Gi of memory, {disk:.0f}Gi of disk"
    return Check("machine", "ok", text)


def _gpus(_: Path) -> Check:
    from fairway.adapters.executors.local.discover import nvidia_gpus

    gpus = nvidia_gpus()
    if not gpus:
        return Check("gpus", "ok", "no NVIDIA GPUs found; `fairway up --virtual-gpus N` pretends to have some")
    return Check("gpus", "ok", ", ".join(f"{gpu.name} ({gpu.memory_mib / 1024:.0f}Gi)" for gpu in gpus))


def _memory_limits(_: Path) -> Check:
    own = Path("/proc/self/cgroup")
    group = next((line[3:].strip() for line in own.read_text().splitlines() if line.startswith("0::")), None)
    if group is not None and Path("/sys/fs/cgroup/cgroup.controllers").exists():
        folder = Path("/sys/fs/cgroup", group.lstrip("/"))
        if os.access(folder / "cgroup.subtree_control", os.W_OK):
            return Check("memory limits", "ok", "cgroup v2, and its controllers may be delegated")
        return Check("memory limits", "ok", "cgroup v2 is not writable here: tasks are held by resource limits instead")
    return Check("memory limits", "ok", "no cgroup v2: tasks are held by resource limits instead")


def _clock(_: Path) -> Check:
    now = time.time()
    text = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    if now < PLAUSIBLE_S:
        return Check("clock", "warning", text, "set the clock: deadlines and reports rely on it")
    return Check("clock", "ok", text)


CHECKS: tuple[tuple[str, Callable[[Path], Check]], ...] = (
    ("python", _python),
    ("sqlite", _sqlite),
    ("data directory", _folder),
    ("disk", _disk),
    ("store", _store),
    ("submissions", _submissions),
    ("control plane", _control_plane),
    ("machine", _machine),
    ("gpus", _gpus),
    ("memory limits", _memory_limits),
    ("clock", _clock),
)
