"""Whether what should have happened did: each check has the numbers it was decided by."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairway.faces.demo import cast

Jobs = dict[str, dict[str, Any]]
"""By name; an array's by ``name[index]``."""


@dataclass(frozen=True, slots=True)
class Check:
    """What must hold, whether it does, and by which numbers."""

    what: str
    ok: bool
    numbers: str

    def shape(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Course:
    """What has happened: the jobs as they ended, what was said of each, and where results were left."""

    jobs: Jobs
    stories: dict[str, dict[str, Any]]
    work: Path

    def result(self, name: str) -> dict[str, Any]:
        """What a program left behind."""
        return json.loads((self.work / f"{name}.json").read_text("utf-8"))


def prove(course: Course) -> list[Check]:
    """Every check, in order. One that cannot be made has failed."""
    found: list[Check] = []
    for check in CHECKS:
        try:
            found += check(course)
        except (OSError, LookupError, ValueError) as error:
            found.append(Check(str(check.__doc__), False, f"{type(error).__name__}: {error}"))
    return found


def _ended(course: Course) -> Iterator[Check]:
    """every job succeeded"""
    bad = [f"{job['id']} {job['phase']}" for job in course.jobs.values() if job["phase"] != "succeeded"]
    yield Check("every job succeeded", not bad, ", ".join(bad) or f"{len(course.jobs)} jobs")


def _yielded(course: Course) -> Iterator[Check]:
    """the low job made room for the critical one"""
    train, hotfix = course.jobs["train"], course.jobs["hotfix"]
    by = [line["what"] for line in course.stories["train"]["story"] if hotfix["id"] in line["what"]]
    yield Check("train made room for hotfix", train["preemptions"] > 0 and bool(by), (by or ["it did not"])[0])
    others = {name: job["preemptions"] for name, job in course.jobs.items() if job["preemptions"] and name != "train"}
    yield Check("nobody else had to yield", not others, str(others or "none did"))


def _resumed(course: Course) -> Iterator[Check]:
    """the training went on from where it was"""
    import numpy as np

    from fairway.faces.demo.programs import learning

    result = course.result("train")
    lineage = result["lineage"]
    parts = ", then ".join(f"attempt {attempt} steps {first} to {after}" for attempt, first, after in lineage)
    ends = [after for _, _, after in lineage]
    whole = len(lineage) > 1 and ends[-1] == cast.TRAIN_STEPS and [first for _, first, _ in lineage] == [0, *ends[:-1]]
    yield Check("train went on from where it was", whole and 0 < result["own_steps"] < cast.TRAIN_STEPS, parts)
    # Which examples a step learns from depends on the attempt: only weights that were handed on come out like this.
    weights = np.array(result["weights"])
    apart = float(np.abs(learning.replay(lineage).weights - weights).max())
    alone = float(np.abs(learning.replay([[lineage[-1][0], 0, cast.TRAIN_STEPS]]).weights - weights).max())
    numbers = f"{apart:.1e} from what this course must give, {alone:.1e} from a start anew"
    yield Check("its final weights prove it", apart < 1e-9 < alone, numbers)


def _gang(course: Course) -> Iterator[Check]:
    """the gang's workers talked"""
    first, second = course.result("gang-0"), course.result("gang-1")
    same = first["fingerprint"] == second["fingerprint"] and first["bytes_sent"] > 0 < second["bytes_sent"]
    numbers = f"{first['bytes_sent'] + second['bytes_sent']} bytes over loopback, weights {first['fingerprint'][:12]}"
    yield Check("the gang's workers agree", same and first["size"] == second["size"] == 2, numbers)


def _tuned(course: Course) -> Iterator[Check]:
    """the search found a rate"""
    trials = [course.result(f"tune-{index}") for index in range(len(cast.RATES))]
    best = min(trials, key=lambda trial: trial["loss"])
    known = [trial["rate"] for trial in trials] == list(cast.RATES)
    yield Check("every trial left its loss", known, f"best rate {best['rate']:g} with loss {best['loss']:.4f}")


def _retried(course: Course) -> Iterator[Check]:
    """the job that failed once was tried again"""
    job, result = course.jobs["nightly-load"], course.result("nightly-load")
    numbers = f"{job['failures']} failure, result by attempt {result['attempt']}"
    yield Check(
        "nightly-load failed once and was tried again", job["failures"] == 1 and result["attempt"] == 2, numbers
    )


def _in_time(course: Course) -> Iterator[Check]:
    """the deadline was met"""
    job = course.jobs["forecast"]
    spare = (job["deadline_ms"] or 0) - (job["ended_ms"] or 0)
    yield Check("forecast met its deadline", spare > 0, f"{spare / 1000:.1f} s to spare")


def _lost(course: Course) -> Iterator[Check]:
    """little was lost"""
    lost = {job["id"]: job["lost_gpu_seconds"] for job in course.jobs.values() if job["lost_gpu_seconds"]}
    only = all(name == course.jobs["train"]["id"] for name in lost)
    limit = 0.1 * course.jobs["train"]["gpu_seconds"]
    numbers = f"{sum(lost.values()):g} GPU-seconds of {course.jobs['train']['gpu_seconds']:g}"
    yield Check("little of train's work was lost", only and sum(lost.values()) <= limit, numbers)


CHECKS: tuple[Callable[[Course], Iterator[Check]], ...] = (
    _ended, _yielded, _resumed, _gang, _tuned, _retried, _in_time, _lost,
)  # fmt: skip
