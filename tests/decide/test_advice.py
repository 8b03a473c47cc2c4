"""What would help a waiting job: every change that is told really lets it start, and the smallest is told."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide.advice import Advice, advise, sentence
from fairway.model.ids import JobId
from fairway.model.job import Role
from fairway.model.policy import Backfill, Policy
from fairway.model.reasons import Range
from fairway.model.resources import Request
from fairway.model.time import HOUR, MINUTE, Duration, Instant
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_queue, a_request, submitted

BEGIN = 10 * HOUR


def asked(it: Rehearsal, job: str) -> Advice:
    row = it.state.jobs.row_of[JobId(job)]
    return advise(snapshot(it.state), it.policy, row, np.random.default_rng(0))


def a_cluster(*running: tuple[str, Request, str], policy: Policy | None = None) -> Rehearsal:
    """n1 of 8 H100 and n2 of 8 A100; each running job (name, request, estimate in hours)."""
    it = Rehearsal(policy or Policy())
    it.tell(after=BEGIN)
    it.nodes(a_node("n1", 8), a_node("n2", 8, "A100"))
    for name, request, hours in running:
        it.tell(submitted(a_job(name, request, estimate=Duration(int(hours) * HOUR))))
        it.decide()
    it.start()
    return it


def test_fewer_gpus_another_type_or_later() -> None:
    it = a_cluster(("r", a_request(2, types=["H100"]), "4"))
    it.tell(submitted(a_job("w", a_request(8, types=["H100"]))))
    it.decide()
    advice = asked(it, "w")
    assert advice.fits_if == ("2 fewer GPUs", "A100 instead of H100")
    assert advice.expected == Range(Instant(BEGIN + 4 * HOUR), Instant(BEGIN + 4 * HOUR))
    said = sentence(advice, lambda at: f"{at // HOUR}:00")
    assert said == "fits if: 2 fewer GPUs / A100 instead of H100 / after 14:00"


def test_less_memory_fewer_tasks_a_smaller_share() -> None:
    it = a_cluster(("r", a_request(8, cpu=60, types=["H100"]), "1"), ("s", a_request(7.0, types=["A100"]), "1"))
    it.tell(submitted(a_job("cores", a_request(cpu=64, types=[]), submitted=1)))
    it.tell(submitted(a_job("gang", Role("w", 4, a_request(1)))))
    it.tell(submitted(a_job("share", a_request(0.9, types=["H100"]))))
    it.decide()
    assert "3 fewer tasks" in asked(it, "gang").fits_if
    assert asked(it, "share").fits_if == ("A100 instead of H100",)
    it.tell(submitted(a_job("wide", a_request(1, cpu=128))))
    it.decide()
    never = asked(it, "wide")
    assert never.never
    assert never.fits_if == ("64 CPU less",)
    assert sentence(never, str) == "could fit if: 64 CPU less"


def test_a_limit_and_a_reservation_are_named() -> None:
    it = a_cluster()
    it.queues(a_queue("a", gpus=4))
    it.tell(submitted(a_job("first", a_request(3), queue="a")), submitted(a_job("second", a_request(2), queue="a")))
    it.decide()
    assert asked(it, "second").fits_if == ("queue a used 1 GPUs less", "1 fewer GPU")

    it = a_cluster(("r", a_request(4, types=["H100"]), "2"), policy=Policy(backfill=Backfill("easy", Duration(0))))
    it.tell(
        submitted(a_job("big", a_request(8, types=["H100"]))), submitted(a_job("small", a_request(1, types=["A100"])))
    )
    it.decide()
    assert list(it.state.reserved) == ["big"]
    it.tell(submitted(a_job("late", a_request(1, types=["H100"]))), after=30 * MINUTE)
    it.decide()
    advice = asked(it, "late")
    assert advice.fits_if == ("A100 instead of H100", "max_runtime of 1h30m")


def test_who_would_start_now_needs_no_help() -> None:
    it = a_cluster()
    it.tell(submitted(a_job("w", a_request(8))))
    assert asked(it, "w") == Advice((), Range(Instant(BEGIN), Instant(BEGIN)))
    assert sentence(Advice(), str) == ""


SIZES = st.integers(1, 8)


@given(st.lists(SIZES, min_size=2, max_size=5), SIZES, st.integers(1, 3), st.integers(0, 64))
def test_what_is_told_lets_the_job_start_and_less_does_not(held: list[int], gpus: int, tasks: int, cpu: int) -> None:
    it = Rehearsal()
    it.tell(after=BEGIN)
    it.nodes(*(a_node(f"n{i}", 8) for i in range(2)))
    it.tell(*(submitted(a_job(f"r{i}", a_request(size, cpu=8))) for i, size in enumerate(held)))
    it.decide()
    it.start()
    request = a_request(gpus, cpu=cpu)
    it.tell(submitted(a_job("w", Role("w", tasks, request), number=1)))
    it.decide()
    if it.where("w"):
        return
    advice = asked(it, "w")
    for told in advice.fits_if:
        amount, _, what = told.partition(" ")
        if what.startswith("fewer GPU"):
            less = int(amount)
            assert starts(it, Role("w", tasks, replace(request, gpus=gpus - less)), advice.never)
            assert less == 1 or not starts(it, Role("w", tasks, replace(request, gpus=gpus - less + 1)), advice.never)
        elif what.startswith("fewer task"):
            less = int(amount)
            assert starts(it, Role("w", tasks - less, request), advice.never)
            assert less == 1 or not starts(it, Role("w", tasks - less + 1, request), advice.never)
        else:
            milli = request.cpu_milli - round(float(amount) * 1000)
            assert starts(it, Role("w", tasks, replace(request, cpu_milli=milli)), advice.never)
    if tasks == 1 and gpus > 1 and not any("fewer GPU" in told for told in advice.fits_if):
        assert not starts(it, Role("w", 1, replace(request, gpus=1)), advice.never)


def starts(it: Rehearsal, role: Role, empty: bool) -> bool:
    """Whether a job of this role would start now, or in an empty cluster."""
    other = Rehearsal()
    other.tell(after=BEGIN)
    other.nodes(*(a_node(f"n{i}", 8) for i in range(2)))
    if not empty:
        other = Rehearsal(state=it.replayed())
    other.tell(submitted(a_job("other", role, number=2)))
    other.decide()
    return bool(other.where("other"))


@pytest.mark.parametrize("queue", ["", "a"])
def test_asking_changes_nothing(queue: str) -> None:
    it = a_cluster(("r", a_request(2, types=["H100"]), "4"))
    it.tell(submitted(a_job("w", a_request(8, types=["H100"]), queue=queue)))
    it.decide()
    before = it.state.nodes.free.copy(), it.state.nodes.device_free.copy(), it.state.queues.used.copy()
    assert asked(it, "w") == asked(it, "w")
    it.prove()
    for column, was in zip(
        (it.state.nodes.free, it.state.nodes.device_free, it.state.queues.used), before, strict=True
    ):
        assert (column == was).all()
