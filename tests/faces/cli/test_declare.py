"""Declaring queues, services and pools, and looking at them."""

import json
from pathlib import Path
from typing import Any

import pytest

from fairway.testing.polling import wait_for
from tests.faces.plane import RunningPlane

pytestmark = pytest.mark.real


def apply(plane: RunningPlane, *documents: dict[str, Any], options: tuple[str, ...] = ()) -> str:
    text = "---\n".join(json.dumps(document) + "\n" for document in documents)
    outcome = plane.cli("apply", "-f", "-", *options, text=text)
    assert outcome.code == 0, outcome.err
    return outcome.out


def test_queues_come_with_those_above_them(plane: RunningPlane) -> None:
    queue: dict[str, Any] = {
        "kind": "Queue",
        "name": "acme/nlp",
        "quota": {"gpus": 2, "memory": "1Gi"},
        "borrow": {"gpus": 1},
    }
    assert apply(plane, queue) == "queue acme/nlp created\n"
    found = wait_for(lambda: {each["id"]: each for each in plane.cli("queues", "--json").json if "acme" in each["id"]})
    assert set(found) == {"acme", "acme/nlp"}
    assert found["acme/nlp"]["limit"] == {"cpu": None, "memory_mib": None, "gpus": 3.0}
    assert apply(plane, queue, options=("--dry-run",)) == "queue acme/nlp would be unchanged\n"
    changed = apply(plane, {**queue, "weight": 3}, options=("--dry-run",))
    assert changed.splitlines() == ["queue acme/nlp would be changed", "  weight: 1 -> 3"]
    table = plane.cli("queues").out.splitlines()
    assert table[0].split()[:3] == ["QUEUE", "RUNNING", "PENDING"]
    assert any(line.startswith("  nlp ") for line in table)


def test_a_service_is_kept_running_until_it_is_removed(plane: RunningPlane) -> None:
    service = {"kind": "Service", "name": "chat", "replicas": 2, "command": ["sleep", "300"], "request": {"cpu": "10m"}}
    apply(plane, service)

    def running() -> int:
        return sum(each["running"] for each in plane.cli("services", "--json").json)

    wait_for(lambda: running() == 2, "two replicas")
    apply(plane, {**service, "replicas": 1})
    wait_for(lambda: running() == 1, "one replica")
    assert "chat     default   1 of 1" in plane.cli("services").out
    assert plane.cli("remove", "chat").code == 0
    wait_for(lambda: plane.cli("services", "--json").json == [], "no services")
    with plane.client() as client:
        wait_for(lambda: not client.jobs(name="chat", active=1), "the replica to stop")


def test_pools_are_listed(plane: RunningPlane) -> None:
    shape = {"cpu": 96, "memory": "1Ti", "gpus": 8, "accelerator": "H100", "hourly": 24.5}
    apply(plane, {"kind": "Pool", "name": "burst", "shape": shape, "max": 4})
    [pool] = wait_for(lambda: plane.cli("pools", "--json").json, "the pool")
    assert (pool["id"], pool["max"], pool["shape"]["gpu_type"]) == ("burst", 4, "H100")
    assert "8 x H100" in plane.cli("pools").out


def test_a_cordoned_node_takes_nothing_more(plane: RunningPlane) -> None:
    with plane.client() as client:
        [node] = client.nodes()
    assert plane.cli("cordon", node["id"]).code == 0
    wait_for(lambda: plane.cli("nodes", "--json").json[0]["cordoned"], "the cordon")
    assert "cordoned" in plane.cli("nodes").out
    job = plane.submit("true")
    assert plane.until(job, "queued", "succeeded")["phase"] == "queued"
    assert plane.cli("uncordon", node["id"]).code == 0
    assert plane.until(job)["phase"] == "succeeded"


def test_pretend_devices_are_called_so_everywhere(plane: RunningPlane) -> None:
    assert "virtual (virtual)" in plane.cli("nodes").out
    assert "some devices are virtual" in plane.cli("status").out
    assert plane.cli("status", "--json").json["virtual"] is True
    assert "VIRTUAL: declared, not found" in (plane.home.parent / "up.log").read_text("utf-8")
    job = plane.submit("echo $FAIRWAY_VIRTUAL_GPUS", request={"cpu": "10m", "gpus": 1})
    assert plane.until(job)["virtual"] is True
    assert plane.cli("logs", job).out == "1\n"


def test_several_files_are_all_checked_before_any_is_accepted(plane: RunningPlane) -> None:
    good, bad = plane.work / "good.yaml", plane.work / "bad.yaml"
    good.write_text("kind: Queue\nname: first\n", "utf-8")
    bad.write_text("kind: Job\nname: x\ncommand: a\nqueue: nowhere\n", "utf-8")
    outcome = plane.cli("apply", "-f", str(good), "-f", str(bad))
    assert outcome.code == 3
    assert outcome.error.startswith("bad.yaml.queue: no queue 'nowhere'")
    assert "first" not in plane.cli("queues").out


def test_the_policy_is_shown_changed_and_taken_back(plane: RunningPlane) -> None:
    before = plane.cli("policy", "--json").json
    assert before["kind"] == "Policy"
    change = {"kind": "Policy", "max_victims": 7}
    assert apply(plane, change, options=("--dry-run",)).splitlines() == [
        "policy would be changed",
        f"  max_victims: {before['max_victims']} -> 7",
    ]
    apply(plane, change)
    wait_for(lambda: plane.cli("policy", "--json").json["max_victims"] == 7, "the change")
    shown = plane.cli("policy").out
    assert "max_victims: 7" in shown
    outcome = plane.cli("apply", "-f", "-", text=shown)
    assert (outcome.code, outcome.out) == (0, "policy unchanged\n")
    wrong = plane.cli("apply", "-f", "-", text="kind: Policy\nmax_victims: 0\n")
    assert wrong.code == 2
    assert "max_victims" in wrong.err


def test_a_queue_says_what_its_swarm_of_short_jobs_costs(plane: RunningPlane) -> None:
    before = plane.cli("policy").out
    swarm = {"kind": "Policy", "fairness": {"swarm": {"allowed": 1}}}
    assert "fairness.swarm.allowed: 1000 -> 1" in apply(plane, swarm, options=("--dry-run",))
    apply(plane, swarm, {"kind": "Queue", "name": "storm/sweep"})
    for _ in range(3):
        assert plane.cli("submit", "--queue", "storm/sweep", "--wait", "--", "true").code == 0
    found = wait_for(lambda: {each["id"]: each for each in plane.cli("queues", "--json").json if each["swarm"]})
    assert set(found) >= {"storm", "storm/sweep"}
    assert found["storm/sweep"]["swarm"]["allowed"] == 1
    assert found["storm/sweep"]["swarm"]["weight_counts"] < 0.6
    assert "queue storm/sweep comes later" in " ".join(plane.cli("queues").out.split())
    job = plane.cli("submit", "--queue", "storm/sweep", "--not-before", "1h", "--", "true").out.strip()
    assert any(
        "queue storm/sweep comes later" in note for note in plane.cli("explain", job, "--json").json["queue_notes"]
    )
    assert "queue storm/sweep comes later" in " ".join(plane.cli("explain", job).out.split())
    plane.cli("cancel", job)
    assert plane.cli("apply", "-f", "-", text=before).code == 0
    wait_for(lambda: not any(each["swarm"] for each in plane.cli("queues", "--json").json), "the old policy")


def test_a_simulation_follows_a_policy_file(plane: RunningPlane, tmp_path: Path) -> None:
    trace = tmp_path / "jobs.csv"
    policy = tmp_path / "policy.yaml"
    policy.write_text("kind: Queue\nname: a\n", "utf-8")
    outcome = plane.cli("simulate", "--trace", str(trace), "--policy", str(policy))
    assert outcome.code == 2
    assert "kind: Policy" in outcome.err


def test_quota_is_lent_and_recalled(plane: RunningPlane) -> None:
    apply(
        plane,
        {"kind": "Queue", "name": "ads", "quota": {"gpus": 4}},
        {"kind": "Queue", "name": "lab", "quota": {"gpus": 2}},
    )
    lend = ("lend", "ads", "lab", "--gpus", "1", "--ends", "1h", "--name", "night")
    dry = plane.cli(*lend, "--dry-run")
    assert (dry.code, dry.out) == (0, "loan night would be agreed\n"), dry.err
    assert plane.cli("loans", "--json").json == []
    assert plane.cli(*lend).out == "loan night agreed\n"
    [loan] = wait_for(lambda: plane.cli("loans", "--json").json, "the loan")
    assert (loan["id"], loan["phase"], loan["parts"][0]["amount"]["gpus"]) == ("night", "standing", 1)
    assert "night" in plane.cli("loans").out
    queues = {each["id"]: each["guaranteed"]["gpus"] for each in plane.cli("queues", "--json").json}
    assert (queues["ads"], queues["lab"]) == (3, 3)
    assert plane.cli("lend", "ads", "lab", "--gpus", "9", "--ends", "1h").code == 2
    job = plane.cli("submit", "--queue", "lab", "--", "sleep", "30").out.strip()
    assert "ads lends 1 GPU to lab until " in plane.cli("explain", job).out
    assert plane.cli("recall", "night").out == "loan night is over\n"
    wait_for(lambda: plane.cli("loans", "--json").json[0]["phase"] == "ended", "its end")
