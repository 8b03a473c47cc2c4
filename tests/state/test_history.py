"""How long work has taken, as the state remembers it: against the plain list of samples, and through facts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.facts import NodeSeen, Progressed
from fairway.model.job import Role
from fairway.model.phases import Cause
from fairway.model.time import HOUR, MINUTE, Duration
from fairway.state import history as module
from fairway.state.check import check
from fairway.state.groups import shape_of
from fairway.state.history import RATIO, RUN, WAIT, RunTimes, bucket_of_ratio, bucket_of_run, pattern_of, size_of
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("train-17", "train"),
        ("bert-lr0.01-a3f9c2", "bert-lr"),
        ("Resnet50_run_003", "resnet-run"),
        ("eval 1e-4 seed=7", "eval-seed"),
        ("deadbeef", "deadbeef"),
        ("123", ""),
    ],
)
def test_a_pattern_is_a_name_without_numbers_and_hashes(name: str, pattern: str) -> None:
    assert pattern_of(name) == pattern


def test_a_size_names_gpus_tasks_and_types() -> None:
    assert size_of(shape_of(a_job("a", a_request(8)))) == "1x8"
    assert size_of(shape_of(a_job("a", Role("w", 4, a_request(8, types=["H100"]))))) == "4x8H100"
    assert size_of(shape_of(a_job("a", a_request(0.5)))) == "1x0.5"
    assert size_of(shape_of(a_job("a", a_request(cpu=6)))) == "1xcpu4"


@given(st.floats(1, 2.0**39))
def test_a_bucket_is_right_to_nine_percent(work: float) -> None:
    low = 2.0 ** (bucket_of_run(work) / 8)
    assert low * (1 - 1e-12) <= work <= low * 2 ** (1 / 8) * (1 + 1e-12)


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=200))
def test_a_sketch_is_its_samples_halved_whenever_it_is_full(works: list[float]) -> None:
    """At every level of a kind, and in the cumulated counts that quantiles are read from."""
    history, plain = RunTimes(), np.zeros(module.BUCKETS)
    row = history.enter(a_job("j", a_request(1), user="ada"), shape_of(a_job("j", a_request(1))))
    for work in works:
        history.learn(row, work, None)
        plain[bucket_of_run(work)] += 1
        if plain.sum() > module.MOST_SAMPLES:
            plain = np.diff(plain.cumsum() // 2, prepend=0)
    for at in history.above[row]:
        assert history.counts[at, RUN].tolist() == plain.tolist()
        assert history.total[at, RUN] == plain.sum() <= module.MOST_SAMPLES
        assert history.below[at, RUN].tolist() == plain.cumsum().tolist()
    assert history.learned == len(works)


def test_a_full_table_forgets_what_is_quiet_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KINDS", 6)
    history, shape = RunTimes(), shape_of(a_job("j", a_request(1)))
    rows = [history.enter(a_job("j", a_request(1), user=user), shape) for user in ("ada", "bob")]
    assert len(history) == 6
    for row in rows:
        history.learn(row, 1000, None)
        history.leave(row)
    history.learn(rows[0], 1000, None)
    eve = history.enter(a_job("j", a_request(1), user="eve"), shape)
    assert ("1x1", "eve") in history.row_of
    assert ("1x1", "bob", "j") not in history.row_of
    assert history.total[history.row_of[("1x1",)], RUN] == 3
    assert history.total[eve, RUN] <= 3
    dan = history.enter(a_job("j", a_request(1), user="dan"), shape)
    everybody = [history.enter(a_job("j", a_request(1), user=f"u{i}"), shape) for i in range(9)]
    assert len(history) == 6
    assert {history.kinds[row] for row in everybody} <= {("1x1",), *(k for k in history.kinds if len(k) > 1)}
    for row in (eve, dan, *everybody):
        history.leave(row)
    assert min(history.refs[:6]) >= 0


def test_what_ends_by_itself_is_remembered_and_what_is_interrupted_is_not() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(after=1000)
    jobs = [a_job(f"run-{i}", a_request(1), user="ada", checkpoints=True) for i in range(3)]
    it.tell(*map(submitted, jobs))
    it.decide()
    it.start()
    it.tell(after=HOUR)
    it.end("run-0")
    it.tell(Progressed(it.attempt("run-1"), checkpoint=it.state.now))
    it.end("run-1", Cause.NODE_LOST)
    row = int(it.state.jobs.history[it.state.jobs.row_of[jobs[1].id]])
    history = it.state.history
    assert history.kinds[row] == ("1x1", "ada", "run")
    assert history.total[row].tolist() == [1, 0, 0]
    assert it.state.jobs.ran[it.state.jobs.row_of[jobs[1].id]] == HOUR
    it.decide()
    it.start()
    it.tell(after=HOUR)
    it.end("run-1")
    assert history.counts[row, RUN, bucket_of_run(HOUR)] == 1
    assert history.counts[row, RUN, bucket_of_run(2 * HOUR)] == 1
    it.prove()
    it.restart()
    it.prove()


def test_work_is_counted_at_the_pace_of_a_full_start_on_the_fastest_type() -> None:
    it = Rehearsal()
    it.tell(after=1000)
    it.tell(NodeSeen(a_node("slow", 2, "A100")))
    fast_or_slow = a_request(1, types=[("H100", 2.0), ("A100", 1.0)])
    it.tell(submitted(a_job("half", Role("w", 4, fast_or_slow, 2), estimate=Duration(30 * MINUTE))))
    it.decide()
    it.start()
    it.tell(after=HOUR)
    row = int(it.state.jobs.history[0])
    assert it.state.jobs.pace[0] == 0.25
    it.restart()
    assert it.state.jobs.pace[0] == 0.25
    it.end("half")
    history = it.state.history
    assert history.counts[row, RUN, bucket_of_run(15 * MINUTE)] == 1
    assert history.counts[row, RATIO, bucket_of_ratio(0.5)] == 1
    assert check(it.state) == []


def test_a_replica_teaches_nothing() -> None:
    history = RunTimes()
    job = a_job("web-0", a_request(1), user="ada", service="web")
    assert history.enter(job, shape_of(job)) == 0
    assert len(history) == 1


@given(st.floats(1e-6, 1e6))
def test_a_ratio_lies_in_its_bucket(ratio: float) -> None:
    assert math.log2(ratio) == pytest.approx((bucket_of_ratio(ratio) - module.NO_CHANGE) / 8, abs=1 / 16 + 1e-9)


def test_waits_are_remembered_by_queue_class_and_shape_and_a_start_at_once_is_not() -> None:
    it = Rehearsal()
    it.tell(after=1000)
    it.nodes(a_node("n1", 1))
    it.tell(*(submitted(a_job(f"run-{i}", a_request(1), queue="q")) for i in range(2)))
    it.decide()
    it.start()
    it.tell(after=HOUR)
    it.end("run-0")
    it.decide()
    history = it.state.history
    row = history.row_of_wait("q", 2, shape_of(a_job("x", a_request(1))))
    assert history.kinds[row] == ("wait", "q 2", "1x1")
    assert history.counts[row, WAIT, bucket_of_run(HOUR)] == history.total[row, WAIT] == 1
    assert history.total[0, WAIT] == 1
    it.prove()
    it.restart()
    it.prove()


def test_kinds_of_waits_take_no_more_than_half_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KINDS", 12)
    history, shape = RunTimes(), shape_of(a_job("j", a_request(1)))
    for queue in range(20):
        history.waited(f"q{queue}", 2, shape, 60_000)
    assert len(history) <= 7
    assert history.total[0, WAIT] == 20
    assert history.kinds[history.row_of_wait("q19", 2, shape)] == ("wait",)
