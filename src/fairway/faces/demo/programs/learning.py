"""A small network and how it learns, shared by the programs; everything follows from the seed and the numbers given."""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

SEED = 20_261
INPUTS, HIDDEN, SAMPLES, BATCH = 16, 12, 512, 32
MOMENTUM = 0.9


@dataclass(slots=True)
class Model:
    """Weights of a two-layer network, with the momentum of each: (INPUTS + 2, HIDDEN), the last row going out."""

    weights: Vector
    momentum: Vector
    step: int = 0
    lineage: list[list[int]] = field(default_factory=list[list[int]])
    """[attempt, first step, step after the last] of every run that had a part in it."""


def fresh() -> Model:
    """A network that has learned nothing."""
    weights = np.random.default_rng([SEED, 1]).normal(0, 0.4, (INPUTS + 2, HIDDEN))
    return Model(weights, np.zeros_like(weights))


def examples(shard: int = 0, shards: int = 1) -> tuple[Vector, Vector]:
    """What there is to learn, (SAMPLES, INPUTS) and (SAMPLES,); a shard of it for each worker."""
    rng = np.random.default_rng([SEED, 2])
    inputs = rng.normal(size=(SAMPLES, INPUTS))
    answers = np.tanh(inputs @ rng.normal(size=INPUTS)) + 0.1 * rng.normal(size=SAMPLES)
    return inputs[shard::shards], answers[shard::shards]


def loss_and_gradient(weights: Vector, inputs: Vector, answers: Vector) -> tuple[float, Vector]:
    """Mean squared error, and its gradient with respect to the weights."""
    into, bias, out = weights[:INPUTS], weights[INPUTS], weights[INPUTS + 1]
    hidden = np.tanh(inputs @ into + bias)
    errors = hidden @ out - answers
    back = np.outer(errors, out) * (1 - hidden**2)
    gradient = np.vstack([inputs.T @ back, back.sum(axis=0), hidden.T @ errors])
    return float(np.mean(errors**2)), 2 * gradient / len(errors)


def advance(model: Model, data: tuple[Vector, Vector], attempt: int, rate: float = 0.02) -> float:
    """One step; returns the loss. Its examples are drawn by step *and attempt*: the weights remember who took it."""
    picked = np.random.default_rng([SEED, 3, model.step, attempt]).integers(0, len(data[0]), BATCH)
    loss, gradient = loss_and_gradient(model.weights, data[0][picked], data[1][picked])
    model.momentum = MOMENTUM * model.momentum - rate * gradient
    model.weights = model.weights + model.momentum
    if model.lineage and model.lineage[-1][0] == attempt:
        model.lineage[-1][2] = model.step + 1
    else:
        model.lineage.append([attempt, model.step, model.step + 1])
    model.step += 1
    return loss


def replay(lineage: list[list[int]]) -> Model:
    """The model that this lineage must give, learned again without a break."""
    model, data = fresh(), examples()
    for attempt, first, after in lineage:
        if first != model.step:
            raise ValueError(f"attempt {attempt} began at step {first} of a model that stood at {model.step}")
        for _ in range(first, after):
            advance(model, data, attempt)
    return model


def save(model: Model, folder: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    partial = folder / f"model.{os.getpid()}.npz"
    np.savez(partial, weights=model.weights, momentum=model.momentum, step=model.step, lineage=np.array(model.lineage))
    os.replace(partial, folder / "model.npz")


def load(folder: Path) -> Model | None:
    """The newest checkpoint, if there is one."""
    try:
        with np.load(folder / "model.npz") as saved:
            return Model(saved["weights"], saved["momentum"], int(saved["step"]), saved["lineage"].tolist())
    except FileNotFoundError:
        return None


def write_result(name: str, result: dict[str, Any]) -> None:
    """Leave a result in the working directory."""
    Path(f"{name}.json").write_text(json.dumps(result) + "\n", "utf-8")


class Pace:
    """At most one step every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic()

    def wait(self) -> None:
        """Until the next step is due; never to catch up on time that was lost."""
        now = time.monotonic()
        self._next = max(self._next + self._seconds, now)
        time.sleep(self._next - now)
