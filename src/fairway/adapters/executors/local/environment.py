"""What a task finds in its environment.

Three layers, the later one wins: a clean base, the job's own variables, and what Fairway says. The base is what a
program needs to run as this user on this machine (``PASSED``), and nothing else that the control plane has: that may be
secret.

Set for every task: ``FAIRWAY_JOB``, ``FAIRWAY_ATTEMPT`` (n, from 1), ``FAIRWAY_TASK`` (its rank), ``FAIRWAY_ROLE``,
``FAIRWAY_GPUS`` (indexes of its devices on the node), ``FAIRWAY_GPU_MILLI`` (of each), ``FAIRWAY_CHECKPOINT_DIR`` (one
per job, kept between attempts), ``FAIRWAY_PROGRESS`` (a file, one per attempt: see ``progress``),
``CUDA_VISIBLE_DEVICES`` (empty hides all) with ``CUDA_DEVICE_ORDER``, ``FAIRWAY_VIRTUAL_GPUS=1`` where devices are only
declared, where the batch size is left to Fairway ``FAIRWAY_BATCH_SIZE``, ``FAIRWAY_LOCAL_BATCH_SIZE`` and
``FAIRWAY_ACCUMULATE``, and in an array ``FAIRWAY_ARRAY``, ``FAIRWAY_ARRAY_INDEX`` and ``FAIRWAY_ARRAY_SIZE``.

In a gang also what ``torch.distributed`` and its kind read: ``MASTER_ADDR``, ``MASTER_PORT``, ``WORLD_SIZE``, ``RANK``,
``LOCAL_WORLD_SIZE``, ``LOCAL_RANK``, ``NODE_RANK``. A plain job has none of these, or it would wait for others.
"""

import os
import pwd
from collections.abc import Mapping, Sequence

from fairway.adapters.executors.local.discover import Machine
from fairway.adapters.executors.local.folder import Folder
from fairway.engine.commands import StartAttempt
from fairway.model.plan import TaskPlacement

PASSED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
"""Variables of the control plane that tasks get; and every ``LC_*``."""


def base(environ: Mapping[str, str], also: Sequence[str] = ()) -> dict[str, str]:
    """The first layer, from the control plane's own environment."""
    wanted = {*PASSED, *also}
    found = {name: value for name, value in environ.items() if name in wanted or name.startswith("LC_")}
    found.setdefault("PATH", os.defpath)
    if "HOME" not in found:
        found["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
    return found


def for_attempt(command: StartAttempt, folder: Folder, machine: Machine, port: int) -> dict[str, str]:
    """What all tasks of an attempt have in common of the last layer. ``port`` is the gang's rendezvous."""
    job = command.job
    found = {
        "FAIRWAY_JOB": job.id,
        "FAIRWAY_ATTEMPT": str(command.attempt.n),
        "FAIRWAY_CHECKPOINT_DIR": folder.checkpoints,
        "FAIRWAY_PROGRESS": folder.progress,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    if machine.node.virtual and machine.node.gpus:
        found["FAIRWAY_VIRTUAL_GPUS"] = "1"
    if job.array is not None:
        found["FAIRWAY_ARRAY"] = job.array.array
        found["FAIRWAY_ARRAY_INDEX"] = str(job.array.index)
        found["FAIRWAY_ARRAY_SIZE"] = str(job.array.size)
    if command.batch is not None:
        found["FAIRWAY_BATCH_SIZE"] = str(command.batch.total)
        found["FAIRWAY_LOCAL_BATCH_SIZE"] = str(command.batch.local)
        found["FAIRWAY_ACCUMULATE"] = str(command.batch.accumulate)
    if is_gang(command):
        size = str(len(command.placement))
        found |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
        found |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    return found


def for_task(command: StartAttempt, task: TaskPlacement, machine: Machine) -> dict[str, str]:
    """What one task has of its own of the last layer."""
    found = {
        "FAIRWAY_TASK": str(task.rank),
        "FAIRWAY_ROLE": command.job.roles[task.role].name,
        "FAIRWAY_GPUS": ",".join(map(str, task.devices)),
        "CUDA_VISIBLE_DEVICES": ",".join(machine.devices[device] for device in task.devices),
    }
    if task.devices:
        found["FAIRWAY_GPU_MILLI"] = str(task.gpu_milli)
    if is_gang(command):
        # One node: every task's rank among all is its rank on the node.
        found["RANK"] = found["LOCAL_RANK"] = str(task.rank)
    return found


def is_gang(command: StartAttempt) -> bool:
    """Whether the tasks are to find each other; an elastic gang that runs with one task still is one."""
    return command.job.gang or len(command.placement) > 1
