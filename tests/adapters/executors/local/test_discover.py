"""What a machine has, and what is declared instead. NVML is played: its words are real, its devices are not."""

import importlib
import os
from dataclasses import dataclass

import psutil
import pynvml
import pytest
from pydantic import ValidationError

from fairway.adapters.executors.local import LocalConfig, discover
from fairway.adapters.executors.local.discover import Gpu, nvidia_gpus, survey, visible
from fairway.model.ids import ExecutorId, NodeId


@dataclass
class Driver:
    """An NVIDIA driver with these devices: name, MiB, whether it is divided by MIG (None: cannot be)."""

    devices: list[tuple[str, int, bool | None]]
    failing: str = ""
    shut: bool = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("nvmlInit", "nvmlShutdown", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"):
            monkeypatch.setattr(pynvml, name, getattr(self, name))
        for name in ("nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMigMode"):
            monkeypatch.setattr(pynvml, name, getattr(self, name))

    def nvmlInit(self) -> None:
        if self.failing == "init":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def nvmlShutdown(self) -> None:
        self.shut = True

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if self.failing == "handle":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}{handle}"

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.devices[handle][0]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:
        return type("Memory", (), {"total": self.devices[handle][1] << 20})

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:
        divided = self.devices[handle][2]
        if divided is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(divided), int(divided)]


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    Driver([], failing="init").install(monkeypatch)


H100 = "NVIDIA H100 80GB HBM3"


def test_this_machine(tmp_path: object) -> None:
    node = discover(LocalConfig(name="mine"), str(tmp_path))
    assert 0 < node.cpu_milli <= 1_000 * len(os.sched_getaffinity(0))
    assert 0 < node.memory_mib <= psutil.virtual_memory().total >> 20
    assert node.disk_mib > 0
    assert node.executor == ExecutorId("mine")
    assert node.id
    assert (node.gpus, node.gpu_type, node.gpu_memory_mib, node.virtual) == (0, "", 0, False)


def test_virtual_devices_are_declared_and_say_so() -> None:
    config = LocalConfig(node="n", virtual_gpus=8, virtual_gpu_type="H100", virtual_gpu_memory_mib=81_920)
    machine = survey(config, "/")
    assert (machine.node.gpus, machine.node.gpu_type, machine.node.gpu_memory_mib) == (8, "H100", 81_920)
    assert machine.node.virtual
    assert "virtual" in str(machine.node)
    assert machine.devices == ("0", "1", "2", "3", "4", "5", "6", "7")
    assert machine.node.id == NodeId("n")


def test_declaring_more_than_there_is_is_virtual_and_less_is_not() -> None:
    found = discover(LocalConfig())
    assert discover(LocalConfig(cpu_milli=found.cpu_milli + 1)).virtual
    assert discover(LocalConfig(memory_mib=found.memory_mib + 1)).virtual
    less = discover(LocalConfig(cpu_milli=500, memory_mib=100))
    assert (less.cpu_milli, less.memory_mib, less.virtual) == (500, 100, False)


@pytest.mark.parametrize("wrong", [{"virtual_gpu": 1}, {"virtual_gpus": -1}, {"cpu_milli": 0}, {"log_mib": "many"}])
def test_a_wrong_setting_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        LocalConfig.model_validate(wrong)


def test_real_devices_go_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver([(H100, 81_559, False), (H100, 81_559, None)])
    driver.install(monkeypatch)
    machine = survey(LocalConfig(), "/")
    node = machine.node
    assert (node.gpus, node.gpu_type, node.gpu_memory_mib, node.virtual) == (2, "H100", 81_559, False)
    assert machine.devices == ("GPU-00", "GPU-11")
    assert dict(node.labels)["gpu_name"] == H100
    assert driver.shut


def test_virtual_devices_stand_in_for_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver([(H100, 81_559, False)]).install(monkeypatch)
    machine = survey(LocalConfig(virtual_gpus=2), "/")
    assert (machine.node.gpus, machine.node.gpu_type, machine.devices) == (2, "virtual", ("0", "1"))
    assert machine.node.virtual


def test_a_divided_device_and_a_rarer_type_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver([("Tesla T4", 15_109, None), (H100, 81_559, True), (H100, 81_559, False), (H100, 81_000, False)]).install(
        monkeypatch
    )
    machine = survey(LocalConfig(), "/")
    assert machine.devices == ("GPU-22", "GPU-33")
    assert (machine.node.gpu_type, machine.node.gpu_memory_mib) == ("H100", 81_000), "the least that all of them have"


@pytest.mark.parametrize("failing", ["init", "handle"])
def test_a_driver_that_fails_is_no_driver(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    driver = Driver([(H100, 81_559, False)], failing=failing)
    driver.install(monkeypatch)
    assert nvidia_gpus() == ()
    assert driver.shut == (failing == "handle")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (H100, "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA RTX A6000", "RTXA6000"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_types_have_short_names(name: str, kind: str) -> None:
    assert Gpu("GPU-0", name, 1).type == kind


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (None, "abc"),
        ("", ""),
        ("-1", ""),
        ("1", "b"),
        ("2,0", "ca"),
        ("GPU-b1,0", "ba"),
        ("0,7,1", "a"),
        ("0,0,1", "a"),
        (" 1 , 2 ", "bc"),
    ],
)
def test_only_what_is_given_to_us_is_given_on(setting: str | None, left: str) -> None:
    gpus = tuple(Gpu(f"GPU-{letter}1", "T4", 1) for letter in "abc")
    assert [gpu.uuid for gpu in visible(gpus, setting)] == [f"GPU-{letter}1" for letter in left]


def test_an_affinity_limits_the_node() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        machine = survey(LocalConfig(), "/")
    finally:
        os.sched_setaffinity(0, before)
    assert machine.cores == (min(before),)
    assert machine.node.cpu_milli <= 1_000


@pytest.mark.gpu
def test_a_real_gpu_is_found() -> None:
    importlib.reload(pynvml)  # without the player
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        pytest.skip("no NVIDIA driver on this machine")
    found = nvidia_gpus()
    assert len(found) == pynvml.nvmlDeviceGetCount()
    assert all(gpu.uuid.startswith("GPU-") and gpu.memory_mib > 0 and gpu.type for gpu in found)
