"""The resource schema: what a node has, what a task asks for, in integer units.

Four *flat* resources are plain sums and live in one matrix, a column each: ``cpu_milli``, ``memory_mib``, ``disk_mib``,
``network_mbps``. GPUs are *devices*: each has 1000 milli-GPUs, a type and a memory, and a task takes either whole
idle devices or a fraction of one.
"""

from dataclasses import dataclass
from typing import Final

from fairway.model.time import format_duration

FLAT: Final = ("cpu_milli", "memory_mib", "disk_mib", "network_mbps")
"""Column order of every flat-resource matrix."""

WHOLE: Final = 1_000
"""Milli-GPUs of one whole device."""

UNITS: Final = {"gpu_milli": (WHOLE, "GPUs"), "cpu_milli": (1_000, "CPUs"), "memory_mib": (1, "MiB")}
"""How people count what is summed over tasks (``Amount``): the size of one, and what they are called."""


def losing(lost_ms: int, gpu_milli: int) -> str:
    """What a stop throws away, as part of a sentence: ``loses 40m x 8 GPU``."""
    held = f" x {gpu_milli / WHOLE:g} GPU" if gpu_milli else ""
    return f"loses {format_duration(lost_ms)}{held}"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A type that a task accepts and how fast it runs there, relative to the others it lists."""

    type: str
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """What one task needs. GPUs are asked for in one of three ways:

    - ``gpus=n``: n whole devices of one node;
    - ``gpus=1, gpu_milli=400``: 400/1000 of one device;
    - ``gpus=1, gpu_memory_mib=20000``: the share of one device that has so much memory; its milli-GPUs depend on
      the device's memory.

    ``accelerators`` lists the acceptable types, empty for any; the fastest that fits is taken first.
    """

    cpu_milli: int = 0
    memory_mib: int = 0
    gpus: int = 0
    gpu_milli: int = WHOLE
    gpu_memory_mib: int = 0
    accelerators: tuple[Accelerator, ...] = ()
    disk_mib: int = 0
    network_mbps: int = 0

    @property
    def flat(self) -> tuple[int, int, int, int]:
        """The flat resources in ``FLAT`` order."""
        return (self.cpu_milli, self.memory_mib, self.disk_mib, self.network_mbps)

    @property
    def fractional(self) -> bool:
        """True when the task shares a device."""
        return self.gpus == 1 and (self.gpu_milli < WHOLE or self.gpu_memory_mib > 0)

    def milli_on(self, device_memory_mib: int) -> int:
        """Milli-GPUs taken of each device of a type with so much memory; over ``WHOLE`` when it can never fit.

        A request by memory is rounded up, so that shares never add up to more memory than the device has.
        """
        if self.gpu_memory_mib:
            return -(-self.gpu_memory_mib * WHOLE // device_memory_mib) if device_memory_mib else WHOLE + 1
        return self.gpu_milli

    def accepts(self, accelerator: str) -> bool:
        """Whether a device type will do."""
        return not self.accelerators or any(a.type == accelerator for a in self.accelerators)

    def speed_on(self, accelerator: str) -> float:
        """Relative speed on a device type; 1.0 where the task has no preference."""
        return next((a.speed for a in self.accelerators if a.type == accelerator), 1.0)

    def __str__(self) -> str:
        parts: list[str] = []
        if self.gpus:
            amount = str(self.gpus)
            if self.gpu_memory_mib:
                amount = f"{self.gpu_memory_mib}MiB of one"
            elif self.gpu_milli < WHOLE:
                amount = f"{self.gpu_milli / WHOLE:g}"
            kinds = "/".join(a.type for a in self.accelerators)
            parts.append(f"{amount} {kinds or 'GPU'}")
        if self.cpu_milli:
            parts.append(f"{self.cpu_milli / 1000:g} CPU")
        parts += [
            f"{value} {unit}"
            for value, unit in (
                (self.memory_mib, "MiB"),
                (self.disk_mib, "MiB disk"),
                (self.network_mbps, "Mbit/s"),
            )
            if value
        ]
        return " + ".join(parts) or "nothing"


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum of resources over many tasks: a quota, a limit, a usage. ``None`` in a limit means unlimited."""

    cpu_milli: int | None = None
    memory_mib: int | None = None
    gpu_milli: int | None = None

    def __str__(self) -> str:
        parts = [
            f"{value / 1000:g} {unit}{'' if value == 1000 else 's'}"
            for value, unit in (
                (self.gpu_milli, "GPU"),
                (self.cpu_milli, "CPU"),
            )
            if value
        ]
        return ", ".join([*parts, *([f"{self.memory_mib} MiB"] if self.memory_mib else [])]) or "nothing"
