"""How many workers a job has (``workers``), and what is known of it on other numbers of them (``elastic``)."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from fairway.faces.manifests.fields import MOST_TASKS, FieldError, Strict, Tasks
from fairway.model.elastic import MOST_BATCH, BatchLimits, Elasticity

BatchSize = Annotated[int, Field(strict=True, ge=1, le=MOST_BATCH)]
Count = Annotated[int, Field(ge=1, le=MOST_TASKS)]
"""A number of workers as a key: JSON has only texts there."""


def _workers(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value < 1:
        raise ValueError(f"{value} < 1: write at least 1")
    return {"min": value, "max": value}


class WorkersSpec(Strict):
    """How many equal tasks: at most, and at least. They start together or not at all."""

    min: Tasks
    max: Tasks

    @model_validator(mode="after")
    def _ordered(self) -> "WorkersSpec":
        if self.min > self.max:
            raise FieldError("min", f"{self.min} > {self.max}: it may not be above max")
        return self


def sizes_of(roles: Sequence[WorkersSpec | None]) -> tuple[int, int] | None:
    """The least and the most workers of a job that may run with fewer of its one role; None for any other."""
    [only, *others] = roles
    return None if others or only is None or only.min == only.max else (only.min, only.max)


Workers = Annotated[WorkersSpec, BeforeValidator(_workers, json_schema_input_type=int | WorkersSpec)]


class BatchSpec(Strict):
    """The batch sizes that Fairway may choose from, in examples: ``first`` to ``most`` for a step of all workers,
    ``local_least`` to ``local_most`` on one at once."""

    first: BatchSize
    most: BatchSize
    local_least: BatchSize = 1
    local_most: BatchSize = MOST_BATCH


class ElasticSpec(Strict):
    """What is known of a job on other numbers of workers: how fast it is, in any unit, and its batch size."""

    speedup: dict[Count, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    batch: BatchSpec | None = None


def elasticity_of(spec: ElasticSpec) -> Elasticity:
    """What a job says of itself on other numbers of workers, fewest first."""
    batch = spec.batch and BatchLimits(**spec.batch.model_dump())
    return Elasticity(tuple(sorted(spec.speedup.items())), batch)
