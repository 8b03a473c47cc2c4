"""Workloads of our own: the same from the same seed, valid, runnable, and shaped as they claim."""

import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide.admit import validate
from fairway.model.errors import InvalidField
from fairway.model.resources import WHOLE
from fairway.sim.simulate import simulate
from fairway.sim.traces import generate
from fairway.sim.traces.generate import Mix

SIZES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 32),
        "nodes": st.integers(1, 12),
        "jobs": st.integers(1, 40),
        "gpus_per_node": st.sampled_from((1, 2, 4, 8)),
        "executors": st.integers(1, 3),
    }
)


@given(SIZES)
def test_the_same_seed_gives_the_same_trace(sizes: dict[str, int]) -> None:
    assert generate(**sizes) == generate(**sizes)


@given(SIZES)
def test_every_job_is_valid_and_in_order(sizes: dict[str, int]) -> None:
    trace = generate(**sizes)
    assert len(trace.jobs) == sizes["jobs"]
    assert len({job.id for job in trace.jobs}) == sizes["jobs"]
    assert [validate(job) for job in trace.jobs] == [[]] * sizes["jobs"]
    submitted = [job.submitted for job in trace.jobs]
    assert submitted == sorted(submitted)
    assert submitted[0] == 0
    assert {job.queue for job in trace.jobs} <= {queue.id for queue in trace.queues}


@given(SIZES)
def test_every_job_runs_some_day(sizes: dict[str, int]) -> None:
    trace = generate(**{**sizes, "executors": 1})
    report = simulate(trace)
    assert (report.completed, report.unfinished) == (len(trace.jobs), 0)


def test_another_seed_gives_another_trace() -> None:
    assert generate(1).jobs != generate(2).jobs


def test_run_times_are_heavy_tailed_and_shapes_mixed() -> None:
    trace = generate(7, nodes=16, jobs=4_000)
    works = [job.work or 0 for job in trace.jobs]
    assert statistics.mean(works) > 2.5 * statistics.median(works)
    requests = [job.roles[0].request for job in trace.jobs]
    assert 0.05 < sum(request.gpus == 0 for request in requests) / 4_000 < 0.15
    assert 0.2 < sum(request.fractional for request in requests) / 4_000 < 0.3
    assert 0.04 < sum(job.gang for job in trace.jobs) / 4_000 < 0.12
    assert 0.1 < sum(job.deadline is not None for job in trace.jobs) / 4_000 < 0.2
    assert len({job.priority.cls for job in trace.jobs}) == 5


def test_load_is_what_it_says() -> None:
    trace = generate(3, nodes=8, jobs=3_000, load=0.5)
    asked = sum(
        (job.work or 0) * role.count * role.request.gpus * min(role.request.gpu_milli, WHOLE)
        for job in trace.jobs
        for role in job.roles
    )
    span = trace.jobs[-1].submitted
    assert asked / (span * trace.gpu_milli) == pytest.approx(0.5, rel=0.15)


def test_arrivals_follow_the_day() -> None:
    trace = generate(11, nodes=8, jobs=6_000, load=0.5, mix=replace(Mix(), gangs=0.0))
    hours = [job.submitted // 3_600_000 % 24 for job in trace.jobs]
    busiest = max(sum(1 for hour in hours if (hour - start) % 24 < 12) for start in range(24))
    assert busiest > 0.6 * len(hours)


@pytest.mark.parametrize("wrong", [{"nodes": 0}, {"jobs": 0}, {"gpus_per_node": 0}, {"load": 0.0}])
def test_a_size_that_makes_no_cluster_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidField) as caught:
        generate(1, **wrong)
    assert caught.value.field in wrong
