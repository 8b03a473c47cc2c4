"""Which of the nodes that fit is best.

A score is a pure function of a trial; the smallest wins, and ties go to the first row.
"""

from collections.abc import Sequence

import numpy as np

from fairway.decide.fit import milli_per_device
from fairway.model.policy import Policy, Weights
from fairway.model.reasons import Placed
from fairway.model.resources import Request
from fairway.state.columns import Floats, Ints
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import CPU, MEMORY

Scale = tuple[float, float, float]
"""What a milli-GPU, a MiB and a milli-CPU left over count."""


def leftovers(snap: Snapshot, trial: Trial, request: Request, rows: Ints, times: int = 1) -> Floats:
    """(3, R): milli-GPUs, MiB and milli-CPUs that each row would have left after ``times`` tasks."""
    left = np.empty((3, len(rows)), np.float64)
    taken: Ints | int = request.gpus * request.gpu_milli * times
    if request.gpu_memory_mib:
        taken = milli_per_device(snap.nodes, request)[rows] * (request.gpus * times)
    left[0] = trial.gpu_free[rows] - taken
    left[1] = trial.free[rows, MEMORY] - request.memory_mib * times
    left[2] = trial.free[rows, CPU] - request.cpu_milli * times
    return left


def leftovers_of(snap: Snapshot, trial: Trial, request: Request, row: int) -> tuple[int, int, int]:
    """The same of one row, and one task."""
    milli = request.gpus * request.milli_on(int(snap.nodes.gpu_memory[row]))
    free: list[int] = trial.free[row].tolist()
    return trial.gpu_free.item(row) - milli, free[MEMORY] - request.memory_mib, free[CPU] - request.cpu_milli


def largest(snap: Snapshot) -> tuple[int, int, int]:
    """Milli-GPUs, MiB and milli-CPUs of the largest node of each."""
    flat, gpu = snap.nodes.largest
    return gpu, flat[MEMORY], flat[CPU]


PACK = Weights(0.998, 0.001, 0.001)
"""GPUs first: the fullest node that can take the task, so that others stay whole."""


def scale(snap: Snapshot, policy: Policy) -> Scale:
    """What a milli-GPU, a MiB and a milli-CPU left over count: a share of the largest node's, weighted by the policy,
    or for ``pack``."""
    weights = PACK if policy.placement.score == "pack" else policy.weights
    gpu, memory, cpu = largest(snap)
    return weights.gpu / gpu, weights.memory / memory, weights.cpu / cpu


def name_of(policy: Policy) -> str:
    """Which weighted sum the policy's score is; ``best_fit`` too for one that does not know enough yet."""
    return "pack" if policy.placement.score == "pack" else "best_fit"


def best_fit(left: Floats, scale: Sequence[float] | Floats) -> Floats:
    """(R,) weighted sum of what would be left over: the multi-dimensional best fit."""
    return scale[0] * left[0] + scale[1] * left[1] + scale[2] * left[2]


def placed_reason(name: str, shares: Sequence[float], score: float, candidates: int) -> Placed:
    """The reason of a placement by a score's name: ``shares`` (3,) of the largest node's GPUs, memory and CPU that it
    leaves over. All rounded to four digits."""
    gpu, memory, cpu = shares
    return Placed(name, score, (("gpu", gpu), ("memory", memory), ("cpu", cpu)), candidates)
