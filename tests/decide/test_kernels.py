"""The compiled loops against slow, plain twins that follow the definitions word by word."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import kernels
from fairway.decide.kernels import LEVELS
from fairway.decide.packing import NO_WAY, Need, Nodes, Work
from fairway.decide.worth import Worth
from fairway.model.resources import WHOLE

KINDS, FLAT, DEVICES = 2, 2, 4


def multisets(sizes: list[int], room: int) -> Iterator[tuple[int, ...]]:
    """How often each size is used, for every multiset of sizes that adds up to ``room`` at most."""
    most = [room // size if size else 0 for size in sizes]
    for copies in itertools.product(*(range(count + 1) for count in most)):
        if sum(count * size for count, size in zip(copies, sizes, strict=True)) <= room:
            yield copies


def weigh(weights: list[float], copies: tuple[int, ...]) -> float:
    return math.prod(weight**count for weight, count in zip(weights, copies, strict=True))


SHARES = st.lists(st.tuples(st.floats(0.01, 20.0), st.sampled_from([0, 19, 25, 33, 47, 81, 100])), max_size=4)


@given(SHARES)
def test_a_device_is_filled_with_every_multiset_that_fits(shares: list[tuple[float, int]]) -> None:
    weights, sizes = [weight for weight, _ in shares], [size for _, size in shares]
    filled = np.empty(LEVELS + 1)
    kernels.fill_device(np.array(weights, np.float64), np.array(sizes, np.int64), filled)
    for room in (0, 18, 19, 52, 99, 100):
        assert filled[room] == pytest.approx(sum(weigh(weights, copies) for copies in multisets(sizes, room)))
    total = sum(weigh(weights, copies) for copies in multisets(sizes, LEVELS))
    for g, (weight, size) in enumerate(shares):
        mean = sum(copies[g] * weigh(weights, copies) for copies in multisets(sizes, LEVELS)) / total
        assert kernels.copies_on_device(weight, size, filled) == pytest.approx(mean)


TASKS = st.lists(st.tuples(st.floats(-5.0, 300.0), st.sampled_from([0, 1, 2, 4, 8])), max_size=4)


@given(TASKS, st.floats(0.0, 60.0))
def test_a_node_is_filled_with_tasks_of_several_devices_and_singles(tasks: list[tuple[float, int]], one: float) -> None:
    sizes = [size if size > 1 else 0 for _, size in tasks]
    filled = np.empty(9)
    weights = np.array([weight for weight, _ in tasks], np.float64)
    kernels.fill_node(weights, np.array([size for _, size in tasks], np.int64), one, filled)
    for room in (0, 1, 3, 8):
        ways = [
            (copies, sum(c * w for c, w in zip(copies, weights, strict=True)) + one * (room - used))
            for copies in multisets(sizes, room)
            for used in [sum(c * s for c, s in zip(copies, sizes, strict=True))]
        ]
        most = max(weight for _, weight in ways)
        total = sum(math.exp(weight - most) for _, weight in ways)
        assert filled[room] == pytest.approx(most + math.log(total), abs=1e-9)
        for g, size in enumerate(sizes):
            mean = sum(copies[g] * math.exp(weight - most) for copies, weight in ways) / total
            assert kernels.copies_on_node(weights[g], size, filled, room) == pytest.approx(mean, abs=1e-9)


def test_use_is_the_slope_of_the_worth() -> None:
    gpus, sizes = np.array([1, 1, 2], np.int64), np.array([[100, 100], [47, 0], [100, 100]], np.int64)
    nodes = np.array([[0, 3, 0, 0, 5], [1, 0, 7, 0, 0]], np.int64)
    values = np.array([800.0, 400.0, 1650.0])
    use, other = np.empty(3), np.empty(3)
    worth = kernels.used(values, gpus, sizes, nodes, 15.0, use)
    for g in range(3):
        more = values.copy()
        more[g] += 1e-4
        slope = (kernels.used(more, gpus, sizes, nodes, 15.0, other) - worth) / 1e-4
        assert slope == pytest.approx(use[g], rel=1e-3)


def test_tables_value_what_the_fillings_pay() -> None:
    values, gpus = np.array([300.0, 420.0, 1900.0]), np.array([1, 1, 2], np.int64)
    sizes = np.array([[33], [47], [100]], np.int64)
    group, part = np.array([0, 0, 1, 2], np.int64), np.array([0.25, 0.75, 1.0, 1.0])
    flat = np.array([[4000], [1000], [2000], [9000]], np.int64)
    prices = np.array([[0.0], [0.05]])
    heat = 15.0
    device, idle = kernels.tables(values, gpus, sizes, group, part, flat, prices, heat, 4)
    for line, (price,) in enumerate(prices.tolist()):
        net = [300 + heat * math.log(0.25 * math.exp(-price * 4000 / heat) + 0.75 * math.exp(-price * 1000 / heat))]
        net += [420 - price * 2000, 1900 - price * 9000]
        weights = [math.exp(value / heat) for value in net[:2]]
        for room in (20, 33, 70, 100):
            paid = sum(weigh(weights, copies) for copies in multisets([33, 47], room))
            assert device[0, line, room] == pytest.approx(heat * math.log(paid))
        single = device[0, line, LEVELS]
        for k in range(5):
            ways = [pairs * net[2] + (k - 2 * pairs) * single for pairs in range(k // 2 + 1)]
            assert idle[0, line, k] == pytest.approx(heat * np.logaddexp.reduce(np.array(ways) / heat))


@st.composite
def nodes_and_need(draw: st.DrawFn) -> tuple[Nodes, Need]:
    """A few nodes in the middle of their work, and a task."""
    count = draw(st.integers(1, 5))
    free = [0, 190, 190, 530, 810, WHOLE, WHOLE, WHOLE]
    gpus = draw(st.lists(st.integers(0, DEVICES), min_size=count, max_size=count))
    devices = [[draw(st.sampled_from(free)) if d < n else 0 for d in range(DEVICES)] for n in gpus]
    flat = [[draw(st.integers(0, 100)) for _ in range(FLAT)] for _ in gpus]
    kind = draw(st.lists(st.integers(0, KINDS - 1), min_size=count, max_size=count))
    nodes = Nodes(*(np.array(column, np.int64) for column in (flat, devices, gpus, kind)))
    asks = draw(st.sampled_from([0, 1, 1, 1, 2, 4]))
    each = draw(st.sampled_from([160, 190, 470, 810, WHOLE])) if asks == 1 else WHOLE if asks else 0
    other = draw(st.sampled_from([each, each, NO_WAY, min(2 * each, NO_WAY)])) if asks == 1 and each < WHOLE else each
    need = Need((draw(st.integers(0, 60)), draw(st.integers(0, 60))), asks, (each, other))
    return nodes, need


def outcomes(nodes: Nodes, row: int, need: Need) -> Iterator[tuple[int, list[int], list[int]]]:
    """Every way to put the task on the node: (device, free flat resources, devices) afterwards."""
    each, devices = need.milli[nodes.kind[row]], nodes.devices[row].tolist()
    flat = [have - take for have, take in zip(nodes.free[row].tolist(), need.flat, strict=True)]
    if min(flat) < 0:
        return
    if need.gpus == 1 and each < WHOLE:
        for d in range(nodes.gpus[row]):
            if devices[d] >= each:
                yield d, flat, [free - each * (i == d) for i, free in enumerate(devices)]
        return
    idle = [d for d in range(nodes.gpus[row]) if devices[d] == WHOLE] if each <= WHOLE else []
    if len(idle) >= need.gpus:
        yield -1, flat, [0 if d in idle[: need.gpus] else free for d, free in enumerate(devices)]


def plain_worth(flat: list[int], devices: list[int], kind: int, worth: Worth) -> float:
    """Least over price vectors: what is free at that price, the started devices, and the idle ones together."""
    levels = [(milli * LEVELS + WHOLE // 2) // WHOLE for milli in devices if 0 < milli < WHOLE]
    return min(
        sum(price * free for price, free in zip(worth.prices[line], flat, strict=True))
        + sum(worth.device[kind, line, level] for level in levels)
        + worth.idle[kind, line, devices.count(WHOLE)]
        for line in range(len(worth.prices))
    )


@st.composite
def worths(draw: st.DrawFn) -> Worth:
    """Tables that grow with what is free, as all do."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    device = np.cumsum(rng.random((KINDS, 4, LEVELS + 1)) * 10, axis=2)
    device[:, :, 0] = 0.0
    steps = device[:, :, -1:] + rng.random((KINDS, 4, DEVICES)) * 50
    idle = np.concatenate([np.zeros((KINDS, 4, 1)), np.cumsum(steps, axis=2)], axis=2)
    return Worth(rng.random((4, FLAT)) * 10, device, idle)


@given(nodes_and_need(), worths())
def test_worth_lost_is_worth_before_less_worth_after(case: tuple[Nodes, Need], worth: Worth) -> None:
    nodes, need = case
    rows = np.arange(len(nodes.gpus))
    costs, picks = kernels.score_worth(rows, nodes, need.flats, need.gpus, need.millis, worth)
    for row in rows.tolist():
        kind = int(nodes.kind[row])
        before = plain_worth(nodes.free[row].tolist(), nodes.devices[row].tolist(), kind, worth)
        lost = {d: before - plain_worth(flat, devs, kind, worth) for d, flat, devs in outcomes(nodes, row, need)}
        assert costs[row] == pytest.approx(min(lost.values(), default=math.inf), abs=1e-3)
        if lost:
            assert lost[int(picks[row])] == pytest.approx(costs[row], abs=1e-3)
            assert costs[row] >= 0


def plain_fragmentation(flat: list[int], devices: list[int], kind: int, work: Work) -> float:
    """Section 3 of the paper: for every class, all idle GPU if it cannot run here, else that on too small devices."""
    by_cause = dict.fromkeys(("both", "gpu", "flat", "cpu_task", "cpu_task_lacks", "access"), 0.0)
    for m, share in enumerate(work.share.tolist()):
        each, gpus = int(work.milli[m, kind]), int(work.gpus[m])
        runs = all(have >= take for have, take in zip(flat, work.flat[m].tolist(), strict=True))
        able = [free for free in devices if free >= each]
        if gpus == 0:
            by_cause["cpu_task" if runs else "cpu_task_lacks"] += share * sum(devices)
        elif each > WHOLE:
            by_cause["access"] += share * sum(devices)
        elif len(able) < gpus:
            by_cause["gpu" if runs else "both"] += share * sum(devices)
        elif runs:
            by_cause["gpu"] += share * sum(free for free in devices if free < each)
        else:
            by_cause["flat"] += share * sum(devices)
    both, gpu, lacks, plain, plain_lacks, access = by_cause.values()
    return both + gpu + lacks + plain + plain_lacks + access


@given(nodes_and_need(), st.lists(nodes_and_need(), min_size=1, max_size=6))
def test_fgd_is_the_rounded_sigmoid_of_the_gain(case: tuple[Nodes, Need], typical: list[tuple[Nodes, Need]]) -> None:
    nodes, need = case
    classes = [each for _, each in typical]
    work = Work(
        np.array([c.flat for c in classes], np.int64),
        np.array([c.gpus for c in classes], np.int64),
        np.array([c.milli for c in classes], np.int64),
        np.full(len(classes), 1 / len(classes)),
    )
    rows = np.arange(len(nodes.gpus))
    costs, picks = kernels.score_fragmentation(rows, nodes, need.flats, need.gpus, need.millis, work)
    for row in rows.tolist():
        kind, count = int(nodes.kind[row]), int(nodes.gpus[row])
        before = plain_fragmentation(nodes.free[row].tolist(), nodes.devices[row].tolist()[:count], kind, work)
        best, device = math.inf, -1
        for d, flat, devices in outcomes(nodes, row, need):
            gain = before - plain_fragmentation(flat, devices[:count], kind, work)
            score = int(100 * (1 / (1 + math.exp(-gain / 1000))))
            if -score < best:
                best, device = -score, d
        assert (costs[row], picks[row]) == (best, device)
