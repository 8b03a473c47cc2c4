"""Everything that can happen. A fact is believed by exactly one function of ``state.apply``.

Facts come from people (``JobSubmitted`` ...), from executors (``AttemptStarted``, ``AttemptEnded``, ``Progressed``,
``Measured``, ``Inventory``) and from Fairway itself (``Ruled``: a plan that was accepted). Messages of executors may be
lost, doubled, reordered or late; each carries ``seq``, which grows within an executor, and ``Inventory`` puts right
whatever was missed.
"""

from dataclasses import dataclass

from fairway.model.booking import Booking
from fairway.model.frozen import frozen
from fairway.model.ids import AttemptId, BookingId, ExecutorId, JobId, LoanId, NodeId, ServiceId
from fairway.model.job import Job
from fairway.model.loan import Loan
from fairway.model.node import Node
from fairway.model.offer import Pool
from fairway.model.phases import Cause
from fairway.model.plan import Plan
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.service import Service
from fairway.model.time import Instant


@frozen
class JobSubmitted:
    """A job was accepted."""

    job: Job


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody wants a job to end. A job that has ended, or is unknown, stays as it is."""

    job: JobId
    by: str = ""


@dataclass(frozen=True, slots=True)
class JobHeld:
    """Somebody wants a job to wait. One that runs goes on, but does not start again before it is released."""

    job: JobId
    by: str = ""


@dataclass(frozen=True, slots=True)
class JobReleased:
    """Somebody wants a job to go on: no longer held, and whatever its dependencies have come to."""

    job: JobId
    by: str = ""


@dataclass(frozen=True, slots=True)
class QueueSet:
    """A queue was declared or changed. Queues above it come into being with it."""

    queue: Queue


@dataclass(frozen=True, slots=True)
class QuotaLent:
    """Queues have agreed on a loan, or a trade. One that cannot be kept comes to nothing."""

    loan: Loan


@dataclass(frozen=True, slots=True)
class LoanEnded:
    """Somebody wants a loan to be over now. One that is over, or unknown, stays as it is."""

    loan: LoanId
    by: str = ""


@dataclass(frozen=True, slots=True)
class ServiceSet:
    """A service was declared or changed."""

    service: Service


@dataclass(frozen=True, slots=True)
class ServiceRemoved:
    """A service is no longer wanted; its replicas are stopped."""

    service: ServiceId


@dataclass(frozen=True, slots=True)
class PoolSet:
    """A pool of nodes was declared or changed."""

    pool: Pool


@dataclass(frozen=True, slots=True)
class BookingSet:
    """A queue wants devices for a time. A booking of that name that stands already stays as it is."""

    booking: Booking


@dataclass(frozen=True, slots=True)
class BookingRemoved:
    """A booking is no longer wanted."""

    booking: BookingId
    by: str = ""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Decisions follow another policy from now on. It replaces the one before as a whole."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node is there, with these totals; also when it comes back or changes size."""

    node: Node


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A node is lost: every attempt on it is written off."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class NodeCordoned:
    """Place nothing more on a node (``on=True``), or place there again."""

    node: NodeId
    on: bool = True


@frozen
class AttemptStarted:
    """An executor has started every task of an attempt."""

    attempt: AttemptId
    executor: ExecutorId
    seq: int
    at: Instant


@frozen
class Outcome:
    """How an attempt ended: ``cause`` as far as its executor can tell, exit status or signal of the first task to fail.

    ``message`` is for people: what could not be started, which task failed.
    """

    cause: Cause
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""


@frozen
class AttemptEnded:
    """Every task of an attempt has ended, or it never started."""

    attempt: AttemptId
    executor: ExecutorId
    seq: int
    at: Instant
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Progressed:
    """A program's own report: ``step`` of ``total``, and when it took its last checkpoint."""

    attempt: AttemptId
    step: int | None = None
    total: int | None = None
    checkpoint: Instant | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a training program has measured of its own steps; what is left out was not measured.

    ``batch`` examples in a step of all ``workers``, each of which adds up ``accumulate`` local batches; ``throughput``
    in examples per second; ``compute``, seconds for one local batch without the exchange of gradients; ``noise``, the
    gradient noise scale in examples: the variance of one example's gradient over the squared norm of the mean one.
    """

    attempt: AttemptId
    batch: int | None = None
    workers: int | None = None
    accumulate: int = 1
    throughput: float | None = None
    compute: float | None = None
    noise: float | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """One attempt in an inventory: running when ``ended`` is None."""

    attempt: AttemptId
    started: Instant | None
    ended: Instant | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything an executor has, complete as of ``seq``: its nodes, and the attempts it was not told to forget."""

    executor: ExecutorId
    seq: int
    nodes: tuple[Node, ...]
    attempts: tuple[Observed, ...]


@frozen
class Ruled:
    """A plan was accepted and is now the intent."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class EpochBegan:
    """A leader took over the store."""

    epoch: int


Fact = (
    JobSubmitted
    | CancelAsked
    | JobHeld
    | JobReleased
    | QueueSet
    | QuotaLent
    | LoanEnded
    | ServiceSet
    | ServiceRemoved
    | PoolSet
    | BookingSet
    | BookingRemoved
    | PolicySet
    | NodeSeen
    | NodeGone
    | NodeCordoned
    | AttemptStarted
    | AttemptEnded
    | Progressed
    | Measured
    | Inventory
    | Ruled
    | EpochBegan
)


@frozen
class Facts:
    """What became known at one instant, in order. An empty batch is a tick: only time has passed."""

    now: Instant
    items: tuple[Fact, ...] = ()
