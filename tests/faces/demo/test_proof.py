"""The demo's proof fails when what it proves is not so, and the real demo passes it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairway.faces.demo import cast
from fairway.faces.demo.programs import learning
from fairway.faces.demo.proof import Check, Course, prove
from fairway.faces.manifests.read import manifests_from
from fairway.faces.manifests.schema import JobSpec
from tests.faces.plane import fairway

YIELDED_AT = 120


def a_job(name: str, **fields: Any) -> dict[str, Any]:
    status: dict[str, Any] = {
        "id": f"{name}-1", "phase": "succeeded", "preemptions": 0, "failures": 0, "lost_gpu_seconds": 0.0,
        "gpu_seconds": 100.0, "deadline_ms": None, "ended_ms": 1_000,
    }  # fmt: skip
    return {**status, **fields}


def leave(work: Path, name: str, result: dict[str, Any]) -> None:
    (work / f"{name}.json").write_text(json.dumps(result), "utf-8")


def trained(lineage: list[list[int]]) -> dict[str, Any]:
    """What a training with this course leaves."""
    model = learning.replay(lineage)
    own = lineage[-1][2] - lineage[-1][1]
    return {"lineage": lineage, "own_steps": own, "weights": model.weights.tolist()}


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """One in which everything went well."""
    leave(tmp_path, "train", trained([[1, 0, YIELDED_AT], [2, YIELDED_AT, cast.TRAIN_STEPS]]))
    for rank in range(2):
        leave(tmp_path, f"gang-{rank}", {"fingerprint": "f" * 64, "size": 2, "bytes_sent": 7, "rank": rank})
    for index, rate in enumerate(cast.RATES):
        leave(tmp_path, f"tune-{index}", {"rate": rate, "loss": rate})
    leave(tmp_path, "nightly-load", {"attempt": 2})
    jobs = {
        "train": a_job("train", preemptions=1, lost_gpu_seconds=0.5),
        "hotfix": a_job("hotfix"),
        "forecast": a_job("forecast", deadline_ms=5_000),
        "nightly-load": a_job("nightly-load", failures=1),
    }
    stories = {"train": {"story": [{"what": "attempt 1 is told to stop: higher priority hotfix-1 (critical)"}]}}
    return Course(jobs, stories, tmp_path)


def failed(course: Course) -> list[str]:
    return [check.what for check in prove(course) if not check.ok]


def with_job(course: Course, name: str, **fields: Any) -> Course:
    return replace(course, jobs={**course.jobs, name: {**course.jobs[name], **fields}})


def test_a_good_course_is_proven(course: Course) -> None:
    checks = prove(course)
    assert failed(course) == []
    assert all(isinstance(check, Check) and check.numbers for check in checks)
    assert len(checks) == 10


def forget_weights(course: Course) -> Course:
    """The second attempt began anew, and says that it did not."""
    lie = trained([[2, 0, cast.TRAIN_STEPS]]) | {
        "lineage": [[1, 0, YIELDED_AT], [2, YIELDED_AT, cast.TRAIN_STEPS]],
        "own_steps": cast.TRAIN_STEPS - YIELDED_AT,
    }
    leave(course.work, "train", lie)
    return course


def start_anew(course: Course) -> Course:
    leave(course.work, "train", trained([[2, 0, cast.TRAIN_STEPS]]))
    return course


def disagree(course: Course) -> Course:
    leave(course.work, "gang-1", {"fingerprint": "0" * 64, "size": 2, "bytes_sent": 7, "rank": 1})
    return course


def lose_a_trial(course: Course) -> Course:
    (course.work / "tune-2.json").unlink()
    return course


PLANTED: list[tuple[str, Callable[[Course], Course], str]] = [
    ("a job failed", lambda c: with_job(c, "hotfix", phase="failed"), "every job succeeded"),
    ("nobody yielded", lambda c: with_job(c, "train", preemptions=0), "train made room for hotfix"),
    ("somebody else yielded", lambda c: with_job(c, "forecast", preemptions=1), "nobody else had to yield"),
    ("the training began anew", start_anew, "train went on from where it was"),
    ("the weights are of another course", forget_weights, "its final weights prove it"),
    ("the gang did not talk", disagree, "the gang's workers agree"),
    ("a trial is missing", lose_a_trial, "the search found a rate"),
    (
        "nothing failed",
        lambda c: with_job(c, "nightly-load", failures=0),
        "nightly-load failed once and was tried again",
    ),
    ("too late", lambda c: with_job(c, "forecast", ended_ms=6_000), "forecast met its deadline"),
    ("much was lost", lambda c: with_job(c, "train", lost_gpu_seconds=50.0), "little of train's work was lost"),
]


@pytest.mark.parametrize(("change", "noticed"), [case[1:] for case in PLANTED], ids=[case[0] for case in PLANTED])
def test_what_went_wrong_is_noticed(course: Course, change: Callable[[Course], Course], noticed: str) -> None:
    assert noticed in failed(change(course))


def test_weights_remember_which_attempt_took_a_step() -> None:
    ours = learning.replay([[1, 0, 50], [2, 50, 100]]).weights
    for other in ([[1, 0, 100]], [[2, 0, 100]], [[1, 0, 51], [2, 51, 100]], [[1, 0, 49], [2, 49, 100]]):
        assert np.abs(learning.replay(other).weights - ours).max() > 1e-6


def test_a_checkpoint_is_the_model(tmp_path: Path) -> None:
    assert learning.load(tmp_path) is None
    model = learning.replay([[1, 0, 10], [3, 10, 12]])
    learning.save(model, tmp_path)
    again = learning.load(tmp_path)
    assert again is not None
    assert (again.step, again.lineage) == (12, [[1, 0, 10], [3, 10, 12]])
    assert (again.weights == model.weights).all()
    assert (again.momentum == model.momentum).all()


def test_the_cast_is_about_a_dozen_jobs() -> None:
    documents = [*cast.early(), *cast.rest(), cast.urgent()]
    found = manifests_from(documents)
    assert len(found) == len(documents)
    jobs = sum(each.spec.array.points if each.spec.array else 1 for each in found if isinstance(each.spec, JobSpec))
    assert 10 <= jobs <= 14
    assert len(manifests_from(cast.QUEUES)) == 3


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_demo_itself(tmp_path: Path) -> None:
    outcome = fairway("demo", "--json", home=tmp_path / "home", within=200, TMPDIR=str(tmp_path))
    summary = outcome.json
    assert outcome.code == 0, (summary["checks"], outcome.err)
    assert summary["ok"]
    assert set(summary["yielded"]) == {summary["explain"]["job"]["id"]}
    assert sum(summary["gpu_hours"].values()) > 0
    assert list(tmp_path.glob("fairway-demo-*")) == []
