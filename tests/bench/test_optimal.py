"""The exact solver knows the rules, and one decision comes near it."""

import json
from itertools import combinations
from random import Random

import pytest

from bench import optimal
from bench.exact import best_start, start_in_order
from fairway.model.job import PriorityClass, Role
from fairway.model.policy import Policy
from fairway.testing.builders import a_job, a_node, a_request

MOST = 3.0
"""Percent lost, on average."""


def best(nodes, jobs) -> float:
    found = best_start(nodes, jobs, [1.0] * len(jobs))
    assert found.proven
    assert found.bound == pytest.approx(found.value)
    return found.value


def test_shares_need_one_device_and_whole_tasks_an_idle_one() -> None:
    node = a_node("n1", 2)
    sixty, forty = a_job("a", a_request(0.6)), a_job("b", a_request(0.4))
    assert best([node], [sixty, sixty, forty, forty]) == 4
    assert best([node], [sixty, sixty, sixty]) == 2, "0.8 is free, but not on one device"
    assert best([node], [a_job("w", a_request(2)), forty]) == 1, "a shared device is not idle"
    assert best([node], [a_job("w", a_request(1)), sixty, forty]) == 3


def test_a_gang_starts_whole_or_not_at_all_and_types_are_kept() -> None:
    nodes = [a_node("n1", 4, "H100"), a_node("n2", 4, "A100")]
    gang = a_job("g", Role(count=3, request=a_request(2)))
    assert best(nodes, [gang]) == 1
    assert best(nodes, [a_job("g", Role(count=3, request=a_request(2, types=["H100"])))]) == 0
    assert best(nodes, [a_job("g", Role(count=3, request=a_request(3)))]) == 0
    both = a_job("r", Role("chief", 1, a_request(0, cpu=64)), Role("worker", 2, a_request(4, cpu=1)))
    assert best(nodes, [both]) == 0, "the chief takes every core of a node that a worker needs"


def test_a_share_by_memory_is_larger_on_a_smaller_device() -> None:
    by_memory = a_job("m", optimal.Request(gpus=1, gpu_memory_mib=30_000))
    assert best([a_node("n1", 1, gpu_memory_mib=80_000)], [by_memory] * 3) == 2
    assert best([a_node("n1", 1, gpu_memory_mib=40_000)], [by_memory] * 3) == 1
    assert best([a_node("n1", 1, gpu_memory_mib=20_000)], [by_memory] * 3) == 0


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_can_start_together_is_worth_more(seed: int) -> None:
    """Against every subset of the line, where one node leaves only sums to compare."""
    rng = Random(seed)
    node = a_node("n1", 8, cpu=32)
    jobs = [a_job(f"j{i}", a_request(rng.randint(1, 6), cpu=rng.randint(1, 16))) for i in range(7)]
    values = [rng.randint(1, 9) * 1.0 for _ in jobs]
    plain = max(
        sum(values[i] for i in some)
        for count in range(8)
        for some in combinations(range(7), count)
        if sum(jobs[i].roles[0].request.gpus for i in some) <= 8
        and sum(jobs[i].roles[0].request.cpu_milli for i in some) <= 32_000
    )
    assert best_start([node], jobs, values).value == pytest.approx(plain)


def test_in_order_nobody_is_passed_over_and_everybody_moves_together() -> None:
    nodes = [a_node("n1", 4, "H100"), a_node("n2", 4, "A100")]
    small, large, typed = (
        a_job("s", a_request(1)),
        a_job("l", Role(count=2, request=a_request(4))),
        a_job("t", a_request(4, types=["H100"])),
    )
    assert start_in_order(nodes, [small, large, typed], frozenset()) == {"s", "t"}
    assert start_in_order(nodes, [large, small, typed], frozenset()) == {"l"}
    assert start_in_order(nodes, [small, large, typed], frozenset({"s", "t"})) == {"s", "t"}


def test_value_is_compute_times_class() -> None:
    request = a_request(2, cpu=8)
    medium, low = a_job("m", request), a_job("l", request, cls=PriorityClass.LOW)
    assert optimal.value(medium, Policy()) == 2 * (2000 + 8000 / Policy().cores_per_gpu)
    assert optimal.value(medium, Policy()) == 2 * optimal.value(low, Policy())


def test_a_decision_comes_near_the_optimum(capsys: pytest.CaptureFixture[str]) -> None:
    assert optimal.main(["--instances", "25", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["instances"] == len(told["gaps_percent"]) == 25
    assert 0 <= told["mean_gap_percent"] < MOST
    assert told["mean_gap_percent"] <= told["worst_gap_percent"] <= told["worst_any_order_gap_percent"] < 100
    assert told["mean_gap_percent"] <= told["mean_any_order_gap_percent"]
    assert told["proven"] == 1


def test_no_instance_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert optimal.main(["--instances", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
