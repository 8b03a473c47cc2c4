from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.faces.manifests import units
from fairway.faces.manifests.units import GpuCount, Moment
from fairway.model.job import Priority, PriorityClass
from fairway.model.time import HOUR, MINUTE, Instant


@pytest.mark.parametrize(
    ("read", "written", "meant"),
    [
        (units.cpu, 2, 2000),
        (units.cpu, "500m", 500),
        (units.cpu, 0.1, 100),
        (units.cpu, "1.25", 1250),
        (units.mebibytes, "64Gi", 65_536),
        (units.mebibytes, "512Mi", 512),
        (units.mebibytes, "1GB", 954),
        (units.mebibytes, "1.5GiB", 1536),
        (units.mebibytes, "1Ki", 1),
        (units.mebibytes, 0, 0),
        (units.gpus, 2, GpuCount(2)),
        (units.gpus, 0.5, GpuCount(1, 500)),
        (units.gpus, "250m", GpuCount(1, 250)),
        (units.gpus, 1, GpuCount(1)),
        (units.gpus, 0, GpuCount(0)),
        (units.gpu_sum, 2.5, 2500),
        (units.megabits, "10G", 10_000),
        (units.megabits, 500, 500),
        (units.duration, "1h30m", HOUR + 30 * MINUTE),
        (units.duration, 0, 0),
        (units.priority, "HIGH", Priority(PriorityClass.HIGH)),
        (units.priority, "high+5", Priority(PriorityClass.HIGH, 5)),
        (units.priority, "preemptible-3", Priority(PriorityClass.PREEMPTIBLE, -3)),
        (units.dollars, "$2.50", 2_500_000),
        (units.moment, "2h", Moment(after=2 * HOUR)),
        (units.moment, "2026-11-21T18:00:00+00:00", Moment(at=Instant(1_795_284_000_000))),
        (units.moment, datetime(2026, 11, 21, 18, tzinfo=UTC), Moment(at=Instant(1_795_284_000_000))),
    ],
)
def test_amounts_and_times_as_people_write_them(read, written, meant) -> None:
    assert read(written) == meant


@pytest.mark.parametrize(
    ("read", "written", "says"),
    [
        (units.cpu, "2 cores", "has the unit 'cores': write CPUs like 2, 0.5 or 500m"),
        (units.cpu, "1.5m", "is finer than a thousandth of a CPU"),
        (units.cpu, -1, "-1 < 0: write a number of CPUs"),
        (units.cpu, True, "True is not a number of CPUs"),
        (units.cpu, [1], "a list is not a number of CPUs"),
        (units.cpu, float("nan"), "nan is not a number of CPUs"),
        (units.mebibytes, 64, "'64' has no unit: write it like 512Mi or 64Gi"),
        (units.mebibytes, "64Gb", "has the unit 'Gb'"),
        (units.gpus, 1.5, "is neither whole devices nor a share of one: write 1 or less than 1"),
        (units.gpus, "0.0001", "is finer than a thousandth of a GPU"),
        (units.duration, 90, "90 is not a duration with a unit"),
        (units.duration, "90", "is not a duration"),
        (units.duration, "20000d", "nothing may take longer"),
        (units.moment, "2026-13-01", "is not a time"),
        (units.priority, "hihg", "did you mean high?"),
        (units.priority, 5, "one of critical, high, medium, low, preemptible"),
        (units.priority, {"a": 1}, "a mapping is not a priority"),
        (units.dollars, "3 EUR", "has the unit 'EUR'"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(read, written, says: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is compared below
        read(written)
    assert says in str(raised.value)


@given(st.integers(0, 10**9))
def test_millicores_are_exact_however_they_are_written(milli: int) -> None:
    assert units.cpu(f"{milli}m") == milli
    assert units.cpu(f"{milli // 1000}.{milli % 1000:03d}") == milli
    assert units.cpu(milli / 1000) == milli


@given(st.integers(0, 10**6), st.sampled_from(["k", "K", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]))
def test_memory_is_never_rounded_down(number: int, unit: str) -> None:
    sizes = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    size = sizes.get(unit) or 1 << (10 * (1 + "KMGT".index(unit[0])))
    mib = units.mebibytes(f"{number}{unit}")
    asked = Fraction(number * size, 1 << 20)
    assert asked <= mib < asked + 1


@given(st.text(max_size=30))
def test_any_text_is_understood_or_refused_in_a_short_sentence(text: str) -> None:
    for read in (units.cpu, units.mebibytes, units.gpus, units.megabits, units.duration, units.moment, units.priority):
        said = "understood"
        try:
            read(text)
        except ValueError as error:
            said = str(error)
        assert 0 < len(said) < 300
