"""Small clusters in every state of use, and the plain twins of what decides on them: loops over nodes, nothing else."""

from dataclasses import dataclass

from hypothesis import strategies as st

from fairway.model.facts import NodeCordoned
from fairway.model.ids import ExecutorId, NodeId
from fairway.model.node import Node
from fairway.model.resources import WHOLE, Accelerator, Request
from fairway.state.snapshot import Snapshot, Trial, snapshot
from fairway.testing.builders import Rehearsal

TYPES = ("X", "Y")


@dataclass(frozen=True)
class Used:
    """A node and what is taken of it: milli-GPUs of each device, and of the flat resources."""

    node: Node
    devices: tuple[int, ...]
    flat: tuple[int, ...]
    cordoned: bool

    @property
    def free(self) -> tuple[int, ...]:
        return tuple(total - used for total, used in zip(self.node.flat, self.flat, strict=True))

    @property
    def device_free(self) -> tuple[int, ...]:
        return tuple(WHOLE - used for used in self.devices)


@st.composite
def used_nodes(draw, index):
    gpus = draw(st.integers(0, 4))
    node = Node(
        NodeId(f"n{index}"),
        ExecutorId(draw(st.sampled_from(("e1", "e2")))),
        draw(st.integers(0, 8)) * 1000,
        draw(st.integers(0, 8)),
        draw(st.integers(0, 2)),
        draw(st.integers(0, 2)),
        gpus,
        draw(st.sampled_from(TYPES)) if gpus else "",
        draw(st.sampled_from((0, 700, 1000))) if gpus else 0,
    )
    # A node that shrank has given away more than it has.
    flat = tuple(draw(st.integers(0, total + (total > 4000))) for total in node.flat)
    devices = tuple(draw(st.sampled_from((0, 0, 300, 500, 1000, 2000))) for _ in range(gpus))
    return Used(node, devices, flat, draw(st.integers(0, 5)) == 0)


CLUSTERS = st.integers(1, 6).flatmap(lambda count: st.tuples(*(used_nodes(index) for index in range(count))))
REQUESTS = st.builds(
    lambda cpu, memory, disk, network, gpu: Request(
        cpu_milli=cpu, memory_mib=memory, disk_mib=disk, network_mbps=network, **gpu
    ),
    st.sampled_from((0, 1, 500, 1000, 3000)),
    st.integers(0, 3),
    st.integers(0, 1),
    st.integers(0, 1),
    st.one_of(
        st.just({}),
        st.integers(1, 4).map(lambda n: {"gpus": n}),
        st.integers(1, 999).map(lambda milli: {"gpus": 1, "gpu_milli": milli}),
        st.integers(1, 1200).map(lambda mib: {"gpus": 1, "gpu_memory_mib": mib}),
        st.sampled_from(
            (
                {"gpus": 1, "accelerators": (Accelerator("X", 2.0), Accelerator("Y"))},
                {"gpus": 2, "accelerators": (Accelerator("Y"),)},
                {"gpus": 1, "gpu_milli": 400, "accelerators": (Accelerator("Y", 0.5), Accelerator("Z", 9.0))},
            )
        ),
    ),
)


def stage(cluster: tuple[Used, ...]) -> tuple[Snapshot, Trial]:
    """A snapshot of the nodes, and a trial with what is used taken off."""
    it = Rehearsal()
    for used in cluster:
        it.nodes(used.node)
        it.tell(NodeCordoned(used.node.id, used.cordoned))
    snap = snapshot(it.state)
    trial = Trial(snap)
    for row, used in enumerate(cluster):
        trial.take(row, used.flat, (), 0)
        for device, milli in enumerate(used.devices):
            trial.take(row, (0, 0, 0, 0), (device,), milli)
    return snap, trial


def plain_devices(free: list[int], request: Request, milli: int) -> tuple[int, ...] | None:
    """The devices a task gets on a node, or None: the tightest that is enough, or the first wholly free ones."""
    if not request.gpus:
        return ()
    if request.fractional:
        enough = [(share, device) for device, share in enumerate(free) if share >= milli]
        return (min(enough)[1],) if enough else None
    idle = [device for device, share in enumerate(free) if share == WHOLE]
    return tuple(idle[: request.gpus]) if len(idle) >= request.gpus else None


def plain_room(used: Used, request: Request, most: int = 40) -> int:
    """How many such tasks a node takes, found by placing one after the other; at most ``most``."""
    if used.cordoned or (request.gpus and not request.accepts(used.node.gpu_type)):
        return 0
    milli = request.milli_on(used.node.gpu_memory_mib)
    flat, devices = list(used.free), list(used.device_free)
    for placed in range(most):
        got = plain_devices(devices, request, milli)
        if got is None or any(need and have < need for have, need in zip(flat, request.flat, strict=True)):
            return placed
        flat = [have - need for have, need in zip(flat, request.flat, strict=True)]
        for device in got:
            devices[device] -= milli
    return most
