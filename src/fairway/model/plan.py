"""What one decision wants: actions, each with its reason. A plan says *what*; ``apply`` makes it an intent."""

from dataclasses import dataclass

from fairway.model.ids import AttemptId, JobId, NodeId, QueueId
from fairway.model.phases import Cause
from fairway.model.reasons import Placed, Refusal, StopReason
from fairway.model.time import Instant


@dataclass(frozen=True, slots=True)
class TaskPlacement:
    """One task of a gang on one node: its rank, role, and the devices it gets with ``gpu_milli`` of each."""

    rank: int
    role: int
    node: NodeId
    devices: tuple[int, ...] = ()
    gpu_milli: int = 0


Placement = tuple[TaskPlacement, ...]
"""Every task of an attempt, by rank."""


@dataclass(frozen=True, slots=True)
class Start:
    """Run attempt ``attempt`` on ``placement``. Its capacity is taken from now on."""

    attempt: AttemptId
    placement: Placement
    reason: Placed


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a live attempt. Its capacity is free when its end is confirmed."""

    attempt: AttemptId
    cause: Cause
    reason: StopReason


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the room of ``placement`` for a queued job until it starts there; nobody else is placed in it."""

    job: JobId
    placement: Placement
    victims: tuple[AttemptId, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Give up a hold: its nodes are gone or its job ended."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Unplaced:
    """This queued job was tried and does not start now, and so do all that are equal to it in what they need, their
    queue and their priority class (its *group*)."""

    job: JobId
    reason: Refusal


@dataclass(frozen=True, slots=True)
class Review:
    """Compare the running jobs of a queue with those that wait in it again: at ``at``, and whenever room becomes free.

    ``NEVER`` leaves only the latter; ``Instant(0)`` ends it: nobody waits there whose turn could come."""

    queue: QueueId
    at: Instant


Action = Start | Stop | Hold | Release | Unplaced | Review


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch of actions, in the order in which they were decided.

    ``tried``: every job that might have started was tried; those that still wait are refused until something changes.
    A plan that says nothing is false.
    """

    actions: tuple[Action, ...] = ()
    tried: bool = False

    def __bool__(self) -> bool:
        return self.tried or bool(self.actions)
