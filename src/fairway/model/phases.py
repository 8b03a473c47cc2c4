"""The phases of a job and of its current attempt, and why attempts stop.

::

    submit ──> WAITING ──time, back-off──> QUEUED ──Start──> STARTING ──> RUNNING ──> SUCCEEDED
                  ^                          ^  ^               │            │   └──> FAILED
                  │                          │  └── preempted ──┴─ STOPPING ─┘   └──> CANCELLED
                  └── retry after back-off ──┴────────── node lost ───┘
"""

from enum import StrEnum


class JobPhase(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    """Not to be placed yet: held, its dependencies or its start time not reached, back-off, its array's limit."""
    QUEUED = "queued"
    """May be placed now."""
    STARTING = "starting"
    """Placed; its executor has not confirmed the start."""
    RUNNING = "running"
    STOPPING = "stopping"
    """Told to stop; its capacity is not free yet."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__  # an enumeration's own is written in Python, and this is asked for all the time

    @property
    def ended(self) -> bool:
        """True when nothing more will happen to the job."""
        return self in _ENDED

    @property
    def live(self) -> bool:
        """True while an attempt of the job holds capacity."""
        return self in _LIVE


_ENDED = frozenset({JobPhase.SUCCEEDED, JobPhase.FAILED, JobPhase.CANCELLED})
_LIVE = frozenset({JobPhase.STARTING, JobPhase.RUNNING, JobPhase.STOPPING})


class Cause(StrEnum):
    """Why an attempt ended, or was told to."""

    SUCCEEDED = "succeeded"
    """Exit status 0."""
    FAILED = "failed"
    """The program's own failure: a non-zero exit status or a signal nobody of ours sent."""
    PREEMPTED = "preempted"
    TIMED_OUT = "timed_out"
    """Ran longer than its ``max_runtime``."""
    CANCELLED = "cancelled"
    NODE_LOST = "node_lost"
    """Its node went away, or its executor no longer knows it."""
    START_FAILED = "start_failed"
    """Its executor could not start it: no such program, no such directory."""
    RESIZED = "resized"
    """Goes on as its next attempt, with more workers or fewer."""
    DRAINED = "drained"
    """Moved off a node that is being emptied."""
    MOVED = "moved"
    """Told to yield so that it goes on elsewhere: room is held for it there."""
    DEPENDENCY = "dependency"
    """A job that it was to come after did not succeed."""


class Reach(StrEnum):
    """Whether a node can be given work."""

    UP = "up"
    LOST = "lost"
    """Not heard of; what ran there is written off."""


class Lifecycle(StrEnum):
    """How a node is paid for, and so how it may go away."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    RESERVED = "reserved"
