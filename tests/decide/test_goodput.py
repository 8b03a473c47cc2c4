"""Elastic jobs that choose their batch: goodput, who gets how many GPUs, and where they sit."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairway.decide import goodput
from fairway.decide.goodput import Asking, Limits, Noise, Pace, candidates, divide, gain, seat, step_time, tune

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PACE = Pace(compute=0.1, example=0.01, remote=0.3, remote_more=0.01, local=0.1, local_more=0.005, overlap=1.6)
LIMITS = Limits(first=32, most=1024, local_least=8, local_most=64)


def twin(pace: Pace, noise: Noise, limits: Limits, nodes: int, gpus: int) -> float:
    """The best goodput over every batch that is allowed, one after the other."""
    best = 0.0
    for local in range(limits.local_least, limits.local_most + 1):
        for accumulated in range(limits.most // limits.local_least):
            batch = gpus * local * (accumulated + 1)
            alone = gpus == 1 and batch > limits.first and not accumulated
            if not limits.first <= batch <= limits.most or alone:
                continue
            compute = pace.compute + pace.example * local
            across = pace.remote + pace.remote_more * max(0, gpus - 2)
            within = pace.local + pace.local_more * max(0, gpus - 2)
            exchange = across if nodes > 1 else within if gpus > 1 else 0.0
            seconds = (compute**pace.overlap + exchange**pace.overlap) ** (1 / pace.overlap) + accumulated * compute
            progress = (noise.variance + noise.square) / (noise.variance * limits.first / batch + noise.square)
            best = max(best, progress / seconds)
    return best


@given(st.integers(1, 40), st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_batch_that_is_chosen_is_about_the_best_there_is(gpus: int, square: float, variance: float) -> None:
    nodes, noise = -(-gpus // 4), Noise(square, variance)
    tuned = tune(PACE, noise, LIMITS, np.array([nodes]), np.array([gpus]))
    best = twin(PACE, noise, LIMITS, nodes, gpus)
    assert 0.97 * best <= tuned.goodput[0] <= best * (1 + 1e-9)


@given(st.lists(st.integers(1, 128), min_size=1, max_size=5, unique=True))
def test_no_batch_breaks_the_limits_of_its_job(sizes: list[int]) -> None:
    local, accumulated, allowed = candidates(LIMITS, tuple(sizes))
    total = local * np.array(sizes) * (accumulated + 1)
    assert (total[allowed] <= LIMITS.most).all()
    assert (total[allowed] >= LIMITS.first).all()
    assert ((local[allowed] >= LIMITS.local_least) & (local[allowed] <= LIMITS.local_most)).all()
    assert (accumulated[allowed] >= 0).all()
    assert allowed[:, np.array(sizes) * LIMITS.local_least <= LIMITS.most].any(axis=0).all(), "what can run may run"


def test_more_overlap_is_never_slower_and_spanning_nodes_never_faster() -> None:
    gpus, local = np.array([2, 4, 8]), np.array([8, 16, 64])
    one, two = np.ones(3, np.int64), np.array([2, 2, 2])
    assert (step_time(PACE, two, gpus, local) >= step_time(PACE, one, gpus, local)).all()
    assert (step_time(PACE._replace(overlap=5), one, gpus, local) <= step_time(PACE, one, gpus, local)).all()
    alone = step_time(PACE, one, np.ones(3, np.int64), local)
    np.testing.assert_allclose(alone, PACE.compute + PACE.example * local)


def test_progress_of_a_step_is_one_at_the_first_batch_and_less_than_in_proportion() -> None:
    noise, scale = Noise(1.0, 3.0), np.array([1.0, 2.0, 1000.0])
    steps = gain(noise, scale)
    assert steps[0] == 1.0
    assert 1 < steps[1] < 2
    assert steps[2] < 4, "at most 1 + variance / square"
    assert gain(Noise(0.0, 0.0), scale).tolist() == [1, 1, 1], "no gradient, no progress to be had"


def test_favours_fall_with_what_has_been_attained() -> None:
    weights = goodput.favours(np.array([0.0, 600.0, 60_000.0]))
    assert weights[0] == 1
    assert (np.diff(weights) < 0).all()


@st.composite
def askings(draw: st.DrawFn) -> Asking:
    """1-8 jobs with curves of any shape over the sizes 1, 2, 4, 8."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    jobs, sizes = draw(st.integers(1, 8)), np.array([1, 2, 4, 8])
    speed = np.cumsum(rng.random((jobs, 4)), axis=1) * (rng.random((jobs, 1)) < 0.9)
    held = rng.choice([0, 0, 1, 2, 4], jobs)
    return Asking(sizes, speed, rng.random(jobs) + 0.1, held, rng.random(jobs) * 0.3, draw(st.integers(1, 24)))


@given(askings())
def test_nobody_gets_a_size_it_cannot_have_and_no_gpu_is_given_twice(asking: Asking) -> None:
    given_ = divide(asking)
    assert given_.sum() <= asking.gpus
    for job, gpus in enumerate(given_.tolist()):
        assert gpus == 0 or asking.speed[job, asking.sizes.tolist().index(gpus)] > 0


@given(askings())
def test_what_is_given_out_is_worth_nearly_as_much_as_the_best_choice(asking: Asking) -> None:
    """By the value that is maximised, against every choice for up to four jobs: at most one step of a hull is lost."""
    few = Asking(asking.sizes, asking.speed[:4], asking.weight[:4], asking.held[:4] * 0, asking.lost[:4] * 0, 8)
    speed = np.column_stack([np.zeros(len(few.speed)), few.speed])
    value = few.weight[:, None] * speed / np.maximum(speed[:, 1:2], 1e-12)
    numbers = [0, *few.sizes.tolist()]
    every = itertools.product(range(len(numbers)), repeat=len(speed))
    choices = [c for c in every if sum(numbers[k] for k in c) <= few.gpus]
    best = max(sum(value[job, k] for job, k in enumerate(choice)) for choice in choices)
    got = sum(value[job, numbers.index(gpus)] for job, gpus in enumerate(divide(few).tolist()))
    assert got >= 0.5 * best - 1e-9


def test_a_gpu_goes_where_it_adds_most() -> None:
    speed = np.array([[1.0, 1.9, 3.4], [1.0, 1.2, 1.3]])
    given_ = divide(Asking(np.array([1, 2, 4]), speed, np.ones(2), np.zeros(2, np.int64), np.zeros(2), 5))
    assert given_.tolist() == [4, 1]


def test_a_running_job_is_not_resized_for_next_to_nothing() -> None:
    speed = np.array([[1.0, 1.02]])
    stays = Asking(np.array([1, 2]), speed, np.ones(1), np.array([1]), np.zeros(1), 2)
    assert divide(stays).tolist() == [1]
    grows = Asking(np.array([1, 2]), np.array([[1.0, 1.8]]), np.ones(1), np.array([1]), np.zeros(1), 2)
    assert divide(grows).tolist() == [2]
    young = Asking(np.array([1, 2]), np.array([[1.0, 1.8]]), np.ones(1), np.array([1]), np.array([0.6]), 2)
    assert divide(young).tolist() == [1], "a restart would cost it more than that"


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_seats_are_where_there_is_room_and_jobs_span_as_few_nodes_as_they_can(seed: int, nodes: int) -> None:
    """Sizes of 1, 2, 4 and whole nodes, over rounds in which jobs come, go and change."""
    rng = np.random.default_rng(seed)
    room, seats = np.full(nodes, 4), np.zeros((10, nodes), np.int64)
    for _ in range(6):
        given_, left = np.zeros(10, np.int64), 4 * nodes
        for job in rng.permutation(10).tolist():
            given_[job] = rng.choice([size for size in (0, 1, 2, 4, 8) if size <= left])
            left -= int(given_[job])
        before, seats = seats, seat(given_, seats, room)
        assert (seats.sum(axis=0) <= room).all()
        assert (seats.sum(axis=1) == given_).all(), "everybody sits"
        assert ((seats > 0).sum(axis=1) == -(-given_ // 4)).all(), "on no more nodes than it takes"
        whole = (before.sum(axis=1) == given_) & (given_ >= 4)
        assert (seats[whole] == before[whole]).all(), "nobody moves off a whole node"


def test_the_smaller_job_moves_over() -> None:
    seats = np.array([[1, 0], [0, 1], [0, 0]])
    placed = seat(np.array([1, 1, 4]), seats, np.array([4, 4]))
    assert (placed[2] == 4).any()
    assert placed[:2].sum(axis=0).tolist() in ([2, 0], [0, 2])
    assert (placed[:2] == seats[:2]).all(axis=1).sum() == 1, "only one of them has to"
