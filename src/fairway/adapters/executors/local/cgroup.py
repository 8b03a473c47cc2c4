"""Control groups (v2), where the machine's administrator has delegated a folder of them: one group per task.

The wrapper stays outside, so that it lives to write down that the kernel ended what was inside.
"""

import logging
import os

_log = logging.getLogger(__name__)

NEEDED = ("memory", "pids")


def find(setting: str) -> str | None:
    """The folder to make groups in; None when there is none that can hold memory.

    ``setting`` is ``off``, a folder, or ``auto``: the control plane's own group, if its subgroups have the controllers
    or can be given them. That works where the control plane does not live in the delegated group itself.
    """
    if setting == "off":
        return None
    path = _own() if setting == "auto" else setting
    if path is None:
        return None
    if _enabled(path):
        return path
    if setting != "auto":
        _log.warning("no control groups in %s: its subgroups cannot limit memory", path)
    return None


def create(parent: str, name: str, memory_mib: int, pids_max: int | None) -> str:
    """Make a task's group with its limits; 0 MiB is no limit. Returns its folder. Raises OSError."""
    path = f"{parent}/{name}"
    os.makedirs(path, exist_ok=True)
    if memory_mib:
        _write(f"{path}/memory.max", str(memory_mib << 20))
        if os.path.exists(f"{path}/memory.swap.max"):
            _write(f"{path}/memory.swap.max", "0")
    if pids_max:
        _write(f"{path}/pids.max", str(pids_max))
    return path


def members(path: str) -> set[int]:
    """The processes in a group and in groups that they have made below it; empty when it is gone."""
    found: set[int] = set()
    for folder, _, _ in os.walk(path):
        try:
            with open(f"{folder}/cgroup.procs") as file:
                found.update(int(line) for line in file)
        except FileNotFoundError:
            continue  # removed while we were looking
    return found


def remove(path: str) -> bool:
    """Remove a task's group and those below it. False while a process is inside."""
    try:
        for folder, _, _ in os.walk(path, topdown=False):
            os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # busy: whoever is inside is ended first
    return True


def out_of_memory(path: str) -> bool:
    """Whether the kernel has ended a process of the group for want of memory."""
    try:
        with open(f"{path}/memory.events") as file:
            counts = dict(line.split() for line in file)
    except FileNotFoundError:
        return False
    return int(counts.get("oom_kill", "0")) > 0


def _own() -> str | None:
    with open("/proc/self/mounts") as file:
        mounts = [line.split()[1] for line in file if line.split()[2] == "cgroup2"]
    with open("/proc/self/cgroup") as file:
        groups = [line.strip()[3:] for line in file if line.startswith("0::")]
    return mounts[0] + groups[0].rstrip("/") if mounts and groups else None


def _enabled(path: str) -> bool:
    control = f"{path}/cgroup.subtree_control"
    try:
        with open(control) as file:
            missing = set(NEEDED) - set(file.read().split())
        if missing:
            _write(control, " ".join(f"+{name}" for name in sorted(missing)))
        return os.access(path, os.W_OK)
    except OSError as error:
        _log.debug("control groups in %s are not ours to use: %s", path, error)
        return False


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
