"""What looks like a mistake is told by its rule and field; what people do every day is not."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide.suspect import RULES, suspicions
from fairway.model.admission import NAMES, OPTIONAL, Admission
from fairway.model.errors import InvalidField
from fairway.model.job import Job, Role
from fairway.model.resources import Request
from fairway.model.time import DAY, HOUR, MINUTE, Duration
from fairway.model.where import Where
from fairway.testing.builders import a_job, a_node, a_request

NODES = (a_node("n1", 8, cpu=64, memory=512 * 1024), a_node("c1", cpu=128))
EVERY = Admission(also=OPTIONAL)


def task(gpus: float = 1, cpu: float = 4, memory: int = 16 * 1024, **more: Any) -> Job:
    return a_job("x", a_request(gpus, cpu, memory), **more)


ODD: list[tuple[str, str, Job]] = [
    ("gpus_without_cpu", "roles[0].request.cpu_milli", task(cpu=0)),
    ("gpus_without_cpu", "roles[0].request.cpu_milli", task(8, cpu=1, memory=64 * 1024)),
    ("gpus_without_cpu", "roles[0].request.cpu_milli", task(0.5, cpu=0)),
    ("gpus_without_memory", "roles[0].request.memory_mib", task(memory=0)),
    ("tiny_memory", "roles[0].request.memory_mib", task(memory=16)),
    ("tiny_share", "roles[0].request.gpu_milli", task(0.005)),
    ("strands_gpus", "roles[0].request.cpu_milli", task(1, cpu=40)),
    ("strands_gpus", "roles[0].request.memory_mib", task(1, memory=300 * 1024)),
    ("endless_runtime", "max_runtime", task(max_runtime=Duration(200 * DAY))),
    ("endless_runtime", "estimate", task(estimate=Duration(3600 * DAY))),
    ("estimate_over_limit", "max_runtime", task(estimate=Duration(HOUR), max_runtime=Duration(MINUTE))),
    ("long_grace", "grace", task(grace=Duration(2 * HOUR))),
    ("spot_without_checkpoints", "where.spot", task(estimate=Duration(DAY), where=Where(spot=True))),
]


@pytest.mark.parametrize(("rule", "field", "job"), ODD, ids=[f"{rule}-{field}" for rule, field, _ in ODD])
def test_a_rule_names_itself_and_the_field(rule: str, field: str, job: Job) -> None:
    found = suspicions(job, NODES, EVERY)
    assert [(each.rule, each.field) for each in found] == [(rule, field)]
    assert f"(rule {rule})" in str(found[0])
    assert not suspicions(job, NODES, Admission(off=(rule,), also=OPTIONAL))


@pytest.mark.parametrize(
    "job",
    [
        task(),
        task(8, cpu=64, memory=512 * 1024),
        task(0, cpu=0.1, memory=0),
        task(0.1, cpu=0.1, memory=1024),
        task(1, cpu=32),
        task(5, cpu=1),
        task(grace=Duration(HOUR)),
        task(estimate=Duration(DAY), where=Where(spot=True), checkpoints=True),
        task(estimate=Duration(HOUR), where=Where(spot=True)),
    ],
)
def test_ordinary_jobs_are_not_suspected(job: Job) -> None:
    assert suspicions(job, NODES, Admission()) == []
    assert suspicions(job, (), Admission()) == []


def test_the_second_role_is_looked_at_too() -> None:
    job = a_job("x", Role("a", 1, a_request(1, 4)), Role("b", 2, a_request(1)))
    assert [each.field for each in suspicions(job, NODES, Admission())] == ["roles[1].request.cpu_milli"]


def test_virtual_devices_need_no_feeding() -> None:
    assert suspicions(task(cpu=0), [replace(NODES[0], virtual=True)], Admission()) == []


def test_the_rules_are_known_by_name() -> None:
    assert tuple(RULES) == NAMES
    with pytest.raises(InvalidField, match=r"policy.admission.off: 'gpu' is none of gpus_without_cpu"):
        Admission(off=("gpu",))
    with pytest.raises(InvalidField, match=r"policy.admission.also: 'tiny_share' is none of"):
        Admission(also=("tiny_share",))
    with pytest.raises(InvalidField, match=r"policy.admission.longest: must be above 0, not 0"):
        Admission(longest=Duration(0))


AMOUNTS = st.integers(0, 1 << 24)


@given(
    st.builds(Request, AMOUNTS, AMOUNTS, st.integers(0, 9), st.integers(1, 1000)),
    st.none() | st.integers(1, 1 << 40).map(Duration),
    st.none() | st.integers(1, 1 << 40).map(Duration),
    st.sets(st.sampled_from(NAMES)),
)
def test_rules_say_the_same_alone_as_together(
    request: Request, estimate: Duration | None, limit: Duration | None, off: set[str]
) -> None:
    job = a_job("x", request, estimate=estimate, max_runtime=limit)
    alone = [
        each
        for name in NAMES
        if name not in off
        for each in suspicions(job, NODES, replace(EVERY, off=tuple(other for other in NAMES if other != name)))
    ]
    assert suspicions(job, NODES, replace(EVERY, off=tuple(off))) == alone
