"""Prices of accelerator types: shares are allowed, equal, and as high as weak duality lets anything be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairway.decide.typemarket import options, share, usable, welfare
from fairway.model.errors import InvalidField

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Case = tuple[Floats, Ints, Ints, Floats]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """(speed, gang, count, goal) of 1-12 jobs on 1-4 types, over five orders of magnitude; some fit nowhere."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    jobs, types = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    speed = np.exp(rng.normal(0, 1.5, (jobs, types))) * (rng.random((jobs, types)) < 0.8)
    gang, count = 2 ** rng.integers(0, 3, jobs), rng.integers(0, 10, types)
    return speed, gang.astype(np.int64), count.astype(np.int64), np.exp(rng.normal(0, 2, jobs))


@given(cases())
def test_shares_are_allowed(case: Case) -> None:
    speed, gang, count, goal = case
    found = share(speed, gang, count, goal)
    assert (found.time >= 0).all()
    assert (found.time.sum(axis=1) <= 1 + 1e-9).all(), "nobody runs for longer than all of the time"
    assert (gang @ found.time <= count * (1 + 1e-9)).all(), "no type is given out twice"
    assert (found.time[usable(speed, gang, count) == 0] == 0).all(), "nobody has what it cannot use"
    np.testing.assert_allclose(np.minimum((found.time * speed).sum(axis=1), found.rate), found.rate, rtol=1e-9)


@given(cases())
def test_every_job_has_its_level_or_all_that_it_can_use(case: Case) -> None:
    speed, gang, count, goal = case
    found = share(speed, gang, count, goal)
    best = usable(speed, gang, count).max(axis=1)
    np.testing.assert_allclose(found.rate, np.minimum(found.level * goal, best), rtol=2e-3)


@given(cases(), st.integers(0, 2**32 - 1))
def test_no_shares_do_better_than_the_bound_and_these_come_near_it(case: Case, seed: int) -> None:
    speed, gang, count, goal = case
    found = share(speed, gang, count, goal)
    can = usable(speed, gang, count)
    able = can.max(axis=1) > 0
    if not able.any():
        assert found.level == 0
        return
    assert (found.rate / goal)[able].min() >= found.bound * 0.995
    # Whatever prices there are, the least costs of rates that can be had add up to no more than everything.
    prices = np.random.default_rng(seed).random(len(count))
    ways = options(can[able], found.rate[able])
    used = np.where(np.isfinite(ways), ways, 0.0) * gang[able][:, None, None]
    cost = np.where(np.isfinite(ways).all(axis=2), used @ prices, np.inf).min(axis=1).sum()
    assert cost <= prices @ count * (1 + 1e-9)


def test_who_gains_most_from_a_type_gets_it() -> None:
    """Two jobs, one device of each type: the second does not care, so the first has the fast one for itself."""
    speed = np.array([[10.0, 1.0], [10.0, 9.0]])
    found = share(speed, np.array([1, 1]), np.array([1, 1]), np.array([10.0, 9.0]))
    np.testing.assert_allclose(found.time, [[1, 0], [0, 1]], atol=2e-3)
    np.testing.assert_allclose(found.level, 1.0, rtol=1e-3)


def test_a_job_that_one_type_alone_is_too_slow_for_uses_two_all_of_the_time() -> None:
    speed = np.array([[4.0, 2.0], [4.0, 2.0]])
    found = share(speed, np.array([1, 1]), np.array([1, 1]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(found.level, 3.0, rtol=1e-3)
    np.testing.assert_allclose(found.time, 0.5, atol=2e-3)


@given(cases())
def test_prices_of_welfare_prove_what_the_best_assignment_is_worth(case: Case) -> None:
    """At any prices, what jobs gain beyond them plus what all devices cost is more than any assignment is worth; at
    the right ones no more than smoothing may hide. The fractional assignment that one type's knapsack has is a twin."""
    worth, gang, count, _ = case
    one = count[:1]
    prices = welfare(worth[:, :1], gang, one)
    can = usable(worth[:, :1], gang, one)[:, 0]
    gain = np.maximum(0.0, can - prices[0] * gang).sum() + prices[0] * one[0]
    free, best = float(one[0]), 0.0
    for row in np.argsort(-can / gang):
        part = min(1.0, free / gang[row])
        best += part * can[row]
        free -= part * gang[row]
    assert best * (1 - 1e-9) <= gain <= best * 1.01 + 1e-9


@given(cases(), st.integers(2, 5))
def test_a_row_may_stand_for_several_equal_jobs(case: Case, times: int) -> None:
    speed, gang, count, goal = case
    copies = np.full(len(gang), 1, np.int64)
    copies[0] = times
    once = share(speed, gang, count, goal, copies)
    each = share(np.repeat(speed, copies, axis=0), np.repeat(gang, copies), count, np.repeat(goal, copies))
    able = usable(speed, gang, count).max(axis=1) > 0
    if able.any():
        least = (each.rate / np.repeat(goal, copies))[np.repeat(able, copies)].min()
        assert (once.rate / goal)[able].min() == pytest.approx(least, rel=0.01)


@given(cases())
def test_types_that_nobody_wants_cost_nothing(case: Case) -> None:
    worth, gang, count, _ = case
    plenty = count + int(gang.sum())
    assert (welfare(worth, gang, plenty) <= 1e-3 * worth.max()).all()


@pytest.mark.parametrize(
    ("speed", "goal"), [([[1.0], [1.0]], [1.0]), ([[-1.0]], [1.0]), ([[float("inf")]], [1.0]), ([[1.0]], [-1.0])]
)
def test_columns_that_make_no_sense_are_refused(speed: list[list[float]], goal: list[float]) -> None:
    with pytest.raises(InvalidField):
        share(np.array(speed), np.array([1]), np.array([1]), np.array(goal))


def test_nothing_to_share_is_no_error() -> None:
    none = share(np.zeros((0, 2)), np.zeros(0, np.int64), np.array([1, 1]), np.zeros(0))
    assert none.level == 0
    assert none.time.shape == (0, 2)
