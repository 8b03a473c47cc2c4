import gc
import weakref
from collections.abc import Iterator

import pytest

from fairway.adapters.garbage import short_pauses


class Node:
    """Something that can be part of a cycle."""

    def __init__(self) -> None:
        self.other: Node | None = None


def cycle() -> Node:
    one, two = Node(), Node()
    one.other, two.other = two, one
    return one


@pytest.fixture(autouse=True)
def _by_hand() -> Iterator[None]:
    """No collection but those that the test asks for."""
    gc.disable()
    yield
    gc.enable()


def test_what_outlives_a_full_collection_is_not_looked_at_again() -> None:
    with short_pauses():
        kept = [cycle() for _ in range(100)]
        before = gc.get_freeze_count()
        gc.collect()
        assert gc.get_freeze_count() >= before + 2 * len(kept)
        assert not any(thing is kept for thing in gc.get_objects())


def test_dead_cycles_are_still_collected() -> None:
    with short_pauses():
        dead = weakref.ref(cycle())
        assert dead() is not None
        gc.collect()
        assert dead() is None


def test_a_cycle_that_dies_after_it_was_set_aside_goes_when_everything_is_looked_at_again() -> None:
    with short_pauses(thaw_after=3):
        kept = cycle()
        gone = weakref.ref(kept)
        gc.collect()
        del kept
        gc.collect()
        assert gone() is not None
        gc.collect()  # the third: everything thaws
        gc.collect()
        assert gone() is None


def test_afterwards_the_process_is_as_it_was() -> None:
    callbacks = list(gc.callbacks)
    with short_pauses():
        assert gc.get_freeze_count()
    assert not gc.get_freeze_count()
    assert gc.callbacks == callbacks
