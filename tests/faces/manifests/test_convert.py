"""Manifests become the vocabulary, field for field."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide.admit import validate
from fairway.faces.manifests.complaints import InvalidManifest
from fairway.faces.manifests.convert import Caller, facts_of, jobs_of
from fairway.faces.manifests.read import manifests_from, manifests_in
from fairway.faces.manifests.schema import JobSpec
from fairway.model.elastic import BatchLimits, Elasticity
from fairway.model.facts import Facts, PoolSet, QueueSet, ServiceSet
from fairway.model.ids import JobId, QueueId
from fairway.model.job import ArrayIndex, Job, Priority, PriorityClass, Retry, Role
from fairway.model.resources import Accelerator, Amount, Request
from fairway.model.time import HOUR, MINUTE, SECOND, Duration, Instant
from fairway.model.where import Apart, Level, Selector, Together, Where
from fairway.state.frames import decode, encode

NOW = Instant(1_000_000)
CALLER = Caller("ada", "/data/ada")


def jobs(text: str, seq: int = 7) -> list[Job]:
    [found] = manifests_in(text)
    assert isinstance(found.spec, JobSpec)
    return jobs_of(found.spec, seq, NOW, CALLER)


def test_a_command_alone_is_enough() -> None:
    [job] = jobs("kind: Job\nname: train\ncommand: [python, train.py]")
    expected = Job(
        id=JobId("train-7"),
        name="train",
        queue=QueueId("default"),
        roles=(Role(request=Request(cpu_milli=1000)),),
        user="ada",
        command=("python", "train.py"),
        workdir="/data/ada",
        submitted=NOW,
    )
    assert job == expected


def test_every_field_of_a_job() -> None:
    [job] = jobs("""
kind: Job
name: train
queue: acme/research
priority: high+5
script: |
  python train.py
env: {B: 1, A: x}
workdir: runs/7
request: {cpu: 500m, memory: 64Gi, gpus: 2, accelerators: [H100, {type: A100, speed: 0.5}], disk: 1Ti, network: 10G}
workers: {min: 2, max: 4}
not_before: 10s
deadline: 2h
max_runtime: 1h30m
estimate: 1h
grace: 2m
retries: {limit: 3, backoff: 5s, backoff_max: 1m, start_limit: 1}
checkpoints: true
labels: {team: a}
where: {zones: eu-1, spot: true}
elastic: {speedup: {4: 3.5, 2: 1.9}, batch: {first: 64, most: 1024, local_most: 32}}
""")
    request = Request(
        500,
        65_536,
        2,
        accelerators=(Accelerator("H100"), Accelerator("A100", 0.5)),
        disk_mib=1 << 20,
        network_mbps=10_000,
    )
    expected = Job(
        id=JobId("train-7"),
        name="train",
        queue=QueueId("acme/research"),
        roles=(Role("main", 4, request, 2),),
        priority=Priority(PriorityClass.HIGH, 5),
        user="ada",
        command=("/bin/sh", "-c", "python train.py\n"),
        env=(("A", "x"), ("B", "1")),
        workdir="/data/ada/runs/7",
        submitted=NOW,
        not_before=Instant(NOW + 10 * SECOND),
        deadline=Instant(NOW + 2 * HOUR),
        max_runtime=Duration(90 * MINUTE),
        estimate=HOUR,
        grace=Duration(2 * MINUTE),
        retry=Retry(3, Duration(5 * SECOND), MINUTE, 1),
        labels=(("team", "a"),),
        checkpoints=True,
        where=Where(zones=("eu-1",), spot=True),
        elastic=Elasticity(((2, 1.9), (4, 3.5)), BatchLimits(64, 1024, 1, 32)),
    )
    assert job == expected
    told = {field.name for field in fields(Job) if getattr(job, field.name) != field.default}
    untold = {"array", "after", "service", "work", "checkpoint_every"}  # told by what was accepted; a simulator's
    assert {field.name for field in fields(Job)} - told == untold


@pytest.mark.parametrize(
    ("elastic", "field", "why"),
    [
        ("{speedup: {1: 1, 2: 2.5}}", "elastic.speedup", "more than in proportion"),
        ("{speedup: {1: 1, 2: 1}}", "elastic.speedup", "more must be faster"),
        ("{speedup: {1: 1, 8: 2}}", "elastic.speedup", "the job runs on 1 to 4"),
        ("{batch: {first: 64, most: 32}}", "elastic.batch.most", "below the 64"),
        ("{batch: {first: 64}}", "elastic.batch.most", "is missing"),
        ("{speed_up: {1: 1}}", "elastic.speed_up", "did you mean speedup"),
    ],
)
def test_what_cannot_be_said_of_other_numbers_of_workers(elastic: str, field: str, why: str) -> None:
    with pytest.raises(InvalidManifest) as error:
        jobs(f"kind: Job\nname: a\ncommand: x\nworkers: {{min: 1, max: 4}}\nelastic: {elastic}")
    assert error.value.field.endswith(field)
    assert why in error.value.message


def test_a_curve_of_a_job_of_fixed_size_is_refused() -> None:
    with pytest.raises(InvalidManifest, match="number of workers does not change"):
        jobs("kind: Job\nname: a\ncommand: x\nworkers: 4\nelastic: {speedup: {2: 1, 4: 2}}")


def test_every_way_to_say_where() -> None:
    [job] = jobs("""
kind: Job
name: a
command: x
where:
  labels: {disk: nvme, gen: [h, b], rack: '*'}
  without: {pool: old}
  regions: [eu, us]
  clusters: c1
  tolerates: [gpu, team=nlp]
  together: {level: rack, required: false}
  apart: [array, service, team=nlp, {of: canary, level: zone}]
""")
    assert job.where == Where(
        labels=(
            Selector("disk", ("nvme",)),
            Selector("gen", ("h", "b")),
            Selector("rack"),
            Selector("pool", ("old",), without=True),
        ),
        regions=("eu", "us"),
        clusters=("c1",),
        tolerates=("gpu", "team=nlp"),
        together=Together(Level.RACK, required=False),
        apart=(
            Apart("array"),
            Apart("service"),
            Apart("label", "team", "nlp"),
            Apart("label", "canary", level=Level.ZONE),
        ),
    )
    [near] = jobs("kind: Job\nname: a\ncommand: x\nwhere: {together: island}")
    assert near.where == Where(together=Together(Level.ISLAND))


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("{together: shelf}", "where.together.level: 'shelf' is no domain: write one of node, island, rack, block"),
        ("{together: {required: false}}", "where.together.level: is missing: add it"),
        ("{labels: [a]}", "where.labels: a list is not a mapping: write label: value lines"),
        ("{labels: {disk: 3}}", "where.labels: disk: 3 is not a name: write disk: value, a list of values, or '*'"),
        ("{zones: []}", "where.zones: is an empty list: name at least one, or remove it"),
        ("{tolerates: [1]}", "where.tolerates: 1 is not a name: write taints like gpu or team=nlp"),
        ("{apart: [{of: '=x'}]}", "where.apart[0].of: '=x' names nobody: write array, service, or a label"),
        ("{apart: [{of: array, level: 7}]}", "where.apart[0].level: 7 is no domain"),
        ("{spot: maybe}", "where.spot: 'maybe' is neither true nor false: write one of them"),
        ("{zone: a}", "where.zone: unknown key; did you mean zones?"),
    ],
)
def test_what_is_wrong_with_where_is_said_with_its_path(where: str, complaint: str) -> None:
    with pytest.raises(InvalidManifest) as refused:
        jobs(f"kind: Job\nname: a\ncommand: x\nwhere: {where}")
    assert complaint in str(refused.value.errors[0])


def test_shares_of_a_device() -> None:
    [half] = jobs("kind: Job\nname: a\ncommand: x\nrequest: {gpus: 0.5}")
    [part] = jobs("kind: Job\nname: a\ncommand: x\nrequest: {gpu_memory: 20Gi}")
    assert half.roles[0].request == Request(1000, gpus=1, gpu_milli=500)
    assert part.roles[0].request == Request(1000, gpus=1, gpu_memory_mib=20_480)


def test_roles_have_their_own_programs() -> None:
    [job] = jobs("kind: Job\nname: a\ncommand: x\nroles: [{name: ps, command: [y]}, {name: w, workers: 3}]")
    assert [(role.name, role.count, role.command) for role in job.roles] == [("ps", 1, ("y",)), ("w", 3, ())]


def test_an_array_is_a_grid_of_its_parameters() -> None:
    found = jobs("""
kind: Job
name: sweep
command: [t, "--lr={lr}", --n, "{n}", "{index}", "{other}"]
env: {OUT: "run-{index}"}
array: {parameters: {lr: [0.1, 0.01], n: [a, b]}}
""")
    assert [job.id for job in found] == [f"sweep-7.{i}" for i in range(4)]
    assert [job.array for job in found] == [ArrayIndex("sweep-7", i, 4) for i in range(4)]
    assert [job.command[1:4:2] for job in found] == [
        ("--lr=0.1", "a"),
        ("--lr=0.1", "b"),
        ("--lr=0.01", "a"),
        ("--lr=0.01", "b"),
    ]
    assert found[3].command[4:] == ("3", "{other}")
    assert found[2].env == (("FAIRWAY_PARAM_LR", "0.01"), ("FAIRWAY_PARAM_N", "a"), ("OUT", "run-2"))


def test_an_array_of_points_and_a_plain_one() -> None:
    points = jobs("kind: Job\nname: s\ncommand: [t, '{a}']\narray: {parameters: [{a: 1}, {a: 5}]}")
    assert [job.command for job in points] == [("t", "1"), ("t", "5")]
    assert [job.id for job in jobs("kind: Job\nname: s\ncommand: t\narray: 3")] == ["s-7.0", "s-7.1", "s-7.2"]


def test_queues_services_and_pools() -> None:
    found = manifests_in("""
kind: Queue
name: acme/research
weight: 2
quota: {cpu: 16, memory: 64Gi, gpus: 8}
borrow: {gpus: 0}
max_pending: 10
---
kind: Service
name: chat
replicas: 2
max_replicas: 4
command: serve
request: {gpus: 1}
---
kind: Pool
name: spot
shape: {cpu: 96, memory: 1Ti, gpus: 8, accelerator: H100, gpu_memory: 80Gi, lifecycle: spot, hourly: 24.5}
max: 4
""")
    [queue], [service], [pool] = [facts_of(each.spec, 1, NOW, CALLER) for each in found]
    assert isinstance(queue, QueueSet)
    assert isinstance(service, ServiceSet)
    assert isinstance(pool, PoolSet)
    assert (queue.queue.quota, queue.queue.limit) == (Amount(16_000, 65_536, 8000), Amount(None, None, 8000))
    assert (service.service.replicas, service.service.workdir) == (2, "/data/ada")
    assert (pool.pool.max_nodes, pool.pool.shape.gpus, pool.pool.shape.hourly) == (4, 8, 24_500_000)


def whole(least: int, most: int) -> st.SearchStrategy[int]:
    return st.integers(least, most)


REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "cpu": whole(0, 512),
        "memory": st.builds("{}Mi".format, whole(0, 1 << 20)),
        "gpus": whole(0, 16) | st.sampled_from([0.25, 0.5]),
        "disk": st.builds("{}Gi".format, whole(0, 1000)),
    },
)
JOBS = st.fixed_dictionaries(
    {"kind": st.just("Job"), "name": st.from_regex(r"[a-z]{1,8}", fullmatch=True), "command": st.just(["x"])},
    optional={
        "priority": st.sampled_from(["critical", "high+3", "low-2", "preemptible"]),
        "request": REQUESTS,
        "workers": whole(1, 8) | st.just({"min": 1, "max": 5}),
        "array": whole(1, 5) | st.just({"parameters": {"a": [1, 2], "b": ["x"]}}),
        "deadline": st.sampled_from(["1h", "2d"]),
        "max_runtime": st.sampled_from(["5m", "1h30m"]),
        "retries": whole(0, 5),
        "env": st.dictionaries(st.from_regex(r"[A-Z]{1,5}", fullmatch=True), st.text("abc", max_size=4), max_size=3),
    },
)


@given(JOBS)
def test_what_the_manifest_accepts_the_engine_accepts_and_can_write_down(document: dict[str, Any]) -> None:
    [found] = manifests_from([document])
    facts = Facts(NOW, tuple(facts_of(found.spec, 3, NOW, CALLER)))
    assert decode(encode(facts)) == facts
    for fact in facts.items:
        assert validate(fact.job) == []  # type: ignore[union-attr]


@pytest.mark.parametrize("workdir", ["/abs", "", "sub/dir"])
def test_a_relative_working_directory_starts_from_the_callers_folder(workdir: str) -> None:
    folder = CALLER.folder(workdir)
    assert folder == {"/abs": "/abs", "": "/data/ada", "sub/dir": "/data/ada/sub/dir"}[workdir]
