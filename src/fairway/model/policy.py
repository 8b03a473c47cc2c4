"""The knobs of every decision: one frozen value, validated, changed at run time by the fact ``PolicySet``.

Each capability has a part of its own. A part is a frozen dataclass whose fields all have defaults; its
``__post_init__`` refuses what cannot be with an ``InvalidField`` that names the whole path, like
``policy.preemption.protect``. Its type hints are all that a manifest (``kind: Policy``) needs: ``Duration`` is written
like ``10m``, ``Literal`` is a choice, a nested part is a mapping.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import ceil, isfinite, log2
from typing import Literal, get_args

from fairway.model.admission import Admission
from fairway.model.errors import InvalidField
from fairway.model.job import LONGEST
from fairway.model.queue import DISCIPLINES, Discipline
from fairway.model.time import DAY, HOUR, MINUTE, SECOND, Duration, Instant
from fairway.model.where import Level


def within(part: object, path: str, name: str, least: float, most: float) -> None:
    """Refuse a number of a part that is not from ``least`` to ``most``. Raises InvalidField for ``path.name``."""
    value = getattr(part, name)
    if not isfinite(value) or not least <= value <= most:
        raise InvalidField(f"{path}.{name}", f"must be from {least} to {most}, not {value}")


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
class Ordering:
    """Who comes first inside a queue. Times are milliseconds.

    ``discipline`` is that of queues that name none. A job that waits stands a priority class higher for every
    ``ageing`` it has waited, never CRITICAL; None: never. Under ``srsf`` and ``las`` a waiting
    job takes the place of running ones that rank ``margin`` times behind it and have run for ``least_run``. A job of
    which nothing is known is expected to run for ``unknown``.
    """

    discipline: Discipline = "fifo"
    ageing: Duration | None = None
    least_run: Duration = Duration(10 * MINUTE)
    margin: float = 2.0
    unknown: Duration = Duration(HOUR)

    def __post_init__(self) -> None:
        if self.discipline not in DISCIPLINES:
            raise InvalidField("policy.order.discipline", f"{self.discipline!r} is none of {', '.join(DISCIPLINES)}")
        if self.ageing is not None:
            within(self, "policy.order", "ageing", 1, LONGEST)
        within(self, "policy.order", "least_run", 0, LONGEST)
        within(self, "policy.order", "margin", 1.01, 1_000_000)
        within(self, "policy.order", "unknown", 1, LONGEST)


ScoreName = Literal["best_fit", "pack", "spread", "fragmentation", "cheapest", "fastest"]
SCORES: tuple[str, ...] = get_args(ScoreName)


TypeChoice = Literal["fastest", "max_min", "makespan"]
TYPE_CHOICES: tuple[str, ...] = get_args(TypeChoice)


@dataclass(frozen=True, slots=True)
class Placing:
    """``score``: which of the nodes that fit and will do a task goes to. ``types``: which accelerator type that it
    accepts; the fastest, or the one where it gains most for what others lose. ``move``: under the latter, jobs that run
    go on on another type where the fleet gains ``margin`` times what the restarts cost. ``together``: in what domain a
    gang that says nothing of it is to stand if it can; None: wherever it fits."""

    score: ScoreName = "best_fit"
    types: TypeChoice = "fastest"
    together: Level | None = None
    move: bool = True
    margin: float = 3.0

    @property
    def moves(self) -> bool:
        """Whether running jobs may go on on another type."""
        return self.move and self.types != "fastest"

    def __post_init__(self) -> None:
        within(self, "policy.placement", "margin", 1, 1_000_000)
        if self.types not in TYPE_CHOICES:
            raise InvalidField("policy.placement.types", f"{self.types!r} is none of {', '.join(TYPE_CHOICES)}")
        if self.score not in SCORES:
            raise InvalidField("policy.placement.score", f"{self.score!r} is none of {', '.join(SCORES)}")


@dataclass(frozen=True, slots=True)
class Swarm:
    """What many jobs that are over in no time cost their queue.

    A job counts that ends by itself less than ``within`` after its start; 0s: none does. A count halves every
    ``half_life``. Above ``allowed``, the weight of the queue, and of those above it, counts ``allowed`` / count times,
    and ``least`` times at the least.
    """

    within: Duration = Duration(10 * SECOND)
    allowed: int = 1000
    half_life: Duration = HOUR
    least: float = 0.1

    def __post_init__(self) -> None:
        within(self, "policy.fairness.swarm", "within", 0, DAY)
        within(self, "policy.fairness.swarm", "allowed", 1, 1_000_000_000)
        within(self, "policy.fairness.swarm", "half_life", SECOND, 3650 * DAY)
        within(self, "policy.fairness.swarm", "least", 0.001, 1)

    def weight(self, counts: Iterable[float]) -> float:
        """What part of its weight a queue keeps where queues at or below it have such counts: 1 where all are allowed.
        What each has beyond that adds up, so that many who keep to it cost those above them nothing."""
        beyond = sum(max(count - self.allowed, 0.0) for count in counts)
        return max(self.allowed / (self.allowed + beyond), self.least)

    def allowed_from(self, count: float, at: int) -> Instant:
        """When a count as of ``at`` is allowed, if nothing is added to it."""
        over = max(log2(max(count, 1.0) / self.allowed), 0.0)
        return Instant(at + ceil(over * self.half_life))


@dataclass(frozen=True, slots=True)
class Fairness:
    """``half_life``: in what time past use counts half. ``history``: how much the decayed average of past use counts
    beside what is used now. ``throttle``: what the weight of a queue is multiplied with while that average is above its
    guaranteed quota. ``swarm``: what many jobs that are over in no time cost."""

    half_life: Duration = Duration(DAY)
    history: float = 1.0
    throttle: float = 0.5
    swarm: Swarm = Swarm()

    def __post_init__(self) -> None:
        within(self, "policy.fairness", "throttle", 0.001, 1)
        within(self, "policy.fairness", "half_life", SECOND, 3650 * DAY)
        within(self, "policy.fairness", "history", 0, 1000)


@dataclass(frozen=True, slots=True)
class Large:
    """Nodes that are kept for large jobs, those that ask for at least ``gpus`` GPUs in all; 0: none are.

    They are ``share`` of the nodes with GPUs, of those with ``label`` (``key=value``, or ``key`` for any) where one is
    named: the largest, side by side. Smaller jobs run there if they are expected to end within ``short``; and with
    ``lend`` those that may be asked to yield, until a large job needs the room.
    """

    gpus: int = 0
    share: float = 0.25
    label: str = ""
    short: Duration = Duration(30 * MINUTE)
    lend: bool = True

    def __post_init__(self) -> None:
        within(self, "policy.backfill.large", "gpus", 0, 10_000_000)
        within(self, "policy.backfill.large", "share", 0, 1)
        within(self, "policy.backfill.large", "short", 0, LONGEST)


@dataclass(frozen=True, slots=True)
class Backfill:
    """Room that is kept for jobs that wait while others pass them. ``mode``: ``none`` keeps nothing, ``easy`` for the
    first such job, ``conservative`` for the first ``depth``. ``after``: how long a job has waited by then. ``large``:
    nodes that are kept for large jobs."""

    mode: Literal["none", "easy", "conservative"] = "easy"
    after: Duration = Duration(10 * MINUTE)
    depth: int = 8
    large: Large = Large()

    def __post_init__(self) -> None:
        within(self, "policy.backfill", "after", 0, LONGEST)
        within(self, "policy.backfill", "depth", 1, 1_000)


@dataclass(frozen=True, slots=True)
class Preemption:
    """Who may be stopped for others, how often, and what that costs.

    ``restart``: what a start costs each GPU beside the work that is lost. ``protect``: so long after it was placed a
    job is nobody's victim. ``per_job``: so often is a job a victim at most. ``per_hour``: so many jobs are stopped in
    any hour. The last three do not bind critical jobs that need the room.
    """

    restart: Duration = MINUTE
    protect: Duration = Duration(5 * MINUTE)
    per_job: int = 10
    per_hour: int = 1000

    def __post_init__(self) -> None:
        for name, most in (("restart", DAY), ("protect", DAY), ("per_job", 1_000_000), ("per_hour", 1_000_000)):
            within(self, "policy.preemption", name, 0, most)

    def exposed_from(self, placed: int) -> int:
        """The instant from which a job placed at ``placed`` is no longer protected. Instants are rounded up to a tenth
        of ``protect``, so that whoever waits for victims is tried again ten times at most and not once for each."""
        step = max(self.protect // 10, 1)
        return -(-(placed + self.protect) // step) * step

    def exposes_placed_by(self, now: int) -> int:
        """Who was placed at or before this instant is exposed at ``now``: ``exposed_from`` turned around."""
        step = max(self.protect // 10, 1)
        return now // step * step - self.protect


@dataclass(frozen=True, slots=True)
class Defrag:
    """When running work moves so that a large request fits, or so that a node is empty. Only work that keeps
    checkpoints moves.

    ``every``: how often it is looked while a large request waits, once that has waited for ``after``. ``least_run``: a
    job that has just started stays where it is. ``most_lost``: the GPU time that moves may lose for each GPU of the
    request. ``moves_per_hour``: so many jobs move in any hour, 0 for none. ``consolidate``: how often the emptiest node
    is emptied where nobody waits; None for never.
    """

    every: Duration = MINUTE
    after: Duration = Duration(5 * MINUTE)
    least_run: Duration = Duration(10 * MINUTE)
    most_lost: Duration = Duration(10 * MINUTE)
    moves_per_hour: int = 60
    consolidate: Duration | None = None

    def __post_init__(self) -> None:
        for name in ("after", "least_run", "most_lost"):
            within(self, "policy.defrag", name, 0, LONGEST)
        within(self, "policy.defrag", "every", SECOND, LONGEST)
        within(self, "policy.defrag", "moves_per_hour", 0, 1_000_000)
        if self.consolidate is not None:
            within(self, "policy.defrag", "consolidate", SECOND, LONGEST)


@dataclass(frozen=True, slots=True)
class Elastic:
    """When jobs that may shrink and keep checkpoints change their number of workers. Times are milliseconds.

    Changing it costs ``restart``. A job grows into idle capacity where that saves ``margin`` times as much and its last
    start is ``settle`` ago. A job on n of its full set of N workers is expected to run at (n / N) ^ ``scaling``. It is
    looked whether one should change whenever room becomes free, and after ``every``, while there is one that could.
    """

    grow: bool = True
    shrink: bool = True
    restart: Duration = Duration(MINUTE)
    margin: float = 3.0
    settle: Duration = Duration(10 * MINUTE)
    scaling: float = 0.9
    every: Duration = Duration(5 * MINUTE)

    def __post_init__(self) -> None:
        within(self, "policy.elastic", "restart", 0, LONGEST)
        within(self, "policy.elastic", "margin", 1, 1_000_000)
        within(self, "policy.elastic", "settle", 0, LONGEST)
        within(self, "policy.elastic", "scaling", 0.01, 1)
        within(self, "policy.elastic", "every", SECOND, LONGEST)


@dataclass(frozen=True, slots=True)
class Policy:
    """``cores_per_gpu``: how many CPU cores count as much as one GPU when lost work is compared. ``max_victims``: how
    many jobs one preemption may stop at most."""

    weights: Weights = Weights()
    cores_per_gpu: int = 16
    max_victims: int = 64
    order: Ordering = Ordering()
    admission: Admission = Admission()
    fairness: Fairness = Fairness()
    backfill: Backfill = Backfill()
    preemption: Preemption = Preemption()
    defrag: Defrag = Defrag()
    placement: Placing = Placing()
    elastic: Elastic = Elastic()

    def __post_init__(self) -> None:
        for name in ("cores_per_gpu", "max_victims"):
            within(self, "policy", name, 1, 1_000_000)
