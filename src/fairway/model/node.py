"""Nodes, their devices, and where they stand."""

from dataclasses import dataclass

from fairway.model.ids import ExecutorId, NodeId, PoolId
from fairway.model.money import MicroDollars
from fairway.model.phases import Lifecycle
from fairway.model.resources import WHOLE


@dataclass(frozen=True, slots=True)
class Topology:
    """Where a node stands, widest domain first; an empty name means unknown. The island is its NVLink domain."""

    region: str = ""
    zone: str = ""
    cluster: str = ""
    block: str = ""
    rack: str = ""
    island: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as its executor reported it. Its devices are all of one type and count from 0.

    ``virtual`` marks devices that are declared rather than found: every face says so.
    """

    id: NodeId
    executor: ExecutorId = ExecutorId("local")
    cpu_milli: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    network_mbps: int = 0
    gpus: int = 0
    gpu_type: str = ""
    gpu_memory_mib: int = 0
    virtual: bool = False
    topology: Topology = Topology()
    lifecycle: Lifecycle = Lifecycle.ON_DEMAND
    pool: PoolId | None = None
    hourly: MicroDollars = MicroDollars(0)
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[str, ...] = ()
    """``key`` or ``key=value``: only jobs that tolerate every one of them are placed here."""

    @property
    def flat(self) -> tuple[int, int, int, int]:
        """The flat resources in ``resources.FLAT`` order."""
        return (self.cpu_milli, self.memory_mib, self.disk_mib, self.network_mbps)

    @property
    def gpu_milli(self) -> int:
        """Milli-GPUs of all its devices."""
        return self.gpus * WHOLE

    def __str__(self) -> str:
        devices = f"{self.gpus}x{self.gpu_type or 'GPU'}" if self.gpus else "no GPU"
        return f"{self.id} {devices}{' (virtual)' if self.virtual else ''}"
