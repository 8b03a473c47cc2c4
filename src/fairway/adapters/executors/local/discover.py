"""What this machine has: cores, memory, disk, network and NVIDIA GPUs, and what was declared instead."""

import logging
import os
import platform
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from fairway.adapters.executors.local.config import LocalConfig
from fairway.model.ids import ExecutorId, NodeId
from fairway.model.node import Node

_log = logging.getLogger(__name__)

_MIB = 1 << 20
_VENDOR = frozenset({"nvidia", "tesla", "geforce", "quadro"})
_FAMILY = frozenset({"rtx", "gtx", "titan", "a", "gh", "gb"})


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical device, by the name that CUDA_VISIBLE_DEVICES takes."""

    uuid: str
    name: str
    memory_mib: int

    @property
    def type(self) -> str:
        """The short name people use: ``H100`` of ``NVIDIA H100 80GB HBM3``, ``RTX4090`` of ``GeForce RTX 4090``."""
        words = [word for word in self.name.split() if word.lower() not in _VENDOR]
        if not words:
            return self.name
        head = words[0] + words[1] if words[0].lower() in _FAMILY and len(words) > 1 else words[0]
        return head.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Machine:
    """A node, and how to hand out parts of it: the name of each of its devices for CUDA_VISIBLE_DEVICES, by index,
    and the numbers of the cores that tasks may be bound to."""

    node: Node
    devices: tuple[str, ...]
    cores: tuple[int, ...]


def discover(config: LocalConfig | None = None, data: str = "/") -> Node:
    """This machine as a node; ``data`` lies on the disk that counts. See ``survey``."""
    return survey(config or LocalConfig(), data).node


def survey(config: LocalConfig, data: str) -> Machine:
    """Look at the machine. Takes milliseconds, or as long as the NVIDIA driver takes to wake up.

    A control group that holds the control plane itself, an affinity and CUDA_VISIBLE_DEVICES are respected: only what
    is given to us can be given on. A node has devices of one type: where there are several, the most common counts.
    """
    import psutil

    cores = tuple(sorted(os.sched_getaffinity(0)))
    found_cpu = min(len(cores) * 1_000, _cgroup_cpu_milli() or len(cores) * 1_000)
    total = psutil.virtual_memory().total
    found_memory = min(total, _cgroup_memory() or total) // _MIB
    cpu = config.cpu_milli or found_cpu
    memory = config.memory_mib or found_memory
    gpus = () if config.virtual_gpus else _one_type(visible(nvidia_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")))
    count = config.virtual_gpus or len(gpus)
    pretend = count > len(gpus)
    node = Node(
        id=NodeId(config.node or platform.node() or "localhost"),
        executor=ExecutorId(config.name),
        cpu_milli=cpu,
        memory_mib=memory,
        disk_mib=psutil.disk_usage(data).total // _MIB,
        network_mbps=_network_mbps(),
        gpus=count,
        gpu_type=config.virtual_gpu_type if pretend else next((gpu.type for gpu in gpus), ""),
        gpu_memory_mib=config.virtual_gpu_memory_mib if pretend else min((gpu.memory_mib for gpu in gpus), default=0),
        virtual=pretend or cpu > found_cpu or memory > found_memory,
        labels=(("arch", platform.machine()), *((("gpu_name", gpus[0].name),) if gpus else ())),
    )
    return Machine(node, tuple(gpu.uuid for gpu in gpus) or tuple(map(str, range(count))), cores)


def nvidia_gpus() -> tuple[Gpu, ...]:
    """Every NVIDIA GPU, in the driver's order; none where there is no driver, which is the normal case.

    A GPU that is divided by MIG is left out: CUDA cannot use it as a whole.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        _log.debug("no NVIDIA GPUs: %s", error)
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return tuple(
            Gpu(
                str(pynvml.nvmlDeviceGetUUID(handle)),
                str(pynvml.nvmlDeviceGetName(handle)),
                int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // _MIB,
            )
            for handle in handles
            if not _divided(handle)
        )
    except pynvml.NVMLError as error:
        _log.warning("the NVIDIA driver answers with an error, so its GPUs are not used: %s", error)
        return ()
    finally:
        pynvml.nvmlShutdown()


def visible(gpus: tuple[Gpu, ...], setting: str | None) -> tuple[Gpu, ...]:
    """Those that a CUDA_VISIBLE_DEVICES setting leaves, in its order. As CUDA does, stops at the first unknown name."""
    if setting is None:
        return gpus
    chosen: list[Gpu] = []
    for word in filter(None, map(str.strip, setting.split(","))):
        if word.isdecimal():
            found = gpus[int(word)] if int(word) < len(gpus) else None
        else:
            found = next((gpu for gpu in gpus if gpu.uuid.startswith(word)), None)
        if found is None or found in chosen:
            break
        chosen.append(found)
    return tuple(chosen)


def _divided(handle: object) -> bool:
    import pynvml

    with suppress(pynvml.NVMLError):  # GPUs that cannot be divided do not know the question
        return pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    return False


def _one_type(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    if not gpus:
        return ()
    counts = Counter(gpu.type for gpu in gpus)
    common = max(counts, key=lambda kind: counts[kind])
    if len(counts) > 1:
        _log.warning("GPUs of several types (%s): only the %s are used", ", ".join(counts), common)
    return tuple(gpu for gpu in gpus if gpu.type == common)


def _network_mbps() -> int:
    """The speed of the fastest link that is up; 0 when no driver tells."""
    import psutil

    return max((nic.speed for name, nic in psutil.net_if_stats().items() if nic.isup and name != "lo"), default=0)


def _cgroup_files(v2: str, v1: str, v1_controller: str) -> list[str]:
    """Where a limit on the control plane itself would be written, innermost group first, over both cgroup versions."""
    paths: list[str] = []
    with suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, group = line.rstrip("\n").split(":", 2)
            if not controllers:
                roots, name = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"), v2
            elif v1_controller in controllers.split(","):
                roots, name = (f"/sys/fs/cgroup/{v1_controller}",), v1
            else:
                continue
            while True:
                paths += [f"{root}{group.rstrip('/')}/{name}" for root in roots]
                if group in ("", "/"):
                    break
                group = group.rpartition("/")[0]
    return paths


def _read_first_words(paths: list[str]) -> list[list[str]]:
    found: list[list[str]] = []
    for path in paths:
        with suppress(OSError), open(path) as file:  # most groups have no such file: no limit there
            found.append(file.read().split())
    return found


def _cgroup_memory() -> int | None:
    """The least memory limit of any group we are in, in bytes; None without one."""
    words = _read_first_words(_cgroup_files("memory.max", "memory.limit_in_bytes", "memory"))
    limits = [int(found[0]) for found in words if found and found[0].isdecimal()]
    return min((limit for limit in limits if limit < 1 << 60), default=None)


def _cgroup_cpu_milli() -> int | None:
    """The least CPU quota of any group we are in, in millicores; None without one."""
    v2 = _read_first_words(_cgroup_files("cpu.max", "", ""))
    shares = [int(w[0]) * 1_000 // int(w[1]) for w in v2 if len(w) == 2 and re.fullmatch(r"\d+", w[0])]
    quota = _read_first_words(_cgroup_files("", "cpu.cfs_quota_us", "cpu"))
    period = _read_first_words(_cgroup_files("", "cpu.cfs_period_us", "cpu"))
    shares += [int(q[0]) * 1_000 // int(p[0]) for q, p in zip(quota, period, strict=False) if q and p and int(q[0]) > 0]
    return min(shares, default=None)
