"""The packing experiment: on a fleet small enough to check by hand, and against the published figures."""

import csv
import json
from pathlib import Path

import pytest

from bench import openb

PUBLISHED = {
    "dotprod": "02-DotProd",
    "clustering": "03-GpuClustering",
    "packing": "04-GpuPacking",
    "bestfit": "05-BestFit",
    "fgd": "06-FGD",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two nodes of two GPUs, of which the second is the first in rank, and a list that asks for 5 GPUs in all."""
    (tmp_path / "order").mkdir()
    (tmp_path / "openb_node_list_gpu_node.csv").write_text(
        "sn,cpu_milli,memory_mib,gpu,model\nn0,8000,1000,2,T4\nn1,8000,1000,2,P100\n"
    )
    (tmp_path / "openb_pod_list_tiny.csv").write_text(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
        "p0,1000,10,1,500,\np1,1000,10,1,1000,T4\np2,1000,10,1,500,\np3,1000,10,2,1000,\np4,9000,10,1,1000,\n"
    )
    (tmp_path / "order" / "openb_pod_list_tiny.1.txt").write_text("0\n1\n2\n4\n3\nPERM\n1\n0\n")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> openb.Report:
    assert openb.main([*arguments, "--json"]) == 0
    report: openb.Report = json.loads(capsys.readouterr().out)
    return report


def test_pods_arrive_in_order_and_one_that_fits_nowhere_is_dropped(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = told(capsys, "--data", str(data), "--list", "tiny", "--seeds", "1", "--policies", "fgd,bestfit,fairway")
    # Best fit shares a GPU of the node that is first in rank; p4 asks for more CPU than any node has.
    assert figures["policies"]["bestfit"]["at_130"] == 50
    assert figures["lists"]["tiny"]["bestfit"] == figures["policies"]["bestfit"]
    assert set(figures["runs"]["tiny"]["fairway"]) == {"1"}
    assert set(figures["policies"]["fairway"]) == {"at_100", "at_130", "us_per_decision", "prepare_ms"}


def test_a_table_names_every_list_and_the_mean(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert openb.main(["--data", str(data), "--seeds", "1", "--policies", "packing"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["list", "tiny", "mean", "per"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--list", "none", "--seeds", "1"], 3, "openb_pod_list_none"),
        (["--list", "tiny", "--seeds", "7"], 3, "openb_pod_list_tiny.7.txt"),
    ],
)
def test_what_is_not_there_is_named(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    assert openb.main(["--data", str(data), *arguments]) == status
    assert said in capsys.readouterr().err


def test_an_order_for_another_fleet_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "order" / "openb_pod_list_tiny.1.txt").write_text("0\n1\nPERM\n1\n0\n2\n")
    assert openb.main(["--data", str(data), "--list", "tiny", "--seeds", "1"]) == 2
    assert "rank 2 nodes" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "gpuspec10", "multigpu30"])
def test_the_published_figures_come_out_and_fairway_packs_more(traces: Path, name: str) -> None:
    folder = traces / "openb"
    with (folder / "expected_allocation.csv").open() as lines:
        rows = {(row["workload"], row["sc_policy"], row["seed"]): row for row in csv.DictReader(lines)}
    case = openb.read_case(folder, name, 43)
    figures = {policy: openb.measure(case, policy) for policy in [*PUBLISHED, "fairway", "fairway_learning"]}
    for policy, label in PUBLISHED.items():
        row = rows[f"openb_pod_list_{name}", label, "43"]
        for mark in ("100", "130"):
            assert figures[policy][f"at_{mark}"] == pytest.approx(float(row[mark]), abs=0.3)
    for mark in ("at_100", "at_130"):
        assert figures["fairway"][mark] > figures["fgd"][mark] + 0.3
        assert figures["fairway_learning"][mark] > figures["fgd"][mark]
