"""What faces show: one frozen value for each job, queue, node and service, as of the turn that last changed it.

Times are milliseconds. Values that grow while nothing happens (a wait, a run, GPU time) are given as of ``as_of``, and
exactly for any later instant by the methods that take ``now``.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from fairway.model.booking import Booking, Devices
from fairway.model.ids import ExecutorId, JobId, NodeId, PoolId, QueueId, ServiceId
from fairway.model.node import Node
from fairway.model.phases import Cause, JobPhase, Reach
from fairway.model.policy import Swarm
from fairway.model.queue import Discipline, RollingQuota
from fairway.model.resources import Amount
from fairway.model.time import Instant, format_duration, format_instant
from fairway.state.swarm import faded


class Training(NamedTuple):
    """What is known of a job on other numbers of workers. ``speedup``: what that is taken from. Numbers are 0 where
    nobody told them; ``refused`` says why the last report was not believed."""

    speedup: str
    batch: int = 0
    """Examples in a step, as reported."""
    told_batch: int = 0
    """The same as its newest attempt was told."""
    throughput: float = 0.0
    """Examples per second."""
    noise: float = 0.0
    """Gradient noise scale, in examples."""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job and its newest attempt."""

    id: JobId
    name: str
    queue: QueueId
    user: str
    priority: str
    phase: JobPhase
    attempt: int
    """Number of the newest attempt; 0 before the first."""
    tasks: int
    request: str
    """What a full start needs, as a sentence fragment."""
    as_of: Instant
    submitted: Instant
    queued: Instant
    """When it was last put in line."""
    reason: str = ""
    """Why it waits or stops, as a sentence; empty while it starts or runs."""
    tier: str = ""
    """The reason's tier (``no room now`` ...); empty without a reason."""
    until: Instant | None = None
    """When a waiting job is put in line."""
    first_started: Instant | None = None
    started: Instant | None = None
    """When the newest attempt was confirmed to run."""
    ended: Instant | None = None
    nodes: tuple[NodeId, ...] = ()
    devices: tuple[str, ...] = ()
    """Devices of the live attempt, as ``node:index``."""
    gpu_milli: int = 0
    """Milli-GPUs that the live attempt holds, or that a full start asks for."""
    failures: int = 0
    preemptions: int = 0
    lost_gpu_ms: int = 0
    """Milli-GPU milliseconds of work lost to preemption and lost nodes."""
    gpu_ms: int = 0
    """Milli-GPU milliseconds used, the live attempt included, as of ``as_of``."""
    step: int = 0
    total: int = 0
    checkpoint_at: Instant | None = None
    deadline: Instant | None = None
    exit_code: int | None = None
    signal: int | None = None
    cause: Cause | None = None
    """Of the end of the job; of a live job, of its last attempt that ended."""
    message: str = ""
    array: str = ""
    """``name[index]`` of an array's element."""
    service: ServiceId | None = None
    virtual: bool = False
    """Whether it runs on devices that are declared rather than found."""
    latest_start: Instant | None = None
    """With a deadline: when it has to run, from then on without a break, to meet it, as far as is known."""
    training: Training | None = None
    """Of an elastic job, and of one that has measured something."""

    @property
    def wait_ms(self) -> int:
        """``wait_at(as_of)``."""
        return self.wait_at(self.as_of)

    @property
    def run_ms(self) -> int:
        """``run_at(as_of)``."""
        return self.run_at(self.as_of)

    def wait_at(self, now: int) -> int:
        """From submission to its first start, or to its end or ``now`` where it never started."""
        until = self.first_started or self.ended or now
        return max(until - self.submitted, 0)

    def late_at(self, now: int) -> int:
        """By how much it will miss its deadline at the least; 0 while it can meet it, and when it has ended."""
        if self.latest_start is None or self.phase.ended:
            return 0
        return max((self.as_of if self.phase.live else now) - self.latest_start, 0)

    def run_at(self, now: int) -> int:
        """How long its newest attempt has run, or ran."""
        return max((self.ended or now) - self.started, 0) if self.started else 0

    def gpu_ms_at(self, now: int) -> int:
        """Milli-GPU milliseconds used up to ``now``."""
        return self.gpu_ms + (self.gpu_milli * max(now - self.as_of, 0) if self.phase.live else 0)


class Swarming(NamedTuple):
    """So many jobs of a queue were over in no time that it comes later than its weight says."""

    rules: Swarm
    counts: tuple[float, ...]
    """Of the queues at or below it that have too many, as of ``at``."""
    at: Instant

    @property
    def until(self) -> Instant:
        """When all of them are allowed, if nothing is added to them."""
        return max(self.rules.allowed_from(count, self.at) for count in self.counts)

    def counts_at(self, now: int) -> list[float]:
        """The counts that are still too large."""
        left = (faded((count, self.at), max(now, self.at), self.rules.half_life) for count in self.counts)
        return [count for count in left if count > self.rules.allowed]

    def weight_at(self, now: int) -> float:
        """What part of its weight counts."""
        return self.rules.weight(self.counts_at(now))


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue; everything counted includes the queues below it."""

    id: QueueId
    weight: float
    quota: Amount
    """What it was declared to be guaranteed; ``guaranteed`` counts loans in."""
    limit: Amount
    """The most it may use now; ``None`` where there is no limit."""
    used: Amount
    pending: int
    running: int
    max_pending: int
    as_of: Instant
    gpu_ms: int = 0
    """Milli-GPU milliseconds used, live attempts included, as of ``as_of``."""
    own_pending: int = 0
    """Jobs of this very queue that wait: what ``max_pending`` limits."""
    discipline: Discipline | None = None
    rolling: RollingQuota | None = None
    rolling_gpu_ms: int = 0
    """Milli-GPU milliseconds spent in the window of its rolling quota, as of ``as_of``."""
    share: float = 0.0
    """Its weighted dominant share, past use included, as of ``as_of``: whoever has least of its siblings comes next."""
    average_gpu_milli: int = 0
    """Decayed average of the milli-GPUs it used, as of ``as_of``."""
    lend: Amount = field(default_factory=Amount)
    """What others may use of its quota while it is idle; ``None`` for all of it."""
    guaranteed: Amount = field(default_factory=Amount)
    """What it is guaranteed now."""
    declared_limit: Amount = field(default_factory=Amount)
    """What it may use when nothing is lent."""
    guaranteed_gpu_ms: int = 0
    """Milli-GPU milliseconds that it was guaranteed, as of ``as_of``: whatever it used of them."""
    notes: tuple[str, ...] = ()
    """What else is to be known of it now, as sentences."""
    swarm: Swarming | None = None
    """Too many of its jobs were over in no time, as of ``as_of``; None where they were not."""

    @property
    def borrowed_gpu_milli(self) -> int:
        """Milli-GPUs used beyond its own quota."""
        return max((self.used.gpu_milli or 0) - (self.guaranteed.gpu_milli or 0), 0)

    """None: the policy's."""

    def swarm_at(self, now: int) -> Swarming | None:
        """What still lowers its weight."""
        return self.swarm if self.swarm and self.swarm.counts_at(now) else None

    def notes_at(self, now: int) -> tuple[str, ...]:
        """What else is to be known of it, as sentences: of a waiting job's queue, why it comes later than it might."""
        swarm = self.swarm_at(now)
        return (*self.notes, swarm_note(swarm, self.id, now)) if swarm else self.notes

    def gpu_ms_at(self, now: int) -> int:
        """Milli-GPU milliseconds used up to ``now``."""
        return self.gpu_ms + (self.used.gpu_milli or 0) * max(now - self.as_of, 0)

    def gpu_hours_at(self, now: int) -> float:
        """GPU-hours used up to ``now``."""
        return self.gpu_ms_at(now) / 3_600_000_000

    def guaranteed_gpu_hours_at(self, now: int) -> float:
        """GPU-hours guaranteed up to ``now``."""
        since = (self.guaranteed.gpu_milli or 0) * max(now - self.as_of, 0)
        return (self.guaranteed_gpu_ms + since) / 3_600_000_000


def swarm_note(swarm: Swarming, queue: QueueId, now: int) -> str:
    """Why a queue comes later than its weight says, as a sentence."""
    rules, counts = swarm.rules, swarm.counts_at(now)
    return (
        f"queue {queue or '(root)'} comes later: {sum(counts):.0f} of its jobs ended less than "
        f"{format_duration(rules.within)} after their start lately, {rules.allowed} "
        f"{'are' if len(counts) == 1 else 'of each queue are'} allowed, so {rules.weight(counts):.2f} of its weight "
        f"counts; all of it from {format_instant(swarm.until)} UTC on, if no more do"
    )


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node. ``total`` and ``free`` are in the order of ``resources.FLAT``."""

    id: NodeId
    executor: ExecutorId
    total: tuple[int, ...]
    free: tuple[int, ...]
    gpu_type: str
    gpu_memory_mib: int
    devices_free: tuple[int, ...]
    """Free milli-GPUs of each device."""
    virtual: bool
    reach: Reach
    cordoned: bool
    jobs: tuple[JobId, ...]
    spec: Node
    """As its executor reported it: where it stands, its labels and taints, what it costs."""
    pool: PoolId | None = None


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service and how many of its replicas run."""

    id: ServiceId
    queue: QueueId
    replicas: int
    """How many it wants."""
    running: int
    jobs: tuple[JobId, ...]


@dataclass(frozen=True, slots=True)
class BookingStatus:
    """A booking and what became of it."""

    booking: Booking
    devices: Devices
    missing: int
    """Devices, or nodes, that it has not got, or has no more."""
    refused: str = ""
    """Why it cannot be; empty where it stands, or is still looked at."""
    asked: bool = False
    """Whether devices have not been looked for yet."""

    def phase_at(self, now: int) -> str:
        """``asked``, ``refused``, ``booked``, or ``active`` from its start on."""
        if self.refused:
            return "refused"
        return "asked" if self.asked else "active" if now >= self.booking.start else "booked"
