"""What an elastic job may say of itself."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.elastic import Batch, BatchLimits, Elasticity, batch_wrong, speedup_wrong, wrong_with


@st.composite
def curves(draw: st.DrawFn) -> tuple[tuple[int, float], ...]:
    """Any curve that rises, and nowhere faster than in proportion."""
    workers = sorted(draw(st.sets(st.integers(1, 200), min_size=2, max_size=8)))
    points = [(workers[0], draw(st.floats(0.1, 10)))]
    for more in workers[1:]:
        before, speed = points[-1]
        points.append((more, speed * (more / before) ** draw(st.floats(0.05, 1))))
    return tuple(points)


@given(curves())
def test_a_curve_that_rises_within_proportion_is_right(points: tuple[tuple[int, float], ...]) -> None:
    assert speedup_wrong(points, points[0][0], points[-1][0]) == ""


@given(curves(), st.data())
def test_every_mistake_is_refused(points: tuple[tuple[int, float], ...], data: st.DataObject) -> None:
    least, most = points[0][0], points[-1][0]
    at = data.draw(st.integers(1, len(points) - 1))
    (fewer, slower), (more, speed) = points[at - 1], points[at]

    def said(*wrong: tuple[int, float]) -> str:
        return speedup_wrong((*points[: at - 1], *wrong, *points[at + 1 :]), least, most)

    assert "proportion" in said((fewer, slower), (more, slower * more / fewer * 1.01))
    assert "more must be faster" in said((fewer, slower), (more, slower))
    assert "ascending" in said((more, slower), (fewer, speed)) or "remove it" in said((more, slower), (fewer, speed))
    for nonsense in (0.0, -speed, math.nan, math.inf):
        assert "above 0" in said((fewer, slower), (more, nonsense))
    assert "remove it" in speedup_wrong(points, least + 1, most)
    assert "remove it" in speedup_wrong(points, least, most - 1)
    assert "one point" in speedup_wrong(points[:1], least, most)


@pytest.mark.parametrize(
    ("batch", "field"),
    [
        (BatchLimits(0, 10), "first"),
        (BatchLimits(64, 32), "most"),
        (BatchLimits(64, 1024, 32, 16), "local_most"),
        (BatchLimits(64, 127, 16), "most"),
        (BatchLimits(1, 1024), "first"),
        (BatchLimits(64, 1 << 50), "most"),
    ],
)
def test_limits_that_cannot_be_are_refused_by_name(batch: BatchLimits, field: str) -> None:
    assert batch_wrong(batch, 2, 8)[0] == field
    assert [name for name, _ in wrong_with(Elasticity(batch=batch), (2, 8))] == [f"batch.{field}"]


def test_only_a_job_that_changes_its_workers_says_any_of_it() -> None:
    said = Elasticity(((1, 1.0), (2, 1.9)), BatchLimits(64, 512))
    assert list(wrong_with(said, (1, 2))) == []
    assert [field for field, _ in wrong_with(said, None)] == ["speedup", "batch"]
    assert list(wrong_with(Elasticity(), None)) == []


def test_a_batch_reads_like_a_sentence() -> None:
    assert str(Batch(256, 32, 2)) == "256 (32 on each worker, 2 times)"
