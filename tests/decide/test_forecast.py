"""Forecasts of run times: against the plain samples, through every level of backing off, and by their coverage."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import forecast
from fairway.model.facts import Progressed
from fairway.model.ids import JobId
from fairway.model.job import Job
from fairway.model.time import DAY, HOUR, MINUTE, Duration
from fairway.state.groups import shape_of
from fairway.state.history import RunTimes, bucket_of_run
from fairway.state.jobs import JobTable
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

SHAPE = shape_of(a_job("j", a_request(1)))


def table(history: RunTimes, *jobs: Job) -> tuple[JobTable, np.ndarray]:
    jobs_table = JobTable()
    for job in jobs:
        row = jobs_table.add(job.id)
        jobs_table.spec.append(None)
        jobs_table.history[row] = history.enter(job, shape_of(job))
        jobs_table.estimate[row] = job.estimate or 0
        jobs_table.longest[row] = job.max_runtime or 1 << 62
    return jobs_table, np.arange(len(jobs))


def whole(history: RunTimes, job: Job) -> tuple[float, float, bool]:
    span = forecast.pending(history, *table(history, job))
    return float(span.p50[0]), float(span.p90[0]), bool(span.known[0])


def taught(user: str, name: str, *works: float, history: RunTimes | None = None, gpus: int = 1) -> RunTimes:
    history = history or RunTimes()
    job = a_job(name, a_request(gpus), user=user)
    row = history.enter(job, shape_of(job))
    for work in works:
        history.learn(row, work, None)
    return history


def test_what_nothing_is_known_of_is_said_to_be_unknown() -> None:
    assert whole(RunTimes(), a_job("j", a_request(1))) == (HOUR, DAY, False)
    assert whole(RunTimes(), a_job("j", a_request(1), max_runtime=5 * MINUTE)) == (5 * MINUTE, 5 * MINUTE, True)


@given(st.lists(st.floats(1000, 1e9), min_size=4, max_size=60), st.sampled_from((0.5, 0.9)))
def test_a_quantile_is_the_sample_of_its_rank_to_nine_percent(works: list[float], q: float) -> None:
    p50, p90, known = whole(taught("ada", "run-1", *works), a_job("run-2", a_request(1), user="ada"))
    rank = min(math.ceil(q * (len(works) + 1)), len(works))
    exact = sorted(works)[rank - 1]
    assert known
    assert bucket_of_run(p50 if q == 0.5 else p90) == bucket_of_run(exact)


def test_it_backs_off_from_the_name_to_the_user_to_the_shape_to_all_work() -> None:
    history = taught("ada", "short", *[MINUTE] * 4)
    taught("ada", "long", *[HOUR] * 20, history=history)
    taught("bob", "other", *[DAY] * 40, history=history)
    p50s = [
        whole(history, a_job(name, a_request(gpus), user=user))[0]
        for user, name, gpus in (
            ("ada", "short-7", 1), ("ada", "new", 1), ("eve", "new", 1), ("eve", "new", 8),
        )
    ]  # fmt: skip
    assert [bucket_of_run(p50) for p50 in p50s] == [bucket_of_run(x) for x in (MINUTE, HOUR, DAY, DAY)]


def test_bad_estimates_are_corrected_by_how_far_they_were_off() -> None:
    history = RunTimes()
    job = a_job("run", a_request(1), user="ada")
    row = history.enter(job, SHAPE)
    for hours in (1, 2, 4, 8, 16):
        history.learn(row, hours * HOUR, hours * 10 * HOUR)
    p50, p90, known = whole(history, a_job("run", a_request(1), user="ada", estimate=Duration(30 * HOUR)))
    assert known
    assert 2.8 * HOUR < p50 <= p90 < 3.3 * HOUR


def test_an_estimate_that_nobody_can_correct_counts_as_it_stands() -> None:
    assert whole(RunTimes(), a_job("j", a_request(1), estimate=Duration(2 * HOUR)))[:2] == (2 * HOUR, 2 * HOUR)
    measured = taught("ada", "run", *[MINUTE] * 5)
    assert whole(measured, a_job("run", a_request(1), user="ada", estimate=Duration(2 * HOUR)))[0] < 2 * MINUTE


def running(it: Rehearsal, job: str) -> tuple[float, float]:
    row = it.state.jobs.row_of[JobId(job)]
    span = forecast.running(it.state.history, it.state.jobs, np.array([row]), it.state.now)
    return float(span.p50[0]), float(span.p90[0])


def a_run(**more: object) -> Rehearsal:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(after=1000)
    it.tell(submitted(a_job("run", a_request(1), user="ada", **more)))
    it.decide()
    it.start()
    return it


def test_what_has_run_is_conditioned_on() -> None:
    it = a_run()
    row = int(it.state.jobs.history[0])
    for minutes in [10] * 12 + [100] * 8:
        it.state.history.learn(row, minutes * MINUTE, None)
    p50, _ = running(it, "run")
    assert p50 < 12 * MINUTE
    it.tell(after=20 * MINUTE)
    p50, p90 = running(it, "run")
    assert 75 * MINUTE < p50 <= p90 < 90 * MINUTE


def test_what_outlives_everything_known_goes_on_for_as_long_as_it_has_run() -> None:
    it = a_run()
    it.state.history.learn(int(it.state.jobs.history[0]), MINUTE, None)
    it.tell(after=5 * HOUR)
    assert running(it, "run") == (5 * HOUR, 45 * HOUR)


def test_reported_steps_and_a_limit_are_believed_first() -> None:
    it = a_run(max_runtime=3 * HOUR)
    it.tell(after=HOUR)
    it.tell(Progressed(it.attempt("run"), step=100, total=150))
    assert running(it, "run") == (30 * MINUTE, 37.5 * MINUTE)
    it.tell(Progressed(it.attempt("run"), step=1, total=150))
    assert running(it, "run") == (2 * HOUR, 2 * HOUR)


def test_what_is_being_stopped_ends_now_and_a_replica_never() -> None:
    it = a_run()
    it.cancel("run")
    assert running(it, "run") == (1, 1)
    history = RunTimes()
    jobs, rows = table(history, a_job("web", a_request(1), service="web"))
    jobs.estimate[0] = -1
    assert forecast.pending(history, jobs, rows).p50[0] > 1e18


def test_nine_of_ten_end_before_the_p90_of_work_that_stays_as_it_is() -> None:
    """Coverage on log-normal run times of forty users, each with a pace of their own, learned as they end."""
    rng = np.random.default_rng(7)
    typical = rng.uniform(math.log(MINUTE), math.log(DAY), 40)
    history, within = RunTimes(), {"p50": 0, "p90": 0}
    for turn in range(4000):
        user = int(rng.integers(40))
        work = float(rng.lognormal(typical[user], 0.8))
        job = a_job(f"run-{turn}", a_request(1), user=f"u{user}")
        p50, p90, _ = whole(history, job)
        row = history.enter(job, SHAPE)
        history.learn(row, work, None)
        if turn >= 1000:
            within["p50"] += work <= p50
            within["p90"] += work <= p90
    assert 0.46 < within["p50"] / 3000 < 0.54
    assert 0.86 < within["p90"] / 3000 < 0.94


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 10**10)), max_size=60), st.integers(0, 10**10))
def test_ranges_are_in_order_and_never_in_the_past(samples: list[tuple[int, int]], ran: int) -> None:
    history = RunTimes()
    jobs = [a_job(f"j{i}", a_request(1), user=f"u{i}", estimate=Duration(HOUR * (i % 2))) for i in range(4)]
    jobs_table, rows = table(history, *jobs)
    for which, work in samples:
        history.learn(int(jobs_table.history[which]), work, jobs[which].estimate)
    jobs_table.started_at[:4], jobs_table.pace[:4] = 1, (1.0, 0.5, 0.25, 1.0)
    for span in (forecast.pending(history, jobs_table, rows), forecast.running(history, jobs_table, rows, ran + 1)):
        assert (span.p50 >= 1).all()
        assert (span.p50 <= span.p90).all()


def test_instants_never_overflow() -> None:
    assert forecast.instants(1 << 60, np.array([1e30])).item() < 1 << 62
