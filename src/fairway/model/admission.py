"""What counts as a suspicious request: the thresholds of the rules in ``decide.suspect``, and which rules are off."""

from dataclasses import dataclass, fields

from fairway.model.errors import InvalidField
from fairway.model.time import DAY, HOUR, Duration

NAMES = (
    "gpus_without_cpu", "gpus_without_memory", "tiny_memory", "tiny_share", "strands_gpus", "endless_runtime",
    "estimate_over_limit", "long_grace", "spot_without_checkpoints",
)  # fmt: skip
"""The rules there are."""

OPTIONAL = ("gpus_without_memory",)
"""Asked only where ``also`` names them: memory may be left out, and then nothing limits it."""


@dataclass(frozen=True, slots=True)
class Admission:
    """``off``: rules that are not asked; ``also``: those of ``OPTIONAL`` that are.

    A task must have ``least_cpu_milli_per_gpu`` for each whole device, ``least_memory_mib_per_gpu`` if it says memory
    at all, and a share of ``least_gpu_milli``. CPU and memory for each device may be ``most_times_a_node`` what the
    best node has for each of its own. ``longest``, ``longest_grace`` and ``longest_on_spot`` (without checkpoints) are
    milliseconds.
    """

    off: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    least_cpu_milli_per_gpu: int = 200
    least_memory_mib_per_gpu: int = 64
    least_gpu_milli: int = 10
    most_times_a_node: float = 4.0
    longest: Duration = Duration(180 * DAY)
    longest_grace: Duration = Duration(HOUR)
    longest_on_spot: Duration = Duration(12 * HOUR)

    def __post_init__(self) -> None:
        for part, known in (("off", NAMES), ("also", OPTIONAL)):
            for name in getattr(self, part):
                if name not in known:
                    raise InvalidField(f"policy.admission.{part}", f"{name!r} is none of {', '.join(known)}")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in ("off", "also") and not value > 0:
                raise InvalidField(f"policy.admission.{each.name}", f"must be above 0, not {value:g}")

    def asks(self, rule: str) -> bool:
        """Whether a rule is asked."""
        return rule not in self.off and (rule not in OPTIONAL or rule in self.also)
