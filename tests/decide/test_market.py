"""The market for devices clears: whatever the work and the fleet are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide.kernels import LEVELS
from fairway.decide.market import Market

NEEDS = st.sampled_from([(1, 110), (1, 250), (1, 470), (1, 810), (1, 1000), (2, 1000), (4, 1000)])
MARKET = st.lists(
    st.tuples(NEEDS, st.floats(1, 500)),
    min_size=1,
    max_size=5,
    unique_by=lambda item: item[0],
)


Work = list[tuple[tuple[int, int], float]]


@given(MARKET, st.lists(st.integers(0, 30), min_size=4, max_size=4), st.sampled_from([10.0, 15.0, 40.0]))
def test_discounts_clear_the_market(market: Work, fleet: list[int], heat: float) -> None:
    gpus = np.array([need[0] for need, _ in market], np.int64)
    values = np.array([need[0] * need[1] for need, _ in market], np.float64)
    sizes = np.array([[need[1] // 10] for need, _ in market], np.int64)
    demand = np.array([count for _, count in market], np.float64)
    nodes = np.array([[0, *fleet]], np.int64)
    place = Market(values, gpus, sizes, demand, nodes, heat)
    discounts, use = place.clear()
    assert use == pytest.approx(place.at(discounts)[1])
    assert (discounts >= 0).all()
    assert (use <= demand * 1.01).all()
    assert use[discounts > 0] == pytest.approx(demand[discounts > 0], rel=0.01)
    held = float((use * gpus * sizes[:, 0]).sum())
    assert held <= LEVELS * float((nodes[0] * np.arange(5)).sum()) + 1e-6
