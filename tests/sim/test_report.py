"""The figures of a run are what their definitions say, worked out by hand and by a plain twin."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.model.errors import InvalidField
from fairway.model.facts import CancelAsked, Outcome
from fairway.model.job import Job, Priority, PriorityClass
from fairway.model.node import Node
from fairway.model.phases import Cause, JobPhase
from fairway.model.policy import Policy
from fairway.model.time import Duration, Instant
from fairway.sim.faults import Faults
from fairway.sim.recorder import Recorder
from fairway.sim.report import Spread
from fairway.sim.simulate import drive, simulate
from fairway.sim.traces import generate
from fairway.sim.world import Settings, SimulatedWorld
from fairway.state.cluster import ClusterState, EndedAttempt, EndedJob
from tests.sim.test_world import job, trace

KEYS = {
    "jobs", "completed", "wait_s", "jct_s", "makespan_s", "gpu_utilization", "gpu_allocated_ratio", "decision_ms",
    "wall_s",
}  # fmt: skip


def by_hand() -> list[Job]:
    """On two GPUs: ``a`` takes both for 10 s; then ``b`` and ``c`` one each; ``d`` wants both while one is idle."""
    return [
        job("a", work=10_000, gpus=2),
        job("b", work=10_000),
        replace(job("c", submitted=5_000, work=5_000), deadline=Instant(12_000)),
        replace(job("d", submitted=12_000, work=1_000, gpus=2), deadline=Instant(30_000)),
    ]


def test_the_figures_by_hand() -> None:
    report = simulate(trace(*by_hand()))
    assert (report.jobs, report.completed, report.failed, report.unfinished) == (4, 4, 0, 0)
    # Waits are 0, 10, 5 and 8 s; completion takes 10, 20, 10 and 9 s.
    assert report.wait_s == Spread(mean=5.75, p50=6.5, p99=pytest.approx(9.94))
    assert report.jct_s == Spread(mean=12.25, p50=10.0, p99=pytest.approx(19.7))
    assert report.makespan_s == 21
    # Two GPUs are held from 0 to 15 s and from 20 to 21 s, one in between, in a run of 21 s.
    assert report.gpu_hours == pytest.approx(37 / 3600, abs=1e-3)
    assert report.gpu_utilization == pytest.approx(37 / 42, abs=1e-6)
    # From 15 to 20 s ``d`` waited for the idle one too.
    assert report.gpu_allocated_ratio == pytest.approx(37 / 42, abs=1e-6)
    assert report.peak_gpu_utilization == 1.0
    assert (report.deadlines, report.deadlines_met) == (2, 1)


def test_the_allocated_ratio_counts_only_what_was_wanted() -> None:
    report = simulate(trace(*by_hand()[:3]))
    assert report.gpu_utilization == pytest.approx(35 / 40, abs=1e-6)
    assert report.gpu_allocated_ratio == 1.0


def test_preemption_and_lost_work_are_counted() -> None:
    low = replace(job("low", work=100_000, gpus=2), priority=Priority(PriorityClass.LOW))
    saved = replace(low, checkpoints=True, checkpoint_every=Duration(15_000))
    high = replace(job("high", submitted=40_000, work=10_000, gpus=2), priority=Priority(PriorityClass.CRITICAL))
    report = simulate(trace(low, high))
    assert report.preemptions == 1
    assert report.lost_gpu_hours == pytest.approx(2 * 40 / 3600, abs=1e-3)
    assert report.makespan_s == 150
    report = simulate(trace(saved, high))
    assert report.lost_gpu_hours == pytest.approx(2 * 10 / 3600, abs=1e-3)
    assert report.makespan_s == 120


def test_failed_and_cancelled_jobs_are_told_apart() -> None:
    long = replace(job("long", work=10_000), max_runtime=Duration(1_000))
    also = [(Instant(500), CancelAsked(job("c").id))]
    report = simulate(trace(long, job("b"), job("c", work=5_000)), also=also)
    assert (report.completed, report.failed, report.cancelled) == (1, 1, 1)
    assert report.wait_s.p99 > 0, "the third job waited for a device"


def test_the_report_is_json_with_the_promised_keys() -> None:
    report = simulate(generate(1, nodes=4, jobs=40))
    values = json.loads(json.dumps(report.as_dict()))
    assert values.keys() >= KEYS
    assert values["wait_s"].keys() == values["jct_s"].keys() == {"mean", "p50", "p99"}
    assert values["decision_ms"].keys() == {"p50", "p99", "max"}
    assert sum(row["jobs"] for row in values["queues"]) == 40
    assert values["decision_ms"]["max"] >= values["decision_ms"]["p99"] >= values["decision_ms"]["p50"] > 0
    assert values["wall_s"] > 0


class Twin:
    """Keeps every ended attempt, to work out the same figures from scratch."""

    def __init__(self) -> None:
        self.attempts: list[EndedAttempt] = []

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        self.attempts += state.news.attempts


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), load=st.sampled_from((0.3, 1.0, 3.0)))
def test_the_sums_agree_with_a_plain_twin(seed: int, load: float) -> None:
    workload = generate(seed, nodes=4, jobs=30, gpus_per_node=4, load=load)
    recorder, twin = Recorder(), Twin()
    world = SimulatedWorld(workload, settings=Settings(start_delay=Duration(700), stop_delay=Duration(300)))
    drive(world, Policy(), (recorder, twin))
    held = [(one.sums[2], one.ended - one.placed) for one in twin.attempts]
    assert recorder.gpu_held == sum(gpu * span for gpu, span in held)
    assert sum(tally.gpu_ms for tally in recorder.queues.values()) == recorder.gpu_held
    assert recorder.gpu_held <= recorder.gpu_possible <= recorder.gpu_there
    first: dict[str, int] = {}
    done: dict[str, int] = {}
    for one in twin.attempts:
        if one.started is not None:
            first.setdefault(one.attempt.job, one.started)
        if one.outcome.cause is Cause.SUCCEEDED:
            done[one.attempt.job] = one.ended
    waits = sorted(wait for tally in recorder.queues.values() for wait in tally.waits)
    assert waits == sorted(first[each.id] - each.submitted for each in workload.jobs)
    completions = sorted(span for tally in recorder.queues.values() for span in tally.completions)
    assert completions == sorted(done[each.id] - each.submitted for each in workload.jobs)


def test_a_crash_does_not_count_anything_twice() -> None:
    workload = generate(2, nodes=4, jobs=60, gpus_per_node=4, load=2.0)
    report = simulate(workload, faults=Faults(crash=0.01), seed=4)
    assert report.crashes > 3
    assert (report.jobs, report.completed) == (60, 60)
    assert sum(row.jobs for row in report.queues) == 60


def test_the_same_seed_gives_the_same_report() -> None:
    faults = Faults(lost=0.05, late=0.05, node_loss=2.0, crash=0.002, until=Instant(3_600_000))
    reports = [simulate(generate(3, nodes=4, jobs=40), faults=faults, seed=9).as_dict() for _ in range(2)]
    for report in reports:
        del report["wall_s"], report["decision_ms"]
    assert reports[0] == reports[1]


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    simulate(generate(1, nodes=4, jobs=400), progress=lambda ended, now: told.append((ended, now)))
    assert told == sorted(told)
    assert 0 < told[-1][0] <= 400


def test_a_report_without_gpus_has_no_gpu_ratios() -> None:
    report = simulate(trace(job("a", gpus=0), nodes=(Node(trace().nodes[0].id, cpu_milli=1_000),)))
    assert report.completed == 1
    assert (report.gpu_utilization, report.gpu_allocated_ratio, report.peak_gpu_utilization) == (None, None, None)
    assert report.cpu_utilization == 0.0


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot_is_drawn(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"run.{ending}"
    simulate(generate(1, nodes=4, jobs=60)).plot(path)
    assert path.stat().st_size > 5_000


def test_a_plot_of_nothing_is_drawn_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "run.png"
    simulate(trace(job("huge", gpus=3))).plot(path)
    assert path.stat().st_size > 5_000


def test_a_plot_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(InvalidField, match="png"):
        simulate(trace(job("a"))).plot(tmp_path / "run.docx")


def test_a_late_success_turns_a_failure_into_a_completion() -> None:
    end = EndedJob(
        job("a"), JobPhase.FAILED, 1, Instant(0), Instant(5), Instant(900), Outcome(Cause.FAILED), 1, 0, (0, 0, 7), 0
    )
    state, recorder = ClusterState(), Recorder()
    for seq, phase in enumerate((JobPhase.FAILED, JobPhase.FAILED, JobPhase.SUCCEEDED), 1):
        state.ended[end.job.id] = replace(end, phase=phase)
        state.news.jobs[end.job.id] = None
        recorder.fold(seq, 1_000, state)
    (tally,) = recorder.queues.values()
    assert (tally.submitted, tally.ended) == (1, {JobPhase.FAILED: 0, JobPhase.SUCCEEDED: 1})
    assert (list(tally.waits), list(tally.completions), tally.gpu_ms) == ([5], [900], 7)
