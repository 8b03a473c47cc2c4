"""Deadlines met on a cluster in slots: cases to check by hand, a generated workload, and the recordings."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bench import deadlines, slots
from bench.peers import rigid_slots
from bench.peers.elasticflow import ElasticFlow
from bench.slots import Entry, View, jobs_of
from fairway.model.errors import InvalidField

DOUBLING = {1: 1.0, 2: 2.0, 4: 4.0}


def entry(submitted: float, due: float, work: float, asked: int = 1, speeds: dict[int, float] | None = None) -> Entry:
    return Entry(submitted, due, work, asked, speeds or DOUBLING)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> deadlines.Report:
    assert deadlines.main([*arguments, "--json"]) == 0
    report: deadlines.Report = json.loads(capsys.readouterr().out)
    return report


def ends(policy: slots.Policy, capacity: int, *entries: Entry, restart: float = 0.0, rigid: bool = True) -> list[float]:
    jobs = jobs_of(entries)
    return slots.run(jobs.rigid() if rigid else jobs, capacity, policy, restart=restart).ended.tolist()


# -- the simulator ----------------------------------------------------------------------------------------------------


def test_a_job_is_seen_at_the_next_slot_and_ends_within_one() -> None:
    assert ends(rigid_slots.edf, 1, entry(1.0, 500.0, 90.0), entry(60.0, 1000.0, 30.0)) == [150.0, 210.0]


def test_starting_again_costs_a_restart_and_the_first_start_none() -> None:
    first, urgent = entry(0.0, 1000.0, 100.0), entry(60.0, 200.0, 60.0)
    assert ends(rigid_slots.edf, 1, first, urgent, restart=20.0) == [180.0, 120.0]


def test_a_job_that_is_refused_or_larger_than_the_cluster_never_ends() -> None:
    def refuse(view: View) -> np.ndarray:
        return np.full(len(view.rows), -1)

    assert ends(refuse, 1, entry(0.0, 500.0, 90.0)) == [math.inf]
    assert ends(rigid_slots.edf, 2, entry(0.0, 500.0, 90.0, asked=4), entry(0.0, 500.0, 60.0)) == [math.inf, 60.0]


@pytest.mark.parametrize("given", [0, 3, 8])
def test_a_policy_that_hands_out_what_there_is_not_or_nothing_is_refused(given: int) -> None:
    with pytest.raises(InvalidField):
        ends(lambda view: np.full(len(view.rows), given), 4, entry(0.0, 500.0, 90.0), rigid=False)


# -- the policies -----------------------------------------------------------------------------------------------------


def test_tiresias_runs_those_that_had_little_first() -> None:
    long, late = entry(0.0, 1e6, 7200.0), entry(3600.0, 1e6, 60.0)
    assert ends(rigid_slots.tiresias, 1, long, late) == [7260.0, 3660.0]


def test_themis_runs_those_that_are_farthest_behind_when_the_lease_is_over() -> None:
    long, short = entry(0.0, 1e6, 6000.0), entry(60.0, 1e6, 60.0)
    assert ends(rigid_slots.themis, 1, long, short) == [6060.0, 660.0]


def test_elasticflow_refuses_what_would_break_a_promise_and_fairway_saves_the_smaller() -> None:
    large, small = entry(0.0, 200.0, 790.0), entry(60.0, 180.0, 200.0)
    elasticflow = ends(ElasticFlow(), 4, large, small, rigid=False)
    assert elasticflow == [197.5, math.inf]
    fairway = ends(deadlines.fairway, 4, large, small, rigid=False)
    assert fairway[1] <= 180.0
    assert 200.0 < fairway[0] < math.inf, "it is not refused and not killed: it goes behind"


def test_elasticflow_gives_a_deadline_its_minimum_satisfactory_share_and_the_rest_by_marginal_return() -> None:
    concave = {1: 1.0, 2: 1.5, 4: 2.0}
    asked: list[list[int]] = []
    policy = ElasticFlow()

    def watched(view: View) -> np.ndarray:
        given = policy(view)
        asked.append(given.tolist())
        return given

    ends(watched, 4, entry(0.0, 700.0, 1000.0, speeds=concave), entry(0.0, 3000.0, 1000.0), rigid=False)
    # Shares of 2 and 1; the GPU that is over brings more on the curve that doubles.
    assert asked[0] == [2, 2]


def test_fairway_saves_a_rigid_job_where_the_earliest_deadline_first_is_lost_already() -> None:
    hopeless, possible = entry(0.0, 100.0, 600.0), entry(0.0, 120.0, 110.0)
    assert ends(rigid_slots.edf, 1, hopeless, possible)[1] > 120.0
    assert ends(deadlines.fairway, 1, hopeless, possible) == [720.0, 110.0]


# -- the program ------------------------------------------------------------------------------------------------------


def test_the_program_prints_every_policy(capsys: pytest.CaptureFixture[str]) -> None:
    result = told(capsys, *deadlines.SMALL)
    assert set(result["policies"]) == set(deadlines.MEASURED)
    met = {name: figures["met"] for name, figures in result["policies"].items()}
    assert met["fairway_rigid"] >= max(met["edf"], met["themis"])
    assert max(met["edf"], met["tiresias"], met["themis"], met["fairway_rigid"]) <= result["reachable"]["rigid"]
    assert max(met.values()) <= result["reachable"]["elastic"]
    assert deadlines.main([*deadlines.SMALL, "--policies", "edf_scaled,fairway"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("edf_scaled ")


def test_where_not_all_can_be_met_fairway_meets_more_than_admission_control() -> None:
    met = {
        name: [deadlines.measure(deadlines.generated(seed), 12, name, 20.0)["met"] for seed in range(3)]
        for name in ("elasticflow", "fairway")
    }
    assert sum(met["fairway"]) > sum(met["elasticflow"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--trace", "absent.csv"), "there is no file absent.csv"),
        (("--trace", "generated", "--policies", "edf,none"), "no policy 'none'"),
        (("--trace", "generated", "--nodes", "0"), "at least 1 node"),
    ],
)
def test_wrong_arguments_are_told(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    try:
        status = deadlines.main(arguments)
    except SystemExit as ended:
        status = ended.code
    assert status
    assert said in capsys.readouterr().err


# -- the formats ------------------------------------------------------------------------------------------------------

ITP = "job_id,submission_time,num_iteration,model_name,deadline,batch_size,num_gpu,duration\n"


def test_an_elasticflow_trace_takes_the_measured_speeds(tmp_path: Path) -> None:
    (tmp_path / "throughput_a100").mkdir()
    (tmp_path / "throughput_a100" / "vgg16.csv").write_text("global_batch_size,1,2,4,8,16,32,64\n64,5,9,8,10,0,0,\n")
    (tmp_path / "t.csv").write_text(f"{ITP}a,120,1000,vgg16,300,64,2,111\nb,60,600,else,400,64,3,200\n")
    jobs = slots.read_jobs(tmp_path / "t.csv")
    assert jobs.sizes.tolist() == [[3, 0, 0], [1, 2, 8]]
    assert jobs.speed.tolist() == [[3.0, 0, 0], [5.0, 9.0, 10.0]]
    assert jobs.deadline.tolist() == [400.0, 300.0]
    assert jobs.rigid().speed.tolist() == [[3.0], [9.0]]


def test_a_chronus_trace_counts_deadlines_from_submission_and_leaves_best_effort_without(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "job_id,user,num_gpu,submit_time,iterations,model_name,duration,interval,expect_time_list,expect_value_list,"
        "best_effort,job_type\n0,u,2,100,5,vgg16,50,14,130,10,0,strict\n1,u,1,90,5,vgg16,70,14,90,10,1,best\n"
        "2,u,0,90,5,vgg16,70,14,90,10,0,strict\n"
    )
    jobs = slots.read_jobs(tmp_path / "t.csv")
    assert jobs.deadline.tolist() == [math.inf, 230.0]
    assert jobs.asked.tolist() == [1, 2]
    assert jobs.speed[1, list(jobs.sizes[1]).index(2)] == 1.0


def test_a_trace_without_jobs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(ITP)
    with pytest.raises(InvalidField):
        slots.read_jobs(tmp_path / "t.csv")


TRACES = Path(__file__).parents[3] / "shared" / "traces"


@pytest.mark.skipif(not (TRACES / "itp").is_dir(), reason="needs the recorded traces in ../shared")
def test_on_a_recorded_cluster_fairway_meets_every_deadline_in_reach() -> None:
    jobs = slots.read_jobs(TRACES / "itp" / "cluster01.csv")
    assert deadlines.measure(jobs, 512, "fairway", 20.0)["met"] == round(deadlines.reachable(jobs, 512), 4)
