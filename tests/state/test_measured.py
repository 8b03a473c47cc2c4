"""What programs measure is believed as far as it can be true."""

from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.elastic import BatchLimits, Elasticity
from fairway.model.facts import Measured, Progressed
from fairway.model.ids import AttemptId, JobId
from fairway.model.job import Job, Role
from fairway.model.phases import Cause
from fairway.model.time import MINUTE
from fairway.state.codec import dump, load
from fairway.state.measured import JUMP, MOST_RUNS, WEIGHT, Run, believed
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, same, submitted

ANY_FLOAT = st.none() | st.floats() | st.floats(1e-3, 1e6)
ANY_INT = st.none() | st.integers(-(1 << 62), 1 << 62) | st.integers(1, 5000)
LIMITS = BatchLimits(64, 4096, 8, 512)


NOTHING = Elasticity()


def running(elastic: Elasticity = NOTHING) -> Rehearsal:
    it = Rehearsal()
    it.nodes(a_node("n1", 4))
    role = Role(count=4, min_count=2, request=a_request(1, cpu=1))
    job: Job = a_job("a", role, checkpoints=True, elastic=elastic)
    it.tell(submitted(job))
    it.settle()
    it.start()
    return it


def believes(it: Rehearsal) -> list[Any]:
    """All numbers that are believed."""
    return [(record.whole, record.other) for record in it.state.measured.records()] or [((0,) * 40, (0.0,) * 21)]


def measures(it: Rehearsal, **numbers: Any) -> str:
    """Tell it; returns why it was refused."""
    it.tell(Measured(it.attempt("a"), **numbers))
    return it.state.measured.refused[it.state.measured.row_of[JobId("a")]]


@given(
    st.lists(
        st.tuples(ANY_INT, ANY_INT, st.integers(-3, 1 << 40) | st.just(1), ANY_FLOAT, ANY_FLOAT, ANY_FLOAT), max_size=12
    ),
    st.sampled_from([Elasticity(), Elasticity(batch=LIMITS)]),
)
def test_whatever_is_told_the_state_stays_sound(
    reports: list[tuple[Any, Any, int, Any, Any, Any]], elastic: Elasticity
) -> None:
    it = running(elastic)
    for batch, workers, accumulate, throughput, compute, noise in reports:
        before = believes(it)
        refused = measures(
            it, batch=batch, workers=workers, accumulate=accumulate, throughput=throughput, compute=compute, noise=noise
        )
        assert not refused or believes(it) == before
        numbers = (batch, throughput, noise)
        assert refused or all(number is None or (isfinite(number) and number > 0) for number in numbers)
        assert len(it.state.measured.runs(0)) <= MOST_RUNS
        it.prove()
    assert same(it.state, load(dump(it.state)))
    assert same(it.state, it.replayed())


@given(st.floats(1e-6, 1e12), st.floats(1e-6, 1e12))
def test_one_report_moves_what_is_believed_by_little_and_many_agree_in_the_end(before: float, said: float) -> None:
    after = believed(before, said)
    most = JUMP**WEIGHT
    assert before / most * (1 - 1e-9) <= after <= before * most * (1 + 1e-9)
    for _ in range(200):
        after = believed(after, said)
    assert after == pytest.approx(said, rel=1e-3)


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"batch": 64, "throughput": -1.0}, "throughput is -1"),
        ({"batch": 64, "throughput": float("nan")}, "throughput is nan"),
        ({"batch": 64, "throughput": 1e300}, "throughput is 1e+300"),
        ({"batch": 64, "noise": float("inf")}, "noise is inf"),
        ({"batch": 64, "workers": 3}, "the attempt has 4"),
        ({"throughput": 10.0}, "says nothing without batch"),
        ({"batch": 64, "compute": 0.1}, "says nothing without throughput"),
        ({"batch": 32, "throughput": 10.0}, "the manifest allows 64 to 4096"),
        ({"batch": 8192, "throughput": 10.0}, "the manifest allows 64 to 4096"),
        ({"batch": 64, "accumulate": 99, "throughput": 10.0}, "at least one example each"),
        ({"batch": 64, "accumulate": 0, "throughput": 10.0}, "accumulate is 0"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_change(numbers: dict[str, Any], why: str) -> None:
    it = running(Elasticity(batch=LIMITS))
    assert why in measures(it, **numbers)
    row = it.state.measured.row_of[JobId("a")]
    assert it.state.measured.runs(row) == ()
    assert it.state.measured.noise[row] == 0
    assert measures(it, batch=64, throughput=640.0) == "", "the next one is judged by itself"


def test_steps_of_one_kind_are_one_run_and_the_oldest_kind_is_forgotten() -> None:
    it = running()
    for _ in range(3):
        measures(it, batch=64, throughput=640.0, compute=0.05)
    row = it.state.measured.row_of[JobId("a")]
    assert it.state.measured.runs(row) == (Run(1, 4, 16, 1, pytest.approx(0.1), pytest.approx(0.05)),)
    for batch in range(2, 2 + MOST_RUNS):
        measures(it, batch=64 * batch, throughput=640.0)
    assert [run.local for run in it.state.measured.runs(row)] == [16 * batch for batch in range(2, 2 + MOST_RUNS)]


def test_an_attempt_that_is_over_is_not_heard_and_a_job_that_has_ended_is_forgotten() -> None:
    it = running()
    it.tell(Measured(AttemptId(JobId("a"), 7), batch=64, throughput=640.0))
    it.tell(Measured(AttemptId(JobId("b"), 1), batch=64, throughput=640.0))
    assert not len(it.state.measured)
    measures(it, batch=64, throughput=640.0)
    it.end("a", Cause.SUCCEEDED)
    assert not len(it.state.measured)
    it.prove()


def test_what_was_measured_outlives_a_restart() -> None:
    it = running(Elasticity(batch=LIMITS))
    measures(it, batch=64, throughput=640.0, noise=900.0)
    it.tell(Progressed(it.attempt("a"), step=10), after=MINUTE)
    it.tell(Progressed(it.attempt("a"), step=500), after=2 * MINUTE)
    before = it.state.measured.records()
    it.restart()
    assert it.state.measured.records() == before
    it.end("a", Cause.NODE_LOST)
    row = it.state.measured.row_of[JobId("a")]
    assert it.state.measured.rate[row].tolist() == [490 / (2 * MINUTE), 4.0], "it knows of the steps before the restart"
