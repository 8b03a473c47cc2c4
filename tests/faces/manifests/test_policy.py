"""``kind: Policy`` is made from the dataclasses, and says the same as they do."""

from typing import Any

import pytest
from hypothesis import given

from fairway.faces.manifests.complaints import InvalidManifest
from fairway.faces.manifests.convert import Caller, facts_of
from fairway.faces.manifests.policy import changes_between, document_of, duration_text
from fairway.faces.manifests.read import json_schema, manifests_from, manifests_in
from fairway.model.facts import PolicySet
from fairway.model.policy import Policy, Weights
from fairway.model.time import Instant, parse_duration
from fairway.testing.strategies import WHOLE_NUMBERS, of


def read(document: dict[str, Any]) -> Policy:
    [declared] = manifests_from([document])
    [fact] = facts_of(declared.spec, 1, Instant(0), Caller())
    assert isinstance(fact, PolicySet)
    return fact.policy


@given(of(Policy))
def test_what_is_written_is_read_back(policy: Policy) -> None:
    assert read(document_of(policy)) == policy


@given(of(Policy), of(Policy))
def test_changes_are_what_differs(old: Policy, new: Policy) -> None:
    assert bool(changes_between(old, new)) == (old != new)


@given(WHOLE_NUMBERS.filter(lambda number: 0 <= number < 1 << 50))
def test_durations_are_written_exactly(length: int) -> None:
    assert parse_duration(duration_text(length)) == length


def test_what_is_left_out_has_its_default() -> None:
    assert read({"kind": "Policy"}) == Policy()
    assert read({"kind": "Policy", "weights": {"gpu": 0.2, "memory": 0.3, "cpu": 0.5}}).weights == Weights(
        0.2, 0.3, 0.5
    )


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("max_victims: 0", "max_victims", "must be from 1"),
        ("max_victims: two", "max_victims", "not a whole number"),
        ("max_victim: 3", "max_victim", "did you mean max_victims?"),
        ("weights: {gpu: 0.9}", "weights", "add up to 1"),
        ("weights: {gpus: 0.9}", "weights.gpus", "unknown key"),
        ("weights: 3", "weights", "not a mapping"),
        ("fairness: {swarm: {allowed: 0}}", "fairness.swarm.allowed", "must be from 1 to 1000000000, not 0"),
        ("fairness: {swarm: {within: soon}}", "fairness.swarm.within", "not a duration"),
        ("fairness: {swarm: {limit: 3}}", "fairness.swarm.limit", "unknown key"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(text: str, where: str, what: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        manifests_in(f"kind: Policy\n{text}\n", "p.yaml")
    [error] = caught.value.errors
    assert (error.field.removeprefix("p.yaml").strip("."), what in error.message) == (where, True)
    assert "(line 2)" in error.message


def test_editors_know_its_keys() -> None:
    assert "max_victims" in json_schema()["$defs"]["PolicySpec"]["properties"]
