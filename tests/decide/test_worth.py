"""What Fairway's own score does, in small fleets where one can say what is right."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import packing, worth
from fairway.decide.packing import NO_WAY, Need, Nodes
from fairway.model.errors import InvalidField

WHOLE_GPU = Need((10, 0), 1, (1000, 1000))
SHARE = Need((10, 0), 1, (470, 470))
NAMED = Need((10, 0), 1, (NO_WAY, 1000))
EIGHT = Need((80, 0), 8, (1000, 1000))
CPU_ONLY = Need((10, 0), 0, (0, 0))


def nodes_of(*rows: tuple[int, list[int], int]) -> Nodes:
    """Nodes from (free CPU, free milli-GPUs of 8 devices at most, kind)."""
    devices = [[*free, *[0] * (8 - len(free))] for _, free, _ in rows]
    return Nodes(
        np.array([[cpu, 1000] for cpu, _, _ in rows]),
        np.array(devices),
        np.array([len(free) for _, free, _ in rows]),
        np.array([kind for _, _, kind in rows]),
    )


def worth_for(nodes: Nodes, *classes: tuple[Need, int]) -> worth.Worth:
    """Tables for a fleet of such nodes, all empty, with at least 100 CPU each, and this mix."""
    total = np.maximum(nodes.free, 100)
    return worth.worth_of(packing.typical_work(classes, 1.0), worth.fleet_of(total, nodes.gpus, nodes.kind, 2))


def choose(nodes: Nodes, need: Need, table: worth.Worth) -> tuple[int, int]:
    costs, picks = worth.least_worth(table, nodes, np.arange(len(nodes.gpus)), need)
    return int(costs.argmin()), int(picks[costs.argmin()])


def test_a_share_goes_where_the_rest_can_still_be_used() -> None:
    nodes = nodes_of((100, [1000, 1000], 0), (100, [530, 700], 0))
    table = worth_for(nodes, (SHARE, 40), (WHOLE_GPU, 60))
    assert choose(nodes, SHARE, table) == (1, 0), "530 leaves a gap of 60 that nothing fits, and nothing else would"


def test_what_some_work_can_only_run_on_is_kept_for_it() -> None:
    nodes = nodes_of((100, [1000] * 4, 1), (100, [1000] * 4, 0))
    table = worth_for(nodes, (WHOLE_GPU, 50), (NAMED, 50))
    assert choose(nodes, WHOLE_GPU, table)[0] == 1
    assert choose(nodes, NAMED, table)[0] == 0


def test_wholly_idle_nodes_are_kept_for_tasks_that_need_them() -> None:
    nodes = nodes_of((100, [1000] * 8, 0), (100, [1000] * 7, 0))
    table = worth_for(nodes, (WHOLE_GPU, 50), (EIGHT, 50))
    assert choose(nodes, WHOLE_GPU, table)[0] == 1


def test_work_without_gpus_goes_where_cpu_is_to_spare() -> None:
    nodes = nodes_of((20, [1000] * 4, 0), (100, [1000, 1000, 0, 0], 0), (45, [1000] * 4, 0))
    table = worth_for(nodes, (WHOLE_GPU, 80), (CPU_ONLY, 20))
    assert choose(nodes, CPU_ONLY, table)[0] == 1


def test_nodes_without_gpus_lose_nothing() -> None:
    nodes = nodes_of((50, [1000], 0), (10, [], 1))
    table = worth_for(nodes, (WHOLE_GPU, 50), (CPU_ONLY, 50))
    costs, _ = worth.least_worth(table, nodes, np.arange(2), CPU_ONLY)
    assert costs[1] <= costs[0]


def test_with_no_gpu_work_every_node_is_worth_nothing_and_the_first_wins() -> None:
    nodes = nodes_of((100, [1000], 0), (100, [1000], 0))
    table = worth_for(nodes, (CPU_ONLY, 5))
    costs, _ = worth.least_worth(table, nodes, np.arange(2), WHOLE_GPU)
    assert costs.tolist() == [0, 0]


def test_the_worth_of_a_node_comes_with_the_prices_that_make_it() -> None:
    nodes = nodes_of((5, [1000] * 4, 0), (400, [1000] * 4, 0))
    table = worth_for(nodes, (WHOLE_GPU, 100))
    starved, price = worth.node_worth(table, nodes, 0)
    rich, free = worth.node_worth(table, nodes, 1)
    assert starved < rich
    assert price[0] > free[0], "CPU has a price where it is short"


@pytest.mark.parametrize("heat", [4.9, 1000.1, float("nan")])
def test_a_heat_at_which_sums_overflow_is_refused(heat: float) -> None:
    nodes = nodes_of((100, [1000], 0))
    fleet = worth.fleet_of(nodes.free, nodes.gpus, nodes.kind, 2)
    with pytest.raises(InvalidField, match=r"policy\.heat"):
        worth.worth_of(packing.typical_work([(SHARE, 1)]), fleet, heat)


CLASSES = st.lists(
    st.tuples(
        st.builds(
            lambda cpu, shape, other: Need((cpu, 1), shape[0], (shape[1], other if shape[0] == 1 else shape[1])),
            st.integers(0, 40),
            st.sampled_from([(0, 0), (1, 1), (1, 14), (1, 333), (1, 810), (1, 1000), (2, 1000), (8, 1000)]),
            st.sampled_from([7, 500, 1000, NO_WAY]),
        ),
        st.integers(1, 100),
    ),
    min_size=1,
    max_size=6,
)


@given(CLASSES, st.sampled_from([5.0, 15.0, 100.0]))
def test_more_free_is_never_worth_less(classes: list[tuple[Need, int]], heat: float) -> None:
    total, gpus, kind = np.array([[64, 64], [8, 8]]), np.array([8, 2]), np.array([0, 1])
    table = worth.worth_of(packing.typical_work(classes, 1.0), worth.fleet_of(total, gpus, kind, 2), heat)
    assert np.isfinite(table.device).all()
    assert np.isfinite(table.idle).all()
    assert (np.diff(table.device, axis=2) >= -1e-9).all()
    assert (np.diff(table.idle, axis=2) >= table.device[:, :, -1:] - 1e-6).all()
    devices = np.array([[1000] * 8, [1000] * 2 + [0] * 6])
    nodes = Nodes(total.copy(), devices, gpus, kind)
    for need, _ in classes:
        costs, _ = partial(worth.least_worth, table)(nodes, np.arange(2), need)
        assert (costs >= 0).all()
