"""Ranges are corrected by what came of earlier ones: ordered, and later where people waited longer."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide.calibrate import MOST_RATIO, PRIOR, Told, corrected, quantile
from fairway.model.reasons import Range
from fairway.model.time import HOUR, MINUTE, Instant

NOW = Instant(1_000 * HOUR)

spans = st.integers(0, 100 * HOUR)


@st.composite
def tellings(draw: st.DrawFn) -> Told:
    at, p50, more = NOW - draw(st.integers(1, 500 * HOUR)), draw(spans), draw(spans)
    came = draw(st.none() | st.integers(at, NOW))
    return Told(
        Instant(at), Range(Instant(at + p50), Instant(at + p50 + more)), None if came is None else Instant(came)
    )


@given(st.lists(tellings(), max_size=60), spans, spans)
def test_p50_is_never_after_p90_nor_before_now(before: list[Told], p50: int, more: int) -> None:
    said = corrected(Range(Instant(NOW + p50), Instant(NOW + p50 + more)), NOW, before)
    assert NOW <= said.p50 <= said.p90


@given(st.lists(tellings(), max_size=60), st.integers(1, 20), spans)
def test_who_waited_longer_makes_ranges_later(before: list[Told], factor: int, p50: int) -> None:
    """The more comes ahead, the longer everybody waited; whoever has not started counts as one that waits longer."""
    said = Range(Instant(NOW + p50), Instant(NOW + 2 * p50))
    longer = [
        Told(each.at, each.said, Instant(min(NOW, each.at + factor * (each.came - each.at))))
        if each.came is not None
        else each
        for each in before
    ]
    first, then = corrected(said, NOW, before), corrected(said, NOW, longer)
    assert then.p50 >= first.p50
    assert then.p90 >= first.p90
    still = [Told(each.at, each.said) for each in before]
    assert corrected(said, NOW, still).p90 >= first.p90


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50), st.floats(0.05, 0.95))
def test_where_all_have_started_it_is_the_plain_quantile(values: list[float], q: float) -> None:
    plain = sorted(values)[min(int(np.ceil(q * len(values) - 1e-9)), len(values)) - 1]
    assert quantile(np.array(values), np.ones(len(values), np.bool_), q) == plain


def test_those_who_still_wait_are_not_left_out() -> None:
    """Five started after 1 to 5, five have waited for 3: of those beyond 3 nobody knows more: they share the rest."""
    values = np.array([1.0, 2, 3, 4, 5, 3, 3, 3, 3, 3])
    seen = np.array([True] * 5 + [False] * 5)
    assert quantile(values, seen, 0.3) == 3
    assert quantile(values, seen, 0.5) == 4, "the plain quantile of those that started would be 3"
    assert quantile(values, ~seen & False, 0.5) == 5, "the largest where nobody has started"


def test_many_right_ranges_make_up_for_what_was_believed_before() -> None:
    """What waits take is drawn from the very distribution that was said: hardly anything is left to correct."""
    rng = np.random.default_rng(3)
    before: list[Told] = []
    for _ in range(2_000):
        at, wait = NOW - 500 * HOUR, int(HOUR * rng.lognormal(0, 1))
        before.append(
            Told(Instant(at), Range(Instant(at + HOUR), Instant(at + int(HOUR * np.exp(1.2816)))), Instant(at + wait))
        )
    said = corrected(Range(Instant(NOW + HOUR), Instant(NOW + int(HOUR * np.exp(1.2816)))), NOW, before)
    assert 0.9 < (said.p50 - NOW) / HOUR < 1.12
    assert 0.85 < (said.p90 - NOW) / (HOUR * np.exp(1.2816)) < 1.2
    fresh = corrected(Range(Instant(NOW + HOUR), Instant(NOW + 2 * HOUR)), NOW, [])
    assert 2 < (fresh.p50 - NOW) / HOUR < 5, "at first plays are believed to say too early"


def test_nothing_is_stretched_without_end() -> None:
    lost = [Told(Instant(0), Range(Instant(1), Instant(1))) for _ in range(50 * PRIOR)]
    said = corrected(Range(Instant(NOW + HOUR), Instant(NOW + HOUR)), NOW, lost)
    assert said.p90 - NOW <= MOST_RATIO * (HOUR + MINUTE)


def test_a_short_wait_is_told_as_it_was_played_while_nothing_is_known_of_such() -> None:
    """A cluster that has just begun; and one where everybody else has waited ten times as long as was said."""
    soon = Range(Instant(NOW + 3 * MINUTE), Instant(NOW + 4 * MINUTE))
    assert corrected(soon, NOW, []) == soon
    at = NOW - 500 * HOUR
    long = [Told(Instant(at), Range(Instant(at + HOUR), Instant(at + HOUR)), Instant(at + 10 * HOUR))] * 50
    assert corrected(soon, NOW, long) == soon
    assert corrected(Range(Instant(NOW + HOUR), Instant(NOW + HOUR)), NOW, long).p50 > NOW + 8 * HOUR
