"""The published scores against their definitions, node by node."""

import math

import numpy as np
import pytest
from hypothesis import given

from fairway.decide import packing
from fairway.decide.packing import NO_WAY, Need, Nodes
from fairway.model.resources import WHOLE
from tests.decide.test_kernels import nodes_and_need, outcomes


def fitting_rows(nodes: Nodes, need: Need) -> list[int]:
    return [row for row in range(len(nodes.gpus)) if any(True for _ in outcomes(nodes, row, need))]


def check(scored: packing.Scored, nodes: Nodes, need: Need, plain: dict[int, int]) -> None:
    """Costs are the negated plain scores where the task fits; a share gets the tightest device, the first of equals."""
    costs, picks = scored
    for row in range(len(nodes.gpus)):
        assert costs[row] == (-plain[row] if row in plain else math.inf)
        if row in plain and need.gpus == 1 and need.milli[nodes.kind[row]] < WHOLE:
            able = [(free, d) for d, free in enumerate(nodes.devices[row]) if free >= need.milli[nodes.kind[row]]]
            assert picks[row] == min(able)[1]
        elif row in plain:
            assert picks[row] == -1


@given(nodes_and_need())
def test_a_task_fits_where_there_is_a_way_to_place_it(case: tuple[Nodes, Need]) -> None:
    nodes, need = case
    found = packing.fitting(nodes, np.arange(len(nodes.gpus)), need)
    assert np.flatnonzero(found).tolist() == fitting_rows(nodes, need)


@given(nodes_and_need())
def test_best_fit_counts_what_would_be_left(case: tuple[Nodes, Need]) -> None:
    nodes, need = case
    plain = {
        row: int(100 * (1 - 0.5 * cpu / 128_000 - 0.5 * gpu / 8_000))
        for row in fitting_rows(nodes, need)
        for cpu in [nodes.free[row, 0] - need.flat[0]]
        for gpu in [int(nodes.devices[row].sum()) - need.gpus * need.milli[nodes.kind[row]]]
    }
    check(packing.best_fit(nodes, np.arange(len(nodes.gpus)), need), nodes, need, plain)


@given(nodes_and_need())
def test_dot_product_takes_the_least_aligned_node(case: tuple[Nodes, Need]) -> None:
    nodes, need = case
    plain: dict[int, int] = {}
    for row in fitting_rows(nodes, need):
        cpu = nodes.free[row, 0] / 128_000 * (need.flat[0] / 128_000)
        gpu = int(nodes.devices[row].sum()) / 8_000 * (need.gpus * need.milli[nodes.kind[row]] / 8_000)
        plain[row] = int(100 * (1 - (cpu + gpu) / 2))
    check(packing.dot_product(nodes, np.arange(len(nodes.gpus)), need), nodes, need, plain)


@given(nodes_and_need(), nodes_and_need())
def test_clustering_puts_like_with_like(case: tuple[Nodes, Need], other: tuple[Nodes, Need]) -> None:
    nodes, need = case
    running = np.resize(other[0].devices // 500, (len(nodes.gpus), nodes.devices.shape[1] + 1))
    plain: dict[int, int] = {}
    for row in fitting_rows(nodes, need):
        sort = 0 if need.gpus == 1 and need.milli[nodes.kind[row]] < WHOLE else need.gpus
        present = [s for s, tasks in enumerate(running[row]) if tasks]
        tier = (75 if len(present) == 1 else 50) if sort in present else (0 if present else 25)
        fullness = 25 * (8_000 - int(nodes.devices[row].sum())) // 8_000
        plain[row] = tier + fullness if need.gpus else 0
    check(packing.clustering(running, nodes, np.arange(len(nodes.gpus)), need), nodes, need, plain)


@given(nodes_and_need())
def test_packing_prefers_started_devices_then_started_nodes(case: tuple[Nodes, Need]) -> None:
    nodes, need = case
    plain: dict[int, int] = {}
    for row in fitting_rows(nodes, need):
        devices = nodes.devices[row].tolist()[: nodes.gpus[row]]
        chosen = sorted(free for free in devices if free >= need.milli[nodes.kind[row]])[: need.gpus]
        idle = devices.count(WHOLE)
        if not need.gpus:
            plain[row] = 0
        elif idle == nodes.gpus[row]:
            plain[row] = max(33 - idle, idle)
        elif WHOLE in chosen:
            plain[row] = max(50 - chosen.count(WHOLE), 33)
        else:
            plain[row] = max(100 - sum(free * 100 // WHOLE for free in chosen) // 10, 50)
    check(packing.gpu_packing(nodes, np.arange(len(nodes.gpus)), need), nodes, need, plain)


@given(nodes_and_need())
def test_random_fit_takes_any_device_that_fits(case: tuple[Nodes, Need]) -> None:
    nodes, need = case
    rows = np.arange(len(nodes.gpus))
    costs, picks = packing.random_fit(np.random.default_rng(1), nodes, rows, need)
    assert np.flatnonzero(costs < math.inf).tolist() == fitting_rows(nodes, need)
    for row in fitting_rows(nodes, need):
        assert int(picks[row]) in [device for device, _, _ in outcomes(nodes, row, need)]


def test_random_fit_takes_each_node_and_device_in_turn() -> None:
    nodes = Nodes(np.full((2, 2), 9), np.full((2, 4), 500), np.full(2, 4), np.zeros(2, np.int64))
    rng = np.random.default_rng(7)
    chosen: set[tuple[int, int]] = set()
    for _ in range(200):
        costs, picks = packing.random_fit(rng, nodes, np.arange(2), Need((1, 1), 1, (250,)))
        chosen.add((int(costs.argmin()), int(picks[costs.argmin()])))
    assert chosen == {(row, device) for row in range(2) for device in range(4)}


def test_typical_work_is_the_most_frequent_and_adds_up_to_one() -> None:
    first, second, rare = Need((1, 0), 1, (470,)), Need((2, 0), 1, (810,)), Need((3, 0), 8, (1000,))
    work = packing.typical_work([(rare, 4), (second, 48), (first, 48)], cover=0.95)
    assert work.flat[:, 0].tolist() == [2, 1]
    assert work.share.tolist() == [0.5, 0.5]
    assert packing.typical_work([(rare, 4), (second, 48), (first, 48)], cover=1.0).gpus.tolist() == [1, 1, 8]


def test_equal_needs_are_one_class() -> None:
    assert Need((1, 2), 1, (470, NO_WAY)) == Need((1, 2), 1, (470, NO_WAY))
    assert len({Need((1, 2), 1, (470, NO_WAY)), Need((1, 2), 1, (470, NO_WAY)), Need((1, 2), 1, (470, 470))}) == 2


@pytest.mark.parametrize("score", [packing.best_fit, packing.dot_product, packing.gpu_packing])
def test_scores_ask_only_about_the_rows_they_are_given(score: packing.Score) -> None:
    nodes = Nodes(
        np.full((3, 2), 9), np.array([[0, 0], [1000, 0], [1000, 1000]]), np.array([2, 2, 2]), np.zeros(3, np.int64)
    )
    need = Need((1, 1), 1, (1000,))
    every, _ = score(nodes, np.arange(3), need)
    some, _ = score(nodes, np.array([2, 0]), need)
    assert some.tolist() == every[[2, 0]].tolist()
