"""The knobs of a decision: frozen, validated, few."""

from dataclasses import dataclass, fields

from fairway.model.errors import InvalidField


@dataclass(frozen=True, slots=True)
class Weights:
    """How much a resource that would be left over counts against a node in ``best_fit``. They add up to 1."""

    gpu: float = 0.5
    memory: float = 0.3
    cpu: float = 0.2

    def __post_init__(self) -> None:
        values = [getattr(self, field.name) for field in fields(self)]
        if min(values) < 0 or abs(sum(values) - 1) > 1e-9:
            raise InvalidField("policy.weights", f"must be at least 0 and add up to 1, not {sum(values):g}")


@dataclass(frozen=True, slots=True)
class Policy:
    """``cores_per_gpu``: how many CPU cores count as much as one GPU when lost work is compared. ``max_victims``: how
    many jobs one preemption may stop at most."""

    weights: Weights = Weights()
    cores_per_gpu: int = 16
    max_victims: int = 64

    def __post_init__(self) -> None:
        for name in ("cores_per_gpu", "max_victims"):
            if getattr(self, name) < 1:
                raise InvalidField(f"policy.{name}", f"must be at least 1, not {getattr(self, name)}")
