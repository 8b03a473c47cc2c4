"""What every refusal and every decision says: one sentence with its numbers, in one of a few tiers."""

from typing import Any, get_args

import pytest

from fairway.model.booking import BookedFor, KeptForLarge, KeptForQueue, YieldsToLarge
from fairway.model.errors import ERRORS, FairwayError, InvalidField
from fairway.model.ids import BookingId, JobId, NodeId, QueueId
from fairway.model.job import Priority, PriorityClass
from fairway.model.reasons import (
    ArrayFull,
    Asked,
    AwaitingReservation,
    AwaitingVictims,
    Invalid,
    Kept,
    KeptBack,
    KeptFree,
    NeverFits,
    NoRoom,
    OverLimit,
    OverRolling,
    Placed,
    PreemptedBy,
    Range,
    RanTooLong,
    ReclaimedBy,
    Refusal,
    WaitingFor,
    WaitingUntil,
    Yielding,
)
from fairway.model.time import HOUR, Instant

HIGH = Priority(PriorityClass.HIGH)

SAID: list[tuple[Any, str]] = [
    (Invalid("roles", "needs one"), "invalid roles: needs one"),
    (
        NeverFits("8 GPU", "4 H100 on n1", "gpus"),
        "never fits: needs 8 GPU, the largest there is: 4 H100 on n1 (short of GPUs)",
    ),
    (
        OverLimit(QueueId("a/b"), "gpu_milli", 500, 4000, 4000),
        "over quota: queue a/b uses 4 of 4 GPUs, this needs 0.5 more",
    ),
    (
        OverLimit(QueueId(""), "memory_mib", 10, 5, 12),
        "over quota: queue (root) uses 5 MiB of 12 MiB memory, this needs 10 MiB more",
    ),
    (WaitingUntil(Instant(5), "not_before"), "waiting for its start time"),
    (WaitingUntil(Instant(5), "back_off", 2), "backing off after failure 2"),
    (WaitingFor((JobId("j1"),)), "waiting for j1 to end"),
    (WaitingFor((JobId("j1"), JobId("j2"), JobId("j3")), 4), "waiting for j1, j2, j3 and 4 more to end"),
    (
        WaitingFor((JobId("j1"),), failed=JobId("j1")),
        "waiting: j1 did not succeed; release it to run all the same, or cancel it",
    ),
    (ArrayFull("sweep-3", 4), "waiting for its array: at most 4 of sweep-3 at a time"),
    (Kept("ada"), "held by ada"),
    (Kept(), "held"),
    (
        NoRoom("8 GPU", "4 H100 on n1", "gpus", holders=(JobId("j1"), JobId("j2"))),
        "no room now: needs 8 GPU, largest free 4 H100 on n1 (short of GPUs); held by j1, j2",
    ),
    (
        NoRoom("2 x (8 GPU)", "8 H100 on n1", "gpus", 1, 2),
        "no room now: needs 2 x (8 GPU), largest free 8 H100 on n1 (short of GPUs); room for 1 of its 2 tasks",
    ),
    (
        KeptBack("gpu_milli", 2000, 4000, 1000, QueueId("dev")),
        "over quota: 4 idle GPUs are kept for those to whom they are guaranteed (dev), and 1 left for others; "
        "this needs 2",
    ),
    (
        OverRolling(QueueId("dev"), 158_400_000_000, 158_400_000_000, 24 * HOUR, Instant(3 * HOUR), Instant(HOUR)),
        "over quota: queue dev has spent 44 of 44 GPU-hours in 1d (grace included); frees in 2h at the earliest",
    ),
    (Yielding(JobId("j1"), HIGH), "yielding to j1 (high)"),
    (
        AwaitingVictims((JobId("j1"), JobId("j2")), (NodeId("n1"),)),
        "no room now: starts on n1 when j1, j2 stopped",
    ),
    (
        AwaitingReservation((NodeId("n1"), NodeId("n2")), Range(Instant(0), Instant(HOUR))),
        "waiting for its reservation on n1, n2, expected 1970-01-01 00:00 to 01:00 UTC",
    ),
    (
        AwaitingReservation(tuple(NodeId(f"n{i}") for i in range(6)), Range(Instant(HOUR), Instant(HOUR))),
        "waiting for its reservation on n0, n1, n2, n3 and 2 more, expected 1970-01-01 01:00 UTC",
    ),
    (
        KeptFree("1 GPU", JobId("j1"), Instant(25 * HOUR)),
        "waiting behind the reservation of j1: needs 1 GPU, and may run beyond 1970-01-02 01:00 UTC",
    ),
    (
        KeptForQueue("1 GPU", BookingId("night"), QueueId("a"), Instant(HOUR), Instant(2 * HOUR)),
        "kept for reservation night of queue a, 1970-01-01 01:00 until 1970-01-01 02:00 UTC: needs 1 GPU",
    ),
    (
        KeptForLarge("2 GPU", 16),
        "kept for jobs of 16 GPUs and more: needs 2 GPU, and may run too long for that",
    ),
    (
        YieldsToLarge("j1", 16, 60_000, 1000),
        "j1 needs room, and its nodes are kept for jobs of 16 GPUs and more; loses 1m x 1 GPU",
    ),
    (
        BookedFor(BookingId("night"), QueueId("a"), Instant(HOUR), 60_000, 1000),
        "reservation night of queue a, from 1970-01-01 01:00 UTC; loses 1m x 1 GPU",
    ),
    (
        BookedFor(BookingId("night"), QueueId("a"), Instant(HOUR), 60_000, 0, "j1"),
        "reservation night of queue a, j1 needs it; loses 1m",
    ),
    (
        Placed("best_fit", 0.25, (("gpu", 0.5), ("cpu", 0.0)), 3),
        "best_fit score 0.250 of 3 that fit; left over: gpu 50%, cpu 0%",
    ),
    (PreemptedBy(JobId("j1"), HIGH, 2_400_000, 8000), "higher priority j1 (high); loses 40m x 8 GPU"),
    (PreemptedBy(JobId("j1"), HIGH, 1000, 0), "higher priority j1 (high); loses 1s"),
    (
        ReclaimedBy(JobId("j1"), HIGH, QueueId("a"), QueueId("b"), 2000, 60_000, 1000),
        "reclaimed by j1 within the quota of a; b had borrowed 2 GPU; loses 1m x 1 GPU",
    ),
    (RanTooLong(3_600_000), "ran longer than its max_runtime of 1h"),
    (Asked("ada"), "asked by ada"),
    (Asked(""), "asked for"),
]


@pytest.mark.parametrize(("reason", "sentence"), SAID, ids=[type(reason).__name__ for reason, _ in SAID])
def test_a_reason_is_a_sentence(reason: Any, sentence: str) -> None:
    assert str(reason) == sentence


def test_every_refusal_has_a_tier() -> None:
    tiers = {kind.__name__: kind.tier for kind in get_args(Refusal)}
    assert set(tiers.values()) == {"invalid", "never fits", "over quota", "waiting", "no room now", "yielding"}
    assert {type(reason) for reason, _ in SAID} >= set(get_args(Refusal))


def test_every_error_has_a_code_of_its_own_and_a_status_for_scripts() -> None:
    assert all(kind.code == code for code, kind in ERRORS.items())
    assert {kind.exit_code for kind in ERRORS.values()} == set(range(1, 8))
    assert all(issubclass(kind, FairwayError) for kind in ERRORS.values())


def test_an_error_names_its_field_first() -> None:
    error = InvalidField("roles[0].count", "must be at least 1, not 0")
    assert (str(error), error.field) == ("roles[0].count: must be at least 1, not 0", "roles[0].count")
