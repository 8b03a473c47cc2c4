"""What can never be right is refused, each thing with the path of its field; everything else may be submitted."""

from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide.admit import MOST_AMOUNT, MOST_TASKS, validate
from fairway.model.job import LONGEST, Priority, PriorityClass, Retry, Role
from fairway.model.resources import Accelerator, Request
from fairway.testing.builders import Rehearsal, a_job, a_node, a_queue, submitted

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("name", {"name": "No Spaces"}),
    ("queue", {"queue": "a//b"}),
    ("roles", {"roles": ()}),
    ("roles", {"roles": (Role("a", MOST_TASKS), Role("b", 1))}),
    ("roles[0].count", {"roles": (Role(count=0),)}),
    ("roles[0].min_count", {"roles": (Role(count=2, min_count=3),)}),
    ("roles[0].min_count", {"roles": (Role(count=2, min_count=0),)}),
    ("roles[1].request.cpu_milli", {"roles": (Role(), Role(request=Request(cpu_milli=-1)))}),
    ("roles[0].request.memory_mib", {"roles": (Role(request=Request(memory_mib=MOST_AMOUNT + 1)),)}),
    ("roles[0].request.gpus", {"roles": (Role(request=Request(gpus=MOST_TASKS + 1)),)}),
    ("roles[0].request.gpus", {"roles": (Role(request=Request(gpus=2, gpu_milli=500)),)}),
    ("roles[0].request.gpus", {"roles": (Role(request=Request(gpu_memory_mib=500)),)}),
    ("roles[0].request.gpus", {"roles": (Role(request=Request(accelerators=(Accelerator("H100"),))),)}),
    ("roles[0].request.gpu_milli", {"roles": (Role(request=Request(gpus=1, gpu_milli=0)),)}),
    ("roles[0].request.gpu_memory_mib", {"roles": (Role(request=Request(gpus=1, gpu_milli=5, gpu_memory_mib=5)),)}),
    *[
        ("roles[0].request.accelerators[0].speed", {"roles": (Role(request=Request(gpus=1, accelerators=(fast,))),)})
        for fast in (
            Accelerator("H100", 0.0),
            Accelerator("H100", -1.0),
            Accelerator("H100", inf),
            Accelerator("H100", nan),
        )
    ],
    ("max_runtime", {"max_runtime": 0}),
    ("estimate", {"estimate": LONGEST + 1}),
    ("grace", {"grace": -1}),
    ("deadline", {"submitted": 5, "deadline": 5}),
    ("deadline", {"not_before": 9, "deadline": 9}),
    ("retry.limit", {"retry": Retry(limit=-1)}),
]


@pytest.mark.parametrize(("field", "more"), WRONG, ids=[field for field, _ in WRONG])
def test_what_can_never_be_right_is_refused_with_its_field(field: str, more: dict[str, Any]) -> None:
    job = replace(a_job("x"), **more)
    assert [wrong.field for wrong in validate(job)] == [field]


AMOUNTS = st.integers(0, MOST_AMOUNT) | st.integers(0, 10)


@given(AMOUNTS, AMOUNTS, AMOUNTS, st.integers(0, MOST_TASKS), st.integers(1, MOST_TASKS), st.none() | AMOUNTS)
def test_whatever_may_be_submitted_can_be_decided(
    cpu: int, memory: int, disk: int, gpus: int, count: int, limit: int | None
) -> None:
    """No request, however large, makes a sum overflow: it would stop the loop, and every restart of it."""
    job = a_job("x", Role("w", count, Request(cpu, memory, gpus, disk_mib=disk), 1), queue="q")
    assert validate(job) == []
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.queues(a_queue("q", gpus=limit, memory=limit))
    it.tell(submitted(job))
    it.decide()
    it.prove()
    assert it.where("x") or it.why("x") is not None


def test_a_plain_job_is_right() -> None:
    assert validate(a_job("x", Role(count=4, min_count=2), priority=Priority(PriorityClass.LOW, -3))) == []
