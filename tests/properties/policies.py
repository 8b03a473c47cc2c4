"""Random policies, queues and bookings: any that make sense on a cluster of a few nodes and some hours."""

from random import Random

from fairway.model.booking import Booking
from fairway.model.ids import BookingId, QueueId
from fairway.model.policy import (
    SCORES,
    TYPE_CHOICES,
    Backfill,
    Defrag,
    Elastic,
    Fairness,
    Large,
    Ordering,
    Placing,
    Policy,
    Preemption,
    Swarm,
)
from fairway.model.queue import DISCIPLINES, Queue, RollingQuota
from fairway.model.resources import WHOLE, Amount
from fairway.model.time import HOUR, MINUTE, Duration, Instant
from fairway.model.where import Level

LEVELS = (Level.NODE, Level.ISLAND, Level.RACK, Level.ZONE)


def a_policy(rng: Random) -> Policy:
    """Any policy that makes sense on a cluster of a few nodes and some hours."""
    return Policy(
        max_victims=rng.choice((64, 64, 64, 3)),
        cores_per_gpu=rng.choice((4, 16)),
        order=_ordering(rng),
        fairness=Fairness(
            half_life=Duration(rng.choice((HOUR, 24 * HOUR))),
            history=rng.choice((0.0, 1.0, 3.0)),
            throttle=rng.choice((0.5, 1.0)),
            swarm=a_swarm(rng),
        ),
        backfill=Backfill(
            mode=rng.choice(("none", "easy", "easy", "conservative")),
            after=Duration(rng.choice((0, 10, 30)) * MINUTE),
            depth=rng.choice((1, 2, 8)),
            large=Large(rng.choice((2, 4)), rng.choice((0.3, 0.6))) if rng.random() < 0.08 else Large(),
        ),
        preemption=Preemption(
            restart=Duration(rng.choice((0, 1, 5)) * MINUTE),
            protect=Duration(rng.choice((0, 5, 30)) * MINUTE),
            per_job=rng.choice((1, 3, 10)),
            per_hour=rng.choice((1, 4, 1000)),
        ),
        defrag=_defrag(rng),
        placement=Placing(
            score=rng.choice((*("best_fit",) * 4, *SCORES)),  # type: ignore[arg-type]
            types=rng.choice(("fastest", *TYPE_CHOICES)),  # type: ignore[arg-type]
            together=rng.choice((None, None, None, *LEVELS)),
        ),
        elastic=_elastic(rng),
    )


def _ordering(rng: Random) -> Ordering:
    return Ordering(
        discipline=rng.choice(("fifo", *DISCIPLINES, "las")),
        ageing=rng.choice((None, None, HOUR)),
        least_run=Duration(rng.choice((0, 5, 20)) * MINUTE),
        margin=rng.choice((1.2, 2.0)),
    )


def _defrag(rng: Random) -> Defrag:
    return Defrag(
        every=Duration(rng.choice((1, 10)) * MINUTE),
        after=Duration(rng.choice((0, 5)) * MINUTE),
        least_run=Duration(rng.choice((0, 10)) * MINUTE),
        most_lost=Duration(rng.choice((2, 30)) * MINUTE),
        moves_per_hour=rng.choice((0, 2, 60)),
        consolidate=rng.choice((None, None, None, Duration(30 * MINUTE))),
    )


def _elastic(rng: Random) -> Elastic:
    return Elastic(
        grow=rng.random() < 0.8,
        shrink=rng.random() < 0.8,
        margin=rng.choice((1.0, 3.0)),
        settle=Duration(rng.choice((0, 10)) * MINUTE),
        scaling=rng.choice((0.5, 0.9, 1.0)),
    )


def a_swarm(rng: Random) -> Swarm:
    """With so few jobs an hour is over in no time, too."""
    within, half_life = rng.choice((0, MINUTE, 10 * MINUTE, HOUR)), rng.choice((10 * MINUTE, HOUR, 12 * HOUR))
    return Swarm(Duration(within), rng.choice((1, 1, 3, 1000)), Duration(half_life), rng.choice((0.1, 0.5)))


def a_queue(rng: Random, name: str) -> Queue:
    """A queue with or without a quota, a limit to borrowing, a rolling quota and a discipline of its own."""
    gpus = rng.choice((None, 0, 1, 2, 4))
    borrow = rng.choice((None, None, 0, 1, 2, 4))
    cores = rng.choice((None, None, None, 8))
    rolling = RollingQuota(rng.choice((1, 4, 16)) * WHOLE * HOUR, Duration(rng.choice((2, 12)) * HOUR))
    return Queue(
        QueueId(name),
        rng.choice((0.5, 1.0, 1.0, 2.0)),
        quota=Amount(gpu_milli=_milli(gpus), cpu_milli=_milli(cores)),
        borrow=Amount(gpu_milli=_milli(borrow)),
        discipline=rng.choice((None, None, None, *DISCIPLINES)),
        lend=Amount(gpu_milli=_milli(rng.choice((None, None, None, 0, 1)))),
        rolling=rolling if rng.random() < 0.15 else None,
    )


def a_booking(rng: Random, name: str, queue: QueueId, now: Instant) -> Booking:
    """Devices, or a whole node, for a queue for a while."""
    start = Instant(now + rng.choice((0, rng.randint(1, HOUR))))
    whole = rng.random() < 0.3
    return Booking(
        BookingId(name),
        queue,
        start,
        Instant(start + rng.randint(10 * MINUTE, 2 * HOUR)),
        gpus=0 if whole else rng.choice((1, 1, 2)),
        nodes=int(whole),
        grace=Duration(rng.choice((0, 2)) * MINUTE),
        flexible=rng.random() < 0.4,
        idle_for=Duration(20 * MINUTE) if rng.random() < 0.3 else None,
    )


def _milli(amount: int | None) -> int | None:
    return None if amount is None else amount * 1000
