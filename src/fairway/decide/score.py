"""Which of the nodes that fit is best.

A score is a pure function of a trial; the smallest wins, and ties go to the first row.
"""

import numpy as np

from fairway.decide.fit import milli_per_device
from fairway.model.policy import Weights
from fairway.model.reasons import Placed
from fairway.model.resources import Request
from fairway.state.columns import Floats, Ints
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import CPU, MEMORY


def leftovers(snap: Snapshot, trial: Trial, request: Request, rows: Ints) -> Floats:
    """(3, R): GPU, memory and CPU each row would have left after one task, as a share of the largest node's."""
    largest, most_gpu = snap.nodes.largest
    left = np.empty((3, len(rows)), np.float64)
    taken = milli_per_device(snap.nodes, request)[rows] * request.gpus if request.gpus else 0
    np.divide(trial.gpu_free[rows] - taken, most_gpu, out=left[0])
    np.divide(trial.free[rows, MEMORY] - request.memory_mib, largest[MEMORY], out=left[1])
    np.divide(trial.free[rows, CPU] - request.cpu_milli, largest[CPU], out=left[2])
    return left


def best_fit(left: Floats, weights: Weights) -> Floats:
    """(R,) weighted sum of what would be left over: the multi-dimensional best fit."""
    return weights.gpu * left[0] + weights.memory * left[1] + weights.cpu * left[2]


def placed_reason(left: Floats, scores: Floats, index: int, candidates: int) -> Placed:
    """The reason of a placement, with the parts of its score."""
    parts = tuple((name, round(float(left[i, index]), 4)) for i, name in enumerate(("gpu", "memory", "cpu")))
    return Placed("best_fit", round(float(scores[index]), 4), parts, candidates)
