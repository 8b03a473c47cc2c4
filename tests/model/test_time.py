"""Durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.errors import InvalidField
from fairway.model.time import (
    DAY,
    HOUR,
    MINUTE,
    NEVER,
    SECOND,
    Duration,
    Instant,
    format_duration,
    later,
    parse_duration,
)

WRITTEN = [
    ("90s", 90_000),
    ("1h30m", 5_400_000),
    ("250ms", 250),
    ("2d", 172_800_000),
    ("1.5h", 5_400_000),
    ("1h 5m", 3_900_000),
]


@pytest.mark.parametrize(("text", "length"), WRITTEN)
def test_a_duration_is_read(text: str, length: int) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "5", "h", "5 minutes", "1m30", "-5s", "1e3s", "5x", "9" * 400 + "h"])
def test_what_is_no_duration_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_duration(text, "max_runtime")
    assert caught.value.field == "max_runtime"


SHOWN = [
    (0, "0ms"),
    (999, "999ms"),
    (1000, "1s"),
    (61_000, "1m1s"),
    (3_600_000, "1h"),
    (90_061_001, "1d1h"),
    (-5000, "-5s"),
]


@pytest.mark.parametrize(("length", "text"), SHOWN)
def test_a_duration_is_shown_by_its_two_largest_units(length: int, text: str) -> None:
    assert format_duration(length) == text


@given(st.integers(0, 99), st.sampled_from((DAY, HOUR, MINUTE, SECOND)))
def test_what_is_shown_is_read_again(count: int, unit: int) -> None:
    assert parse_duration(format_duration(count * unit)) == count * unit


@given(st.integers(0, 1 << 62), st.integers(0, 1 << 62))
def test_later_stays_before_never(instant: int, by: int) -> None:
    assert instant <= later(Instant(instant), Duration(by)) <= NEVER
