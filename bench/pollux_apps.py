"""The applications of Pollux's simulator (OSDI'21 artifact): how long their steps took, and how they learned.

``placements.csv`` and ``scalability.csv`` hold measured seconds of a step, and of its exchange of gradients, by
placement (GPUs on each node, as digits) or (nodes, GPUs), and by local batch size; ``validation-B.csv`` the progress
after every epoch at batch size B, and the gradient's square and variance then. Between measured batch sizes figures are
interpolated, between sizes that were not measured too, along the same number of GPUs per node.
"""

import csv
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from fairway.decide.goodput import Limits, Noise, gain
from fairway.model.errors import InvalidField, NotFound
from fairway.state.columns import Floats, Ints

EPOCHS: Final = {"bert": 2, "cifar10": 100, "ncf": 10, "imagenet": 90, "deepspeech2": 80, "yolov3": 50}
"""Epochs to the validation metric that the paper trains to."""
LOCAL_MOST: Final = {"yolov3": 8}
"""The largest local batch, where it is not the largest that was measured."""
FIXED: Final = {"ncf": 32768}
"""Applications that do not adapt: one GPU and this batch, under every policy."""

Times = dict[tuple[int, int], tuple[Floats, Floats, Floats]]
"""(local batches, step seconds, exchange seconds), each (B,), by (nodes, GPUs)."""


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table. Raises NotFound."""
    if not path.is_file():
        raise NotFound(f"there is no file {path}", "profiles")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass
class App:
    """One application."""

    name: str
    limits: Limits
    progress: Floats
    """(E + 1,) progress at the start of every epoch and at the end, in steps of the first batch size."""
    batches: Ints
    noise: Floats
    """(E, B, 2) square and variance of the gradient in each epoch at each measured batch size."""
    exact: dict[tuple[int, ...], tuple[Floats, Floats, Floats]]
    by_size: Times
    iterations: Floats
    """(E, B) steps taken by the end of every epoch at each measured batch size."""
    known: dict[tuple[tuple[int, ...], int], tuple[float, float]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Epochs to the end."""
        return len(self.progress) - 1

    def step(self, placement: tuple[int, ...], local: int) -> tuple[float, float]:
        """(seconds of a step, seconds of it that gradients are exchanged) with so many GPUs on each node."""
        turned = min(placement[at:] + placement[:at] for at in range(len(placement)))
        if (turned, local) not in self.known:
            if turned in self.exact:
                at, step, sync = self.exact[turned]
                times = float(np.interp(local, at, step)), float(np.interp(local, at, sync))
            else:
                times = self.between(min(len(placement), 16), sum(placement), local)
            self.known[turned, local] = times
        return self.known[turned, local]

    def between(self, nodes: int, gpus: int, local: int) -> tuple[float, float]:
        """The same, interpolated between numbers of nodes, and between GPUs at each."""
        measured = self._nodes
        high = int(np.searchsorted(measured, nodes))
        ends = measured[[high, high]] if measured[high] == nodes else measured[[high - 1, high]]
        found = [self._at(int(end), gpus * end / nodes, local) for end in ends]
        part = 0.0 if ends[0] == ends[1] else (nodes - ends[0]) / (ends[1] - ends[0])
        step, sync = ((1 - part) * found[0][k] + part * found[1][k] for k in (0, 1))
        return float(step), float(sync)

    @cached_property
    def _nodes(self) -> Ints:
        return np.unique([nodes for nodes, _ in self.by_size])

    def _at(self, nodes: int, gpus: float, local: int) -> tuple[float, float]:
        sizes = sorted(size for count, size in self.by_size if count == nodes)
        tables = [self.by_size[nodes, size] for size in sizes]
        step, sync = (float(np.interp(gpus, sizes, [np.interp(local, t[0], t[k]) for t in tables])) for k in (1, 2))
        return step, sync

    def noise_at(self, epoch: int, batch: int) -> Noise:
        """What a job measures in an epoch at a batch size."""
        square, variance = (float(np.interp(batch, self.batches, self.noise[epoch, :, k])) for k in (0, 1))
        return Noise(square, variance)

    def goodput(self, placement: tuple[int, ...], local: int, accumulated: int, epoch: int) -> float:
        """Progress per second."""
        step, sync = self.step(placement, local)
        batch = sum(placement) * local * (accumulated + 1)
        scale = np.array([batch / self.limits.first])
        return float(gain(self.noise_at(epoch, batch), scale)[0] / (step + accumulated * (step - sync)))

    def steps_left(self, batch: int, epoch: int) -> float:
        """Steps from the start of an epoch to the end at one batch size; at least 1."""
        taken = [
            float(np.interp(batch, self.batches, row)) for row in (self.iterations[-1], self.iterations[epoch - 1])
        ]
        return max(1.0, taken[0] - (taken[1] if epoch else 0.0))

    def fixed(self, gpus: int, batch: int) -> tuple[int, int]:
        """(local batch, accumulated) of a job that keeps one batch size on whatever it gets."""
        share = int(np.ceil(batch / gpus - 1e-8))
        accumulated = int(np.ceil(share / self.limits.local_most - 1e-8)) - 1
        if gpus == 1 and batch > self.limits.first:
            accumulated = max(1, accumulated)
        local = int(np.ceil(share / (accumulated + 1) - 1e-8))
        return min(local, self.limits.most // (gpus * (accumulated + 1))), accumulated


def read_app(folder: Path) -> App:
    """One application's folder. Raises NotFound and InvalidField."""
    name = folder.name
    if name not in EPOCHS:
        raise InvalidField("profiles", f"{name} is none of {', '.join(sorted(EPOCHS))}")
    epochs = EPOCHS[name]
    runs = {int(path.stem.partition("-")[2]): read(path) for path in folder.glob("validation-*.csv")}
    batches = sorted(runs)
    if not batches or min(len(run) for run in runs.values()) < epochs:
        raise InvalidField("profiles", f"{name} has no validation of {epochs} epochs")
    ends = np.array([[float(row["progress"]) for row in runs[batch][:epochs]] for batch in batches])
    columns = ("grad_sqr", "grad_var")
    noise = [[[float(runs[b][e][column]) for column in columns] for b in batches] for e in range(epochs)]
    exact, by_size = _times(folder)
    local = np.concatenate([at for at, _, _ in exact.values()])
    limits = Limits(batches[0], batches[-1], int(local.min()), LOCAL_MOST.get(name, int(local.max())))
    progress = np.concatenate([[0.0], ends.min(axis=0)])
    taken = np.array([[float(runs[batch][epoch]["iteration"]) for batch in batches] for epoch in range(epochs)])
    return App(name, limits, progress, np.array(batches), np.array(noise), exact, by_size, taken)


def _times(folder: Path) -> tuple[dict[tuple[int, ...], tuple[Floats, Floats, Floats]], Times]:
    exact: dict[tuple[int, ...], list[tuple[float, float, float]]] = {}
    sizes: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
    for row in read(folder / "placements.csv"):
        placement = tuple(int(digit) for digit in row["placement"])
        point = float(row["local_bsz"]), float(row["step_time"]), float(row["sync_time"])
        exact.setdefault(placement, []).append(point)
        sizes.setdefault((len(placement), sum(placement)), []).append(point)
    for row in read(folder / "scalability.csv"):
        point = float(row["local_bsz"]), float(row["step_time"]), float(row["sync_time"])
        sizes.setdefault((int(row["num_nodes"]), int(row["num_replicas"])), []).append(point)
    return {key: _mean(points) for key, points in exact.items()}, {key: _mean(points) for key, points in sizes.items()}


def _mean(points: list[tuple[float, float, float]]) -> tuple[Floats, Floats, Floats]:
    """Points by local batch, those of one batch averaged."""
    table = np.array(sorted(points))
    at, inverse = np.unique(table[:, 0], return_inverse=True)
    count = np.bincount(inverse)
    return at, np.bincount(inverse, table[:, 1]) / count, np.bincount(inverse, table[:, 2]) / count


def read_apps(profiles: Path) -> dict[str, App]:
    """All applications of a folder."""
    folders = sorted(path for path in profiles.glob("*") if path.is_dir())
    if not folders:
        raise NotFound(f"there are no applications in {profiles}", "profiles")
    return {folder.name: read_app(folder) for folder in folders}
