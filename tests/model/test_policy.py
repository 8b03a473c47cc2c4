"""A policy is valid, or it is not there."""

from dataclasses import fields

import pytest
from hypothesis import given

from fairway.model.errors import InvalidField
from fairway.model.policy import Policy, Weights
from fairway.testing.strategies import changed, of


@pytest.mark.parametrize("value", [0, -1, 1_000_001])
def test_a_number_out_of_its_range_is_refused_with_its_path(value: int) -> None:
    with pytest.raises(InvalidField) as caught:
        Policy(max_victims=value)
    assert caught.value.field == "policy.max_victims"
    assert str(value) in caught.value.message


def test_weights_add_up_to_one() -> None:
    with pytest.raises(InvalidField, match="add up to 1"):
        Weights(gpu=0.9)


def test_every_part_has_a_default_and_a_knob() -> None:
    """``changed`` is what samples are made of: it must reach every part that can be changed one field at a time."""
    for field in fields(Policy):
        if field.name != "weights":
            assert getattr(changed(Policy()), field.name) != getattr(Policy(), field.name), field.name


@given(of(Policy))
def test_policies_can_be_kept_in_sets(policy: Policy) -> None:
    assert len({policy, policy}) == 1
