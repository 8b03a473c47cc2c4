"""Sizing elastic jobs: the compiled loops against slow, plain twins, and what must hold for every allocation."""

import math
from itertools import combinations
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import elastic, kernels_elastic, sizing
from fairway.decide.elastic import Workers, allocate
from fairway.model.errors import InvalidField

SLOT = 60.0


def workers(*jobs: dict[str, Any]) -> Workers:
    """Jobs as columns: each names ``curve`` {size: speed}, ``need``, and perhaps ``left held restart fixed``."""
    curves = [elastic.useful(list(job["curve"]), list(job["curve"].values())) for job in jobs]
    width = max(len(sizes) for sizes, _ in curves)
    sizes, speed = np.zeros((len(jobs), width), np.int64), np.zeros((len(jobs), width))
    for row, (some, speeds) in enumerate(curves):
        sizes[row, : len(some)], speed[row, : len(some)] = some, speeds

    def column(name: str, default: object, kind: type) -> np.ndarray:
        return np.array([job.get(name, default) for job in jobs], kind)

    steps = np.array([len(some) for some, _ in curves])
    return Workers(
        sizes, speed, steps, column("need", 0.0, np.float64), column("left", math.inf, np.float64),
        column("held", 0, np.int64), column("restart", 0.0, np.float64), column("fixed", False, np.bool_),
    )  # fmt: skip


LINEAR = {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}
AMDAHL = {n: n / (1 + 0.1 * (n - 1)) for n in (1, 2, 4, 8)}


@st.composite
def some_job(draw: st.DrawFn) -> dict[str, Any]:
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 4, 8, 16]), min_size=1, max_size=4, unique=True))
    exponent = draw(st.sampled_from([0.3, 0.7, 1.0]))
    left = draw(st.one_of(st.just(math.inf), st.integers(-100, 4000).map(float)))
    return {
        "curve": {size: size**exponent for size in sizes},
        "need": float(draw(st.integers(1, 5000))),
        "left": left,
        "held": draw(st.sampled_from([0, *sizes])),
        "restart": float(draw(st.sampled_from([0, 20, 300]))),
        "fixed": draw(st.booleans()),
    }


loops = pytest.mark.parametrize("loops", [sizing, kernels_elastic], ids=["plain", "compiled"])
some_workers = st.lists(some_job(), min_size=1, max_size=8).map(lambda jobs: workers(*jobs))


# -- slow, plain twins ------------------------------------------------------------------------------------------------


def plain_share(w: Workers, j: int) -> int:
    if math.isinf(w.left[j]):
        return -1
    for step in range(w.steps[j]):
        restart = w.restart[j] if w.sizes[j, step] != w.held[j] else 0.0
        if w.need[j] / w.speed[j, step] + restart <= w.left[j] + 1e-6:
            return step
    return -1


def plain_save(w: Workers, order: list[int], edges: list[float], capacity: int) -> list[tuple[int, int]]:
    """(step, workers at once) of each job, with nothing rounded up."""
    free = [float(capacity)] * (len(edges) - 1)
    found = [(-1, 0)] * len(w.need)
    for j in order:
        first = plain_share(w, j)
        for step in range(first, w.steps[j]) if first >= 0 else ():
            used, rest = dict[int, tuple[int, float]](), float(w.need[j])
            rest += w.restart[j] * w.speed[j, step] if w.sizes[j, step] != w.held[j] else 0.0
            for k in reversed(range(len(free))):
                width = min(edges[k + 1], w.left[j]) - edges[k]
                able = [s for s in range(step + 1) if w.sizes[j, s] <= free[k] + 1e-9]
                if width > 0 and able and rest > 1e-6:
                    spent = min(width, rest / w.speed[j, able[-1]])
                    used[k] = (int(w.sizes[j, able[-1]]), spent)
                    rest -= spent * w.speed[j, able[-1]]
            if rest <= 1e-6:
                for k, (size, spent) in used.items():
                    free[k] -= size * (1.0 if k == 0 else spent / (edges[k + 1] - edges[k]))
                found[j] = (step, used[0][0] if 0 in used else 0)
                break
    return found


def plain_grow(w: Workers, given: list[int], free: int, margin: float) -> list[int]:
    """Growth by marginal gain, the best step of all jobs looked for anew each time."""
    given = list(given)
    while True:
        best = (0.0, 0, -1)
        for j, have in enumerate(given):
            speed = max((w.speed[j, s] for s in range(w.steps[j]) if w.sizes[j, s] <= have), default=0.0)
            unit = w.speed[j, 0] / w.sizes[j, 0]
            for s in range(w.steps[j]):
                size = int(w.sizes[j, s])
                if not have or size <= have or size - have > free or not plain_worthwhile(w, j, s, margin):
                    continue
                worth = (w.speed[j, s] - speed) / (size - have) / unit
                if worth > best[0] + 1e-12 * worth:
                    best = (worth, j, size)
        if best[2] < 0:
            return given
        free -= best[2] - given[best[1]]
        given[best[1]] = best[2]


def plain_worthwhile(w: Workers, j: int, step: int, margin: float) -> bool:
    held = [s for s in range(w.steps[j]) if w.sizes[j, s] <= w.held[j]]
    if not held or step <= held[-1]:
        return True
    saved = w.need[j] / w.speed[j, held[-1]] - w.need[j] / w.speed[j, step]
    return not w.fixed[j] and saved > margin * w.restart[j]


@loops
@given(some_workers)
def test_the_minimum_satisfactory_share_is_the_smallest_size_that_is_enough(loops: ModuleType, w: Workers) -> None:
    assert loops.shares(w).tolist() == [plain_share(w, j) for j in range(len(w.need))]


@loops
@given(some_workers, st.integers(1, 24), st.randoms(use_true_random=False))
def test_saving_agrees_with_its_plain_twin(loops: ModuleType, w: Workers, capacity: int, random: Random) -> None:
    shuffled = list(range(len(w.need)))
    random.shuffle(shuffled)
    order = np.array(shuffled)
    edges = elastic.bucket_edges(SLOT, 5000.0)
    free = np.full(len(edges) - 1, float(capacity))
    step, now = loops.save(w, order, loops.shares(w), edges, free, 0.0)
    assert list(zip(step, now, strict=True)) == plain_save(w, shuffled, edges.tolist(), capacity)
    assert free.min() > -1e-6


@loops
@given(some_workers, st.integers(0, 24), st.sampled_from([0.0, 3.0]))
def test_growing_agrees_with_its_plain_twin(loops: ModuleType, w: Workers, free: int, margin: float) -> None:
    grown = np.array([int(w.sizes[j, 0]) if j % 3 else 0 for j in range(len(w.need))])
    wanted = plain_grow(w, grown.tolist(), free, margin)
    left = loops.grow(w, grown, free, margin, False)
    # Equal gains may be taken in another order, and then others fit: what is compared is the sum.
    assert left >= 0
    assert math.isclose(_speed(w, grown.tolist()), _speed(w, wanted), rel_tol=0.5)
    assert plain_grow(w, grown.tolist(), left, margin) == grown.tolist(), "nothing that fits is left undone"


def _speed(w: Workers, given: list[int]) -> float:
    units = w.speed[:, 0] / w.sizes[:, 0]
    pace = [
        max((w.speed[j, s] for s in range(w.steps[j]) if w.sizes[j, s] <= n), default=0) for j, n in enumerate(given)
    ]
    return float((np.array(pace) / units).sum())


# -- what must hold ---------------------------------------------------------------------------------------------------


@given(some_workers, st.integers(0, 32))
def test_every_job_gets_one_of_its_sizes_or_none_and_never_more_than_there_is(w: Workers, capacity: int) -> None:
    sizes = allocate(w, capacity, SLOT)
    for j, size in enumerate(sizes.given.tolist()):
        assert size == 0 or size in w.sizes[j, : w.steps[j]]
    assert sizes.given.sum() <= capacity


@given(some_workers, st.integers(0, 32))
def test_nobody_waits_or_stays_small_beside_idle_workers_that_would_help(w: Workers, capacity: int) -> None:
    free_to_change = w._replace(restart=np.zeros_like(w.restart), fixed=np.zeros_like(w.fixed))
    sizes = allocate(free_to_change, capacity, SLOT)
    idle = capacity - int(sizes.given.sum())
    for j, size in enumerate(sizes.given.tolist()):
        larger = [n for n in w.sizes[j, : w.steps[j]].tolist() if n > size]
        assert not larger or larger[0] - size > idle


@given(some_workers, st.integers(0, 32))
def test_without_deadlines_nobody_waits_for_the_sake_of_the_growth_of_another(w: Workers, capacity: int) -> None:
    given = allocate(w._replace(left=np.full_like(w.left, math.inf)), capacity, SLOT).given
    smallest = w.sizes[:, 0]
    room = capacity - int(smallest[given > 0].sum())
    assert all(smallest[j] > room for j in np.flatnonzero(given == 0))


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=7),
    st.integers(1, 3),
)
def test_for_jobs_of_one_unit_the_most_that_can_be_saved_are_saved(due: list[int], capacity: int) -> None:
    w = workers(*({"curve": {1: 1.0}, "need": SLOT, "left": SLOT * deadline} for deadline in due))
    saved = allocate(w, capacity, SLOT, grain=SLOT).saved
    most = max(
        size
        for size in range(len(due) + 1)
        for some in combinations(sorted(due), size)
        if all(index < deadline * capacity for index, deadline in enumerate(some))
    )
    assert saved.sum() == most


# -- cases ------------------------------------------------------------------------------------------------------------


def test_a_job_gets_the_workers_that_its_deadline_needs() -> None:
    w = workers({"curve": LINEAR, "need": 400.0, "left": 100.0}, {"curve": LINEAR, "need": 400.0, "left": 100.0})
    sizes = allocate(w, 8, SLOT)
    assert sizes.given.tolist() == [4, 4]
    assert sizes.share.tolist() == [4, 4]


def test_of_two_that_cannot_both_be_saved_the_smaller_is_and_the_other_goes_behind() -> None:
    w = workers({"curve": {8: 8.0}, "need": 800.0, "left": 100.0}, {"curve": LINEAR, "need": 600.0, "left": 100.0})
    sizes = allocate(w, 8, SLOT)
    assert sizes.saved.tolist() == [False, True]
    assert sizes.given.tolist() == [0, 8]


def test_a_job_that_cannot_be_saved_any_more_runs_on_what_is_left() -> None:
    w = workers({"curve": LINEAR, "need": 9000.0, "left": 60.0}, {"curve": LINEAR, "need": 240.0, "left": 120.0})
    sizes = allocate(w, 3, SLOT)
    assert sizes.saved.tolist() == [False, True]
    assert sizes.given.tolist() == [1, 2]


def test_idle_workers_go_where_one_more_brings_most() -> None:
    w = workers({"curve": AMDAHL, "need": 1e6}, {"curve": LINEAR, "need": 1e6})
    assert allocate(w, 9, SLOT).given.tolist() == [1, 8]


def test_a_running_job_does_not_grow_for_less_than_its_restart_costs_nor_soon_after_the_last_time() -> None:
    job = {"curve": LINEAR, "need": 100.0, "held": 2, "restart": 20.0}
    assert allocate(workers(job), 8, SLOT).given.tolist() == [2]
    assert allocate(workers({**job, "need": 1000.0}), 8, SLOT).given.tolist() == [8]
    assert allocate(workers({**job, "need": 1000.0, "fixed": True}), 8, SLOT).given.tolist() == [2]


def test_a_job_shrinks_so_that_nobody_waits_and_gets_back_what_nobody_needs() -> None:
    grown = {"curve": LINEAR, "need": 1e6, "held": 8, "restart": 20.0}
    assert allocate(workers(grown, {"curve": {4: 4.0}, "need": 1e3}), 8, SLOT).given.tolist() == [4, 4]
    assert allocate(workers(grown, {"curve": {16: 4.0}, "need": 1e3}), 8, SLOT).given.tolist() == [8, 0]


def test_more_workers_that_are_no_faster_are_no_size() -> None:
    assert elastic.useful([1, 2, 4, 8], [1.0, 1.8, 1.7, 2.0]) == ([1, 2, 8], [1.0, 1.8, 2.0])


@pytest.mark.parametrize(("sizes", "speeds"), [([0], [1.0]), ([4], [0.0]), ([], [])])
def test_a_job_that_no_number_of_workers_helps_is_refused(sizes: list[int], speeds: list[float]) -> None:
    with pytest.raises(InvalidField):
        elastic.useful(sizes, speeds)
