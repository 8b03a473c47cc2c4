"""A budget of an hour fills again minute by minute."""

from hypothesis import given
from hypothesis import strategies as st

from fairway.model.time import HOUR, MINUTE
from fairway.state.window import Window


@given(st.lists(st.tuples(st.integers(0, 2 * HOUR), st.integers(1, 3)), max_size=20), st.integers(0, 3 * HOUR))
def test_what_happened_in_the_last_hour_counts_by_the_minute(events: list[tuple[int, int]], later: int) -> None:
    window, now = Window(), 0
    told: list[tuple[int, int]] = []
    for gap, times in events:
        now += gap // 8
        window.add(now, times)
        told.append((now // MINUTE, times))
    now += later
    counted = [(minute, times) for minute, times in told if minute > now // MINUTE - 60]
    assert window.count(now) == sum(times for _, times in counted)
    assert len(window.minutes) <= 60
    frees = window.frees_at(now)
    if not counted:
        assert frees is None
    else:
        assert frees == counted[0][0] * MINUTE + HOUR
        assert now < frees <= now + HOUR
        assert window.count(frees) < window.count(now)
        assert window.count(frees - 1) == window.count(now)
