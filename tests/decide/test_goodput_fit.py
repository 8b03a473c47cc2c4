"""The pace of a job is found again from steps that follow one, and what was not seen is taken to cost nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.decide.goodput import Pace, compute_time, step_time
from fairway.decide.goodput_fit import Steps, fitted
from fairway.model.errors import InvalidField


def measured(pace: Pace, points: list[tuple[int, int, int]]) -> Steps:
    """What a job of this pace measures at (nodes, GPUs, local batch)."""
    nodes, gpus, local = np.array(points, np.int64).T
    return Steps(nodes, gpus, local, compute_time(pace, local), step_time(pace, nodes, gpus, local))


paces = st.builds(
    Pace,
    compute=st.floats(0.01, 0.5),
    example=st.floats(0.001, 0.05),
    remote=st.floats(0.1, 1.0),
    remote_more=st.floats(0.001, 0.02),
    local=st.floats(0.01, 0.1),
    local_more=st.floats(0.001, 0.005),
    overlap=st.floats(1.05, 5),
)
EVERYWHERE = [(n, g, b) for n, g in ((1, 1), (1, 2), (1, 4), (2, 4), (2, 8), (4, 16)) for b in (8, 32, 64)]


@settings(max_examples=30)
@given(paces)
def test_steps_that_follow_a_pace_are_foretold(pace: Pace) -> None:
    found = fitted(measured(pace, EVERYWHERE))
    asked = [(1, 3, 16), (3, 12, 48), (2, 6, 64)]
    expected, told = measured(pace, asked), measured(found, asked)
    np.testing.assert_allclose(told.step, expected.step, rtol=0.1)
    np.testing.assert_allclose(told.compute, expected.compute, rtol=0.1)


@given(paces)
def test_what_was_not_seen_costs_nothing(pace: Pace) -> None:
    alone = fitted(measured(pace, [(1, 1, 8), (1, 1, 32)]))
    nodes, gpus, local = np.array([1, 4]), np.array([1, 16]), np.array([32, 32])
    one, many = step_time(alone, nodes, gpus, local)
    assert many == pytest.approx(one, rel=0.01), "it may well scale"
    within = fitted(measured(pace, [(1, 1, 8), (1, 2, 8), (1, 4, 8), (1, 4, 32)]))
    assert within.remote >= within.local, "nodes apart are never nearer than one node"


@given(paces)
def test_a_step_that_was_foretold_changes_nothing(pace: Pace) -> None:
    assert fitted(measured(pace, EVERYWHERE), pace) is pace


def test_one_step_is_half_constant() -> None:
    found = fitted(measured(Pace(0.2, 0.01, 1, 0, 1, 0, 1.5), [(1, 1, 20)]))
    assert found.compute == pytest.approx(0.2, rel=0.01)
    assert found.example * 20 == pytest.approx(0.2, rel=0.02)


def test_a_step_takes_time() -> None:
    one = np.array([1])
    with pytest.raises(InvalidField, match="measured"):
        fitted(Steps(one, one, one, np.array([0.0]), np.array([1.0])))
    none = np.zeros(0, np.int64)
    with pytest.raises(InvalidField, match="measured"):
        fitted(Steps(none, none, none, np.zeros(0), np.zeros(0)))
