"""Jobs: work with an end. Training, tuning trials, batch.

Every job has one or more *roles*; each role is a number of equal tasks. A plain job is one role of one task. A job of
several tasks is a *gang*: its tasks start together or not at all. A role whose ``count`` may shrink to ``min_count`` is
*elastic*. An *array* is submitted as one manifest and becomes one job per element.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from fairway.model.elastic import Elasticity
from fairway.model.ids import JobId, QueueId, ServiceId
from fairway.model.resources import Request
from fairway.model.time import HOUR, MINUTE, SECOND, Duration, Instant
from fairway.model.where import Where


class PriorityClass(IntEnum):
    """The five classes; a smaller value goes first."""

    CRITICAL = 0
    HIGH = 1
    MEDIUM = 2
    LOW = 3
    PREEMPTIBLE = 4

    @property
    def may_preempt(self) -> bool:
        """Whether a waiting job of this class may take capacity from lower classes."""
        return self <= PriorityClass.HIGH


@dataclass(frozen=True, slots=True, order=True)
class Priority:
    """A class and a number inside it; within a class the larger number goes first."""

    cls: PriorityClass = PriorityClass.MEDIUM
    number: int = 0

    def __str__(self) -> str:
        return self.cls.name.lower() + (f"{self.number:+d}" if self.number else "")


@dataclass(frozen=True, slots=True)
class Role:
    """``count`` equal tasks; runs with as few as ``min_count``. ``command`` overrides the job's."""

    name: str = "main"
    count: int = 1
    request: Request = Request()
    min_count: int | None = None
    command: tuple[str, ...] = ()

    @property
    def least(self) -> int:
        """The fewest tasks the role runs with."""
        return self.count if self.min_count is None else self.min_count


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failure of the program's own is tried again, and after how long.

    The wait before retry k (from 1) is ``backoff x 2^(k-1)``, at most ``backoff_max``. Preemption and node loss never
    count against ``limit``; a failure to start counts against ``start_limit``.
    """

    limit: int = 0
    backoff: Duration = Duration(10 * SECOND)
    backoff_max: Duration = Duration(10 * MINUTE)
    start_limit: int = 3

    def wait(self, failures: int) -> Duration:
        """Milliseconds to wait after the ``failures``-th failure, counted from 1."""
        return Duration(min(self.backoff << min(failures - 1, 30), self.backoff_max))


@dataclass(frozen=True, slots=True)
class ArrayIndex:
    """Which element of which array a job is; at most ``max_running`` of them are in line or running at a time."""

    array: str
    index: int
    size: int
    max_running: int | None = None


@dataclass(frozen=True, slots=True)
class Dependency:
    """A job that must have ended first: ``job`` is its id, or that of an array for all of its elements.

    ``when`` it must have ``succeeded``, and it does not, ``otherwise`` says what becomes of the dependent: it ends too
    (``fail``), or stays until somebody releases or cancels it (``wait``).
    """

    job: JobId
    when: Literal["succeeded", "ended"] = "succeeded"
    otherwise: Literal["fail", "wait"] = "fail"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as submitted; never changed afterwards.

    ``estimate`` is the user's guess of its run time on the fastest type it accepts; ``work`` is what it really
    takes, known only to a simulator. Times are milliseconds. ``grace`` is how long it may take from SIGTERM to its end.
    """

    id: JobId
    name: str
    queue: QueueId
    roles: tuple[Role, ...] = (Role(),)
    priority: Priority = Priority()
    user: str = ""
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    submitted: Instant = Instant(0)
    not_before: Instant | None = None
    deadline: Instant | None = None
    max_runtime: Duration | None = None
    estimate: Duration | None = None
    work: Duration | None = None
    grace: Duration = Duration(30 * SECOND)
    retry: Retry = field(default_factory=Retry)
    array: ArrayIndex | None = None
    service: ServiceId | None = None
    """The service this job is a replica of: started again whenever it ends, until the service wants fewer."""
    labels: tuple[tuple[str, str], ...] = ()
    checkpoints: bool = False
    """Whether the program keeps checkpoints: a preempted one then loses only what came after the last."""
    checkpoint_every: Duration | None = None
    """For a simulator: how often the program takes a checkpoint."""
    after: tuple[Dependency, ...] = ()
    """Jobs that must have ended before this one gets in line."""
    where: Where = Where()
    """Which nodes will do."""
    elastic: Elasticity = Elasticity()
    """What is known of it on other numbers of workers."""

    @property
    def tasks(self) -> int:
        """Tasks of a full start, over all roles."""
        return self.roles[0].count if len(self.roles) == 1 else sum(role.count for role in self.roles)

    @property
    def sizes(self) -> tuple[int, int] | None:
        """The least and the most workers of a job that may run with fewer of one role; None for any other."""
        if len(self.roles) != 1 or self.roles[0].least == self.roles[0].count:
            return None
        return self.roles[0].least, self.roles[0].count

    @property
    def resizable(self) -> bool:
        """Whether it may change its number of workers while it runs: it goes on from its checkpoint."""
        return self.checkpoints and self.service is None and self.sizes is not None

    @property
    def retypable(self) -> bool:
        """Whether it may go on on another type of accelerator: it keeps checkpoints, and accepts several."""
        return self.checkpoints and self.service is None and any(len(r.request.accelerators) > 1 for r in self.roles)

    @property
    def gang(self) -> bool:
        """True when several tasks must start together."""
        return self.tasks > 1


LONGEST: Duration = Duration(10 * 365 * 24 * HOUR)
"""No duration a user gives may be longer: a larger one is a wrong unit."""
