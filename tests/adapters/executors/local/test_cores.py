"""Binding tasks to the least loaded cores."""

from hypothesis import given
from hypothesis import strategies as st

from fairway.adapters.executors.local.cores import Cores

COUNTS = st.integers(1, 16)
ASKS = st.lists(st.integers(0, 20_000), max_size=30)


@given(COUNTS, ASKS)
def test_a_task_gets_as_many_cores_as_it_takes_or_any(count: int, asks: list[int]) -> None:
    cores = Cores(range(count))
    for milli in asks:
        chosen = cores.choose(milli)
        needed = -(-milli // 1_000)
        assert len(chosen) == (needed if 0 < needed < count else 0)
        assert len(set(chosen)) == len(chosen)
        cores.add(chosen, milli)


@given(COUNTS, ASKS)
def test_the_chosen_are_never_more_loaded_than_the_others(count: int, asks: list[int]) -> None:
    cores = Cores(range(count))
    for milli in asks:
        chosen = cores.choose(milli)
        load = cores.load
        others = load.keys() - set(chosen)
        if chosen and others:
            assert max(load[core] for core in chosen) <= min(load[core] for core in others)
        cores.add(chosen, milli)


@given(COUNTS, ASKS)
def test_what_is_taken_comes_back(count: int, asks: list[int]) -> None:
    cores = Cores(range(count))
    taken = []
    for milli in asks:
        taken.append((cores.choose(milli), milli))
        cores.add(*taken[-1])
    for chosen, milli in taken:
        cores.remove(chosen, milli)
    assert set(cores.load.values()) == {0}


def test_equal_tasks_spread_evenly() -> None:
    cores = Cores([4, 5, 6, 7])
    for _ in range(8):
        cores.add(cores.choose(1_000), 1_000)
    assert set(cores.load.values()) == {2_000}


def test_cores_that_are_no_more_do_not_count() -> None:
    cores = Cores([0, 1, 2])
    cores.add((7,), 1_000)
    cores.remove((7,), 1_000)
    assert cores.load == {0: 0, 1: 0, 2: 0}
