"""The codec of facts: whatever was written is read back, and nothing unknown is ever skipped."""

import json
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.errors import CorruptJournal, InvalidField, NewerFormat
from fairway.model.facts import (
    AttemptEnded,
    AttemptStarted,
    CancelAsked,
    Fact,
    Facts,
    JobSubmitted,
    NodeCordoned,
    Outcome,
    Progressed,
    QueueSet,
)
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import Job
from fairway.model.phases import Cause
from fairway.model.plan import Action
from fairway.model.queue import Queue
from fairway.model.reasons import Refusal, StopReason
from fairway.model.time import Instant
from fairway.state.frames import TAG, decode, decode_value, encode, encode_value
from fairway.testing.strategies import batches, of

UNIONS: tuple[Any, ...] = (Fact, Action, Refusal, StopReason)
MEMBERS = [member for union in UNIONS for member in get_args(union)]


@given(batches())
def test_what_is_written_is_read_back(facts: Facts) -> None:
    assert decode(encode(facts)) == facts


@pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_member_of_every_union_keeps_its_class_and_value(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(of(kind))
    again = decode_value(encode_value(value, kind), kind)
    assert again == value
    assert type(again) is kind


@given(batches())
def test_equal_batches_have_equal_bytes(facts: Facts) -> None:
    assert encode(decode(encode(facts))) == encode(facts)


def test_a_frame_is_small_json_a_person_can_read() -> None:
    fact = AttemptStarted(AttemptId(JobId("train-17"), 1), ExecutorId("local"), 4, Instant(990))
    assert encode(Facts(Instant(1000), (fact,))) == (
        b'{"now":1000,"items":[{"is":"AttemptStarted","attempt":["train-17",1],"executor":"local","seq":4,"at":990}]}'
    )
    assert encode(Facts(Instant(7))) == b'{"now":7}'
    assert encode(Facts(Instant(7), (QueueSet(Queue(QueueId("a"))),))) == (
        b'{"now":7,"items":[{"is":"QueueSet","queue":{"id":"a"}}]}'
    )


def test_enums_are_read_back_as_enums() -> None:
    outcome = Outcome(Cause.PREEMPTED, signal=15)
    ended = AttemptEnded(AttemptId(JobId("a-1"), 1), ExecutorId("x"), 1, Instant(1), outcome)
    (again,) = decode(encode(Facts(Instant(1), (ended,)))).items
    assert isinstance(again, AttemptEnded)
    assert again.outcome.cause is Cause.PREEMPTED
    assert isinstance(again.attempt, AttemptId)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"now": 1, "items": [{TAG: "NodeDreamt", "node": "n1"}]}, "NodeDreamt"),
        ({"now": 1, "items": [{TAG: "NodeGone", "node": "n1", "colour": "red"}]}, "colour of NodeGone"),
        ({"now": 1, "mood": 3}, "mood of Facts"),
        ({"now": 1, "items": [{TAG: "JobSubmitted", "job": {"id": "a", "name": "a", "queue": "q", "z": 1}}]}, "z of"),
        (
            {
                "now": 1,
                "items": [
                    {TAG: "AttemptEnded", "attempt": ["a", 1], "executor": "x", "seq": 1, "at": 1,
                     "outcome": {"cause": "evaporated"}}
                ],
            },
            "Cause 'evaporated'",
        ),
        (
            {"now": 1, "items": [{TAG: "Ruled", "plan": {"actions": [
                {TAG: "Unplaced", "job": "a", "reason": {TAG: "WaitingUntil", "until": 1, "why": "full_moon"}}]}}]},
            "'full_moon'",
        ),
    ],
)  # fmt: skip
def test_what_a_newer_version_wrote_is_refused_by_name(raw: dict[str, Any], named: str) -> None:
    with pytest.raises(NewerFormat, match=named):
        decode(json.dumps(raw).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"7", b"null", b"{}", b'{"now":null}', b'{"now":1,"items":[7]}', b'{"now":1,"items":[{}]}',
     b'{"now":1,"items":[{"is":"NodeGone"}]}', b'{"now":1,"items":[{"is":[],"node":"n"}]}', b"\xff\xfe",
     b'{"now":"x"}'],
)  # fmt: skip
def test_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptJournal):
        decode(data)


@given(batches(), st.data())
def test_damage_never_escapes_as_anything_but_a_store_error(facts: Facts, data: st.DataObject) -> None:
    frame = bytearray(encode(facts))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(frame))
    except (CorruptJournal, NewerFormat):
        return


@pytest.mark.parametrize(
    "fact",
    [
        CancelAsked(JobId("a"), by="caf\udce9"),
        Progressed(AttemptId(JobId("a"), 1), step=1 << 63),
        QueueSet(Queue(QueueId("a"), weight=float("nan"))),
        QueueSet(Queue(QueueId("a"), weight=float("inf"))),
    ],
    ids=["not UTF-8", "too large", "nan", "inf"],
)
def test_what_json_cannot_keep_is_refused_before_it_is_believed(fact: Fact) -> None:
    with pytest.raises(InvalidField):
        encode(Facts(Instant(1), (fact,)))


def test_a_field_a_later_version_adds_with_a_default_reads_old_frames() -> None:
    """Every field that may be absent has a default, so leaving out all of them must decode."""
    old = decode(b'{"now":5,"items":[{"is":"JobSubmitted","job":{"id":"a-1","name":"a","queue":"q"}},'
                 b'{"is":"NodeCordoned","node":"n1"}]}')  # fmt: skip
    assert old.items == (JobSubmitted(Job(JobId("a-1"), "a", QueueId("q"))), NodeCordoned(NodeId("n1")))


@pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)
def test_no_field_can_be_taken_for_the_tag(kind: type[Any]) -> None:
    assert is_dataclass(kind)
    assert TAG not in {field.name for field in fields(kind)}
