"""What one decision wants: actions, each with its reason. A plan says *what*; ``apply`` makes it an intent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from fairway.model.booking import BookingShort, Devices
from fairway.model.elastic import Batch
from fairway.model.frozen import frozen
from fairway.model.ids import AttemptId, BookingId, JobId, NodeId, QueueId
from fairway.model.phases import Cause
from fairway.model.reasons import Placed, Range, Refusal, StopReason
from fairway.model.time import Instant


@frozen
class TaskPlacement:
    """One task of a gang on one node: its rank, role, and the devices it gets with ``gpu_milli`` of each."""

    rank: int
    role: int
    node: NodeId
    devices: tuple[int, ...] = ()
    gpu_milli: int = 0


Placement = tuple[TaskPlacement, ...]
"""Every task of an attempt, by rank."""


@frozen
class Start:
    """Run attempt ``attempt`` on ``placement``. Its capacity is taken from now on. ``batch`` is told to a program that
    leaves its batch size to us."""

    attempt: AttemptId
    placement: Placement
    reason: Placed
    batch: Batch | None = None


@dataclass(frozen=True, slots=True)
class Starts:
    """Many starts of one task each, as columns of equal length: what a ``Start`` of each says, sooner made.

    ``devices`` are bit masks; ``left`` is three columns, what is left over of GPUs, memory and CPU.
    """

    jobs: tuple[JobId, ...]
    attempts: tuple[int, ...]
    nodes: tuple[NodeId, ...]
    devices: tuple[int, ...]
    gpu_milli: tuple[int, ...]
    policy: str
    scores: tuple[float, ...]
    left: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    candidates: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Start]:
        tasks = zip(self.jobs, self.attempts, self.nodes, self.devices, self.gpu_milli, strict=True)
        whys = zip(self.scores, *self.left, self.candidates, strict=True)
        for (job, n, node, mask, milli), (score, gpu, memory, cpu, candidates) in zip(tasks, whys, strict=True):
            placement = (TaskPlacement(0, 0, node, devices_of(mask), milli),)
            left = (("gpu", gpu), ("memory", memory), ("cpu", cpu))
            yield Start(AttemptId(job, n), placement, Placed(self.policy, score, left, candidates))


@lru_cache(maxsize=65_536)
def devices_of(mask: int) -> tuple[int, ...]:
    """The bits of a mask of devices, lowest first."""
    return tuple(bit for bit in range(mask.bit_length()) if mask >> bit & 1)


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a live attempt. Its capacity is free when its end is confirmed."""

    attempt: AttemptId
    cause: Cause
    reason: StopReason


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the room of ``placement`` for a queued job until it starts there; nobody else is placed in it.

    With a ``Stop`` of the job's own attempt, which then is one of ``victims``, the job moves: it yields, and goes on
    there."""

    job: JobId
    placement: Placement
    victims: tuple[AttemptId, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Give up a hold: its nodes are gone or its job ended."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Reserve:
    """Keep room for a queued job from ``expected.p50`` on: whoever stands behind it gets of it only what is free again
    by then. The job stays in line, and starts wherever it fits first. Replaces an earlier reservation of the job."""

    job: JobId
    placement: Placement
    expected: Range


@dataclass(frozen=True, slots=True)
class Unreserve:
    """Give up a reservation: others have come before its job."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Unplaced:
    """This queued job was tried and does not start now, and so do all that are equal to it in what they need, their
    queue and their priority class (its *group*)."""

    job: JobId
    reason: Refusal


@dataclass(frozen=True, slots=True)
class Book:
    """These devices are a booking's from now on; fewer than it asks for only where some were lost since."""

    booking: BookingId
    devices: Devices


@dataclass(frozen=True, slots=True)
class Overbooked:
    """A booking cannot be: there will not be enough."""

    booking: BookingId
    reason: BookingShort


@dataclass(frozen=True, slots=True)
class Tidy:
    """Work has been looked at that could move so that others fit: look again at ``at``, 0 for not before somebody needs
    it."""

    at: Instant


@dataclass(frozen=True, slots=True)
class Look:
    """Running jobs that could go on otherwise have been looked at, nobody waiting: look again at ``at``, or when room
    becomes free before; 0 for the latter only."""

    at: Instant


@dataclass(frozen=True, slots=True)
class Review:
    """Compare the running jobs of a queue with those that wait in it again: at ``at``, and whenever room becomes free.

    ``NEVER`` leaves only the latter; ``Instant(0)`` ends it: nobody waits there whose turn could come."""

    queue: QueueId
    at: Instant


OneAction = Start | Stop | Hold | Release | Reserve | Unreserve | Unplaced | Review | Tidy | Book | Overbooked | Look
Action = OneAction | Starts


def placed_jobs(actions: Iterable[Action]) -> Iterator[JobId]:
    """The jobs that are started, or that room is held for."""
    for action in actions:
        if isinstance(action, Starts):
            yield from action.jobs
        elif isinstance(action, Start):
            yield action.attempt.job
        elif isinstance(action, Hold):
            yield action.job


@frozen
class Plan:
    """A batch of actions, in the order in which they were decided.

    ``tried``: every job that might have started was tried; those that still wait are refused until something changes.
    A plan that says nothing is false.
    """

    actions: tuple[Action, ...] = ()
    tried: bool = False

    def each(self) -> Iterator[OneAction]:
        """Every action, those in columns one by one."""
        for action in self.actions:
            if isinstance(action, Starts):
                yield from action
            else:
                yield action

    @property
    def size(self) -> int:
        """How many actions there are in all."""
        return sum(len(action) if isinstance(action, Starts) else 1 for action in self.actions)

    def __bool__(self) -> bool:
        return self.tried or bool(self.actions)
