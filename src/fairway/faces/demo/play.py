"""The play: hand work in, wait for the moment when an urgent job finds no room, and see what comes of it."""

import signal
import sys
import time
from typing import Any

from fairway.faces.cli.common import put_json
from fairway.faces.cli.jobs import print_explanation
from fairway.faces.cli.tables import console, put, span, styled
from fairway.faces.demo import cast
from fairway.faces.demo.proof import Check, Course, prove
from fairway.faces.demo.show import Show, make_show
from fairway.faces.demo.stage import Stage, stage
from fairway.model.errors import Refused

LIMIT_S = 150.0
POLL_S = 0.25
LONG_RUNNERS = ("train", "gang")
URGENT_FROM = 0.3
"""The urgent job comes when the training has done so much of its work, and all but the long runners have ended."""
ENDED = ("succeeded", "failed", "cancelled")


def play(json: bool, keep: bool) -> int:
    """The whole demo; returns the exit code: 0 when everything that must hold did."""
    began = time.monotonic()
    # Ended politely, it must clear up as it does when it is interrupted.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with stage(keep) as place, make_show(json) as show:
        show.say(f"A control plane with {cast.GPUS} VIRTUAL GPUs: declared, not found. The programs are real.")
        base = str(place.work)
        place.client.apply(cast.QUEUES)
        place.client.apply(cast.early(), base=base)
        _until(place, show, began, lambda jobs: jobs[0]["phase"] == "running")
        place.client.apply(cast.rest(), base=base)
        _until(place, show, began, _ripe)
        show.say("A critical job comes, and needs 6 of the 8 GPUs: who gives way?")
        place.client.apply([cast.urgent()], base=base)
        _until(place, show, began, lambda jobs: all(job["phase"] in ENDED for job in jobs))
        course = _course(place)
        checks, queues = prove(course), place.client.queues()
    summary = _summary(course, checks, queues, time.monotonic() - began)
    if json:
        put_json(summary)
    else:
        _print(summary, course)
    return 0 if summary["ok"] else 1


def _until(place: Stage, show: Show, began: float, true: Any) -> None:
    """Watch until it is so. Raises Refused when it takes longer than a demo may."""
    while True:
        jobs = place.client.jobs()
        show.update(jobs)
        if true(jobs):
            return
        if time.monotonic() - began > LIMIT_S:
            left = [f"{job['id']} {job['phase']}" for job in jobs if job["phase"] not in ENDED]
            raise Refused(f"the demo took more than {LIMIT_S:g} s; unfinished: {', '.join(left) or 'nothing'}")
        time.sleep(POLL_S)


def _ripe(jobs: list[dict[str, Any]]) -> bool:
    """Whether only the long runners are left, and the training is far enough to have something to lose."""
    if "train" not in [job["name"] for job in jobs]:
        return False
    for job in jobs:
        if job["name"] == "train" and job["step"] < URGENT_FROM * cast.TRAIN_STEPS:
            return False
        if job["name"] not in LONG_RUNNERS and job["phase"] not in ENDED:
            return False
    return True


def _course(place: Stage) -> Course:
    jobs = {}
    for job in place.client.jobs():
        index = job["array"].partition("[")[2]
        jobs[f"{job['name']}[{index}" if index else job["name"]] = job
    stories = {name: place.client.explain(jobs[name]["id"]) for name in ("train", "hotfix")}
    return Course(jobs, stories, place.work)


def _summary(course: Course, checks: list[Check], queues: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    jobs = course.jobs.values()
    longest = sorted(jobs, key=lambda job: -job["wait_ms"])
    keys = ("id", "queue", "priority", "phase", "wait_ms", "run_ms", "attempt", "failures", "preemptions")
    work = ("gpu_seconds", "lost_gpu_seconds")
    return {
        "ok": all(check.ok for check in checks),
        "seconds": round(seconds, 1),
        "virtual_gpus": cast.GPUS,
        "jobs": [{key: job[key] for key in (*keys, *work)} for job in jobs],
        "waited": {job["id"]: job["wait_ms"] for job in longest if job["wait_ms"] > 500},
        "yielded": {job["id"]: job["preemptions"] for job in jobs if job["preemptions"]},
        "lost_gpu_seconds": round(sum(job["lost_gpu_seconds"] for job in jobs), 3),
        "gpu_hours": {queue["id"]: queue["gpu_hours"] for queue in queues if queue["id"].startswith("acme")},
        "checks": [check.shape() for check in checks],
        "explain": course.stories["train"],
    }


def _print(summary: dict[str, Any], course: Course) -> None:
    out = console()
    out.print()
    out.print(styled("Who waited, and how long", "bold"))
    rows = [
        (
            job["id"], job["queue"], job["priority"], span(job["wait_ms"]), span(job["run_ms"]), job["attempt"],
            job["preemptions"] or "", job["failures"] or "", f"{job['gpu_seconds']:.1f}",
            f"{job['lost_gpu_seconds']:g}",
        )
        for job in summary["jobs"]
    ]  # fmt: skip
    columns = (
        "JOB",
        "QUEUE",
        "PRIORITY",
        ">WAITED",
        ">RAN",
        ">ATTEMPTS",
        ">YIELDED",
        ">FAILED",
        ">GPU-SECONDS",
        ">LOST",
    )
    put(columns, rows, "nobody")
    out.print(styled("\nGPU-hours by queue", "bold"))
    put(("QUEUE", ">GPU-HOURS"), [(name, f"{hours:.4f}") for name, hours in summary["gpu_hours"].items()], "none")
    out.print(styled(f"\nfairway explain {course.jobs['train']['id']}", "bold"))
    print_explanation(summary["explain"])
    out.print(styled("\nWhat had to hold", "bold"))
    for check in summary["checks"]:
        mark = styled("  held  ", "green") if check["ok"] else styled("  FAILED", "bold red")
        out.print(mark, end="  ")
        out.print(styled(f"{check['what']}: {check['numbers']}", ""))
    verdict = "Everything held" if summary["ok"] else "Something did not hold"
    out.print(styled(f"\n{verdict}, in {summary['seconds']:g} s.", "bold green" if summary["ok"] else "bold red"))
