"""Who gets which type: whole gangs or nothing, no type given out twice, and close to what no schedule can beat."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairway.decide import hetero
from fairway.decide.hetero import WAITS, Fleet, by_worth, makespan, max_min
from fairway.decide.typemarket import share
from fairway.model.errors import InvalidField

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@st.composite
def fleets(draw: st.DrawFn, jobs: int = 12) -> Fleet:
    """1 to ``jobs`` jobs on 1-3 types; as many as fit of a random choice run already."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, types = draw(st.integers(1, jobs)), draw(st.integers(1, 3))
    speed = np.exp(rng.normal(0, 1, (size, types))) * (rng.random((size, types)) < 0.8)
    gang, count = (2 ** rng.integers(0, 3, size)).astype(np.int64), rng.integers(0, 8, types).astype(np.int64)
    current, free = np.full(size, WAITS, np.int64), count.copy()
    for row, kind in enumerate(rng.integers(0, types, size).tolist()):
        if rng.random() < 0.5 and speed[row, kind] > 0 and free[kind] >= gang[row]:
            current[row] = kind
            free[kind] -= gang[row]
    return Fleet(speed, gang, count, current, draw(st.sampled_from([0.0, 0.05, 0.5])))


def used(fleet: Fleet, types: Ints) -> Ints:
    return np.bincount(types[types >= 0], fleet.gang[types >= 0], len(fleet.count)).astype(np.int64)


@given(fleets(), st.sampled_from(sorted(hetero.POLICIES)), st.integers(0, 2**32 - 1))
def test_no_type_is_given_out_twice_and_every_gang_runs_whole_or_waits(fleet: Fleet, policy: str, seed: int) -> None:
    attained, left = np.random.default_rng(seed).lognormal(8, 3, (2, len(fleet.gang)))
    types = hetero.POLICIES[policy](fleet, attained, left)
    assert (used(fleet, types) <= fleet.count).all()
    runs = np.flatnonzero(types != WAITS)
    assert (fleet.can[runs, types[runs]] > 0).all(), "only where the whole gang can run"
    assert types.shape == fleet.gang.shape


@given(fleets(), st.integers(0, 2**32 - 1))
def test_no_device_idles_that_a_waiting_job_could_use(fleet: Fleet, seed: int) -> None:
    types = max_min(fleet, np.random.default_rng(seed).lognormal(8, 3, len(fleet.gang)))
    idle = fleet.count - used(fleet, types)
    for row in np.flatnonzero(types == WAITS).tolist():
        assert not ((fleet.can[row] > 0) & (fleet.gang[row] <= idle)).any()


@given(fleets(jobs=4))
def test_the_worth_of_a_round_is_near_the_best_there_is(fleet: Fleet) -> None:
    """Against every assignment. A gang that does not fit may cost what it is worth, as in any knapsack by density."""
    net = fleet.can * (1 - fleet.restart * (1 - fleet.here))
    kinds = range(WAITS, len(fleet.count))
    every = (np.array(choice) for choice in itertools.product(kinds, repeat=len(fleet.gang)))
    best = max(worth(net, choice) for choice in every if (used(fleet, choice) <= fleet.count).all())
    assert worth(net, by_worth(fleet, fleet.can)) >= 0.5 * best - 1e-9


def worth(net: Floats, types: Ints) -> float:
    rows = np.flatnonzero(types != WAITS)
    return float(net[rows, types[rows]].sum())


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_a_makespan_is_near_the_bound(seed: int, jobs: int) -> None:
    """Decide, run for a fortieth of the bound, decide again: the last job ends less than two fifths above it.

    With a handful of jobs that need two types each a whole job is a large step; with a hundred it is one percent."""
    rng = np.random.default_rng(seed)
    speed, left = np.exp(rng.normal(0, 1, (jobs, 2))), np.exp(rng.normal(0, 0.7, jobs))
    gang, count = np.ones(jobs, np.int64), np.array([2, 2], np.int64)
    bound = 1 / share(speed, gang, count, left).bound
    current, now, step = np.full(jobs, WAITS, np.int64), 0.0, bound / 40
    while (left > 1e-12).any():
        ids = np.flatnonzero(left > 1e-12)
        current[ids] = makespan(Fleet(speed[ids], gang[ids], count, current[ids]), left[ids])
        runs = ids[current[ids] != WAITS]
        left[runs] = np.maximum(0.0, left[runs] - speed[runs, current[runs]] * step)
        now += step
    assert now <= bound * 1.4


def test_a_running_job_is_not_moved_for_less_than_a_restart_costs() -> None:
    speed = np.array([[1.0, 1.04]])
    stay = Fleet(speed, np.array([1]), np.array([1, 1]), np.array([0]), restart=0.05)
    assert by_worth(stay, speed).tolist() == [0]
    move = Fleet(speed, np.array([1]), np.array([1, 1]), np.array([0]), restart=0.01)
    assert by_worth(move, speed).tolist() == [1]


def test_who_has_attained_least_gets_the_only_device() -> None:
    fleet = Fleet(np.ones((2, 1)), np.array([1, 1]), np.array([1]), np.array([0, WAITS]))
    assert max_min(fleet, np.array([36_000.0, 0.0])).tolist() == [WAITS, 0]
    assert max_min(fleet, np.array([1_000.0, 0.0])).tolist() == [0, WAITS], "not yet: they are of one level"


def test_the_type_goes_to_whom_it_speeds_up_most() -> None:
    fleet = Fleet(np.array([[10.0, 1.0], [10.0, 9.0]]), np.array([1, 1]), np.array([1, 1]), np.array([WAITS, WAITS]))
    assert max_min(fleet, np.zeros(2)).tolist() == [0, 1]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidField, match="speed"):
        Fleet(np.ones((2, 1)), np.array([1]), np.array([1]), np.array([0]))
    with pytest.raises(InvalidField, match="restart"):
        Fleet(np.ones((1, 1)), np.array([1]), np.array([1]), np.array([0]), restart=2.0)
