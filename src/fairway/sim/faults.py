"""What may go wrong in a simulated world, how often, and for how long. Every kind is drawn from its own seeded stream.

================== ============================================================================================
``lost``           share of messages, facts and commands alike, that never arrive
``duplicated``     share of messages that arrive twice, the second time up to ``late_by`` later
``reordered``      share of messages that later ones overtake, by up to ``reordered_by``
``late``           share of messages that come up to ``late_by`` late
``node_loss``      times an hour that a node dies, with all that runs on it, and comes back empty
``partition``      times an hour that a site is cut off: its nodes are declared gone while its work runs on; then it
                   heals, and what it had to say comes late
``slow_starts``    share of attempts that take up to ``slow_by`` to start
``failing_starts`` share of attempts that cannot be started
``clock_steps``    times an hour that a clock, a site's or the control plane's, steps back by up to ``step_by``
``crash``          share of steps (remember, decide, commit, send) at which the control plane dies; what it had not
                   committed is gone, and it is started again from its journal
================== ============================================================================================
"""

from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any

from fairway.model.errors import InvalidField
from fairway.model.time import MINUTE, SECOND, Duration, Instant, parse_duration
from fairway.sim.site import StartLuck

KINDS = (
    "lost", "duplicated", "reordered", "late", "node_loss", "partition", "slow_starts", "failing_starts", "clock_steps",
    "crash",
)  # fmt: skip
"""Every kind of fault: each is a field of ``Faults`` and off at 0."""

PER_HOUR = frozenset({"node_loss", "partition", "clock_steps"})
"""Kinds whose rate is a number of times an hour; the others are shares between 0 and 1."""


_SECONDS = Duration(2 * SECOND)
_MINUTES = Duration(5 * MINUTE)


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates by kind, 0 for off, and how long things last. After ``until`` nothing goes wrong any more.

    Without an ``until`` it never ends, and a job that is longer than the time between two losses may never end either.
    """

    lost: float = 0.0
    duplicated: float = 0.0
    reordered: float = 0.0
    late: float = 0.0
    node_loss: float = 0.0
    partition: float = 0.0
    slow_starts: float = 0.0
    failing_starts: float = 0.0
    clock_steps: float = 0.0
    crash: float = 0.0
    until: Instant | None = None
    reordered_by: Duration = _SECONDS
    late_by: Duration = _MINUTES
    outage: Duration = _MINUTES
    """How long a node is away, and a site cut off, at most."""
    slow_by: Duration = MINUTE
    step_by: Duration = MINUTE
    downtime: Duration = MINUTE
    """How long the control plane is away after a crash, at most."""

    def __post_init__(self) -> None:
        for kind in KINDS:
            rate, most = getattr(self, kind), None if kind in PER_HOUR else 1.0
            if not (rate >= 0 and (most is None or rate <= most)):
                limit = "0 or more, in times an hour" if most is None else "a share between 0 and 1"
                raise InvalidField(f"faults.{kind}", f"must be {limit}, not {rate}")

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in KINDS)

    def told(self) -> str:
        """The kinds that are on, with their rates, as ``parse_faults`` reads them."""
        return ",".join(f"{kind}={rate:g}" for kind in KINDS if (rate := getattr(self, kind))) or "none"

    def only(self, *kinds: str) -> "Faults":
        """The same with every other kind off."""
        return replace(self, **{kind: 0.0 for kind in KINDS if kind not in kinds})


ALL = Faults(
    lost=0.01,
    duplicated=0.01,
    reordered=0.05,
    late=0.01,
    node_loss=0.05,
    partition=0.005,
    slow_starts=0.05,
    failing_starts=0.005,
    clock_steps=0.1,
    crash=0.000005,
)
"""A bad year in every week: what ``--faults all`` means."""


def parse_faults(text: str) -> Faults:
    """``none``, ``all``, or kinds with their rates: ``lost=0.01,node_loss=0.5,outage=10m``. Raises InvalidField."""
    if text in ("", "none"):
        return Faults()
    given: dict[str, Any] = {}
    base = Faults()
    known = {field.name for field in fields(Faults)}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name == "all" and not value:
            base = ALL
        elif name not in known:
            raise InvalidField("faults", f"{name!r} is none of all, {', '.join(sorted(known))}")
        elif name in KINDS:
            given[name] = _rate(name, value) if value else getattr(ALL, name)
        else:
            given[name] = parse_duration(value, f"faults.{name}")
    return replace(base, **given)


def _rate(kind: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InvalidField(f"faults.{kind}", f"{value!r} is not a number") from None


class ControlPlaneCrash(Exception):
    """The simulated control plane dies here. Raised by the world and its journal, caught by who runs the loop."""


class Fate:
    """Draws what goes wrong. Each kind has a stream of its own: switching one off leaves the others as they were.

    A seed gives the same draws in every process.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self._rng = {kind: Random(f"{seed}/{kind}") for kind in KINDS}

    def active(self, now: int) -> bool:
        """Whether anything may go wrong at ``now``."""
        return self.faults.until is None or now < self.faults.until

    def strikes(self, kind: str, now: int) -> bool:
        """Whether a share-kind strikes this time."""
        rate = getattr(self.faults, kind)
        return rate > 0 and self.active(now) and self._rng[kind].random() < rate

    def upto(self, kind: str, most: int) -> int:
        """Between 1 ms and ``most``."""
        return self._rng[kind].randint(1, max(most, 1))

    def pick(self, kind: str, many: int) -> int:
        """An index below ``many``."""
        return self._rng[kind].randrange(many)

    def next_time(self, kind: str, now: int) -> Instant | None:
        """When a times-an-hour-kind strikes next; None for never."""
        rate = getattr(self.faults, kind)
        if rate <= 0:
            return None
        at = now + int(self._rng[kind].expovariate(rate / 3_600_000)) + 1
        return Instant(at) if self.active(at) else None

    def deliveries(self, now: int) -> list[int]:
        """How late a message arrives, in milliseconds, once for every time it does: ``[0]`` when all is well."""
        if not self.active(now):
            return [0]
        faults, delay = self.faults, 0
        if self.strikes("reordered", now):
            delay += self.upto("reordered", faults.reordered_by)
        if self.strikes("late", now):
            delay += self.upto("late", faults.late_by)
        times = [] if self.strikes("lost", now) else [delay]
        if self.strikes("duplicated", now):
            times.append(delay + self.upto("duplicated", faults.late_by))
        return times

    def start(self, now: int, delay: int) -> StartLuck:
        """How a start goes that would take ``delay``."""
        if self.strikes("slow_starts", now):
            delay += self.upto("slow_starts", self.faults.slow_by)
        return StartLuck(delay, self.strikes("failing_starts", now))

    def dies_here(self, now: int) -> bool:
        """Whether the control plane dies at this step."""
        return self.strikes("crash", now)
