"""What the engine asks of executors. Every command survives repetition: it names the attempt it is about."""

from dataclasses import dataclass

from fairway.model.elastic import Batch
from fairway.model.frozen import frozen
from fairway.model.ids import AttemptId
from fairway.model.job import Job
from fairway.model.plan import Placement
from fairway.model.time import Duration, Instant


@frozen
class StartAttempt:
    """Start every task of ``placement``; an attempt that was ever started is not started again. ``batch`` is told to
    every task."""

    executor: str
    attempt: AttemptId
    job: Job
    placement: Placement
    batch: Batch | None = None


@dataclass(frozen=True, slots=True)
class StopAttempt:
    """SIGTERM, then SIGKILL after ``grace`` milliseconds; an unknown attempt is reported as ended (``NODE_LOST``),
    and will never start any more."""

    executor: str
    attempt: AttemptId
    grace: Duration


@frozen
class ForgetAttempt:
    """The end of this attempt is durable: leave it out of inventories from now on. Its logs stay."""

    executor: str
    attempt: AttemptId


@frozen
class WakeAt:
    """Send an empty batch of facts at this instant, or soon after: something is due. ``repeat``: only to send what is
    not answered by then once more, in case that it, or its answer, was lost."""

    at: Instant
    repeat: bool = False


Command = StartAttempt | StopAttempt | ForgetAttempt | WakeAt
