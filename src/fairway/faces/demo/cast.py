"""Who plays: three queues under one organisation, and what each hands in. Names here are those of the jobs."""

import os
import sys
from typing import Any

PROGRAMS = "fairway.faces.demo.programs"
GPUS = 8
RATES = (0.001, 0.005, 0.02, 0.05)
TRAIN_STEPS = 500

Document = dict[str, Any]

QUEUES: list[Document] = [
    {"kind": "Queue", "name": "acme/research", "quota": {"gpus": 4}},
    {"kind": "Queue", "name": "acme/production", "quota": {"gpus": 4}},
    {"kind": "Queue", "name": "acme/batch", "quota": {"gpus": 0}, "borrow": {"gpus": 0}, "max_pending": 100},
]


def early() -> list[Document]:
    """What is there first: the long training."""
    request = {"gpus": 4}
    train = _job(
        "train", "acme/research", request, "train", "--steps", str(TRAIN_STEPS), priority="low", checkpoints=True
    )
    return [train]


def rest() -> list[Document]:
    """Everything else but the urgent job."""
    flaky = _job("nightly-load", "acme/batch", {}, "features", "--name", "nightly-load", "--fail-first")
    share = {"gpus": 0.5}
    return [
        _job("tune", "acme/research", share, "tune", "--name", "tune-{index}", "--rate", "{rate}", array={
            "parameters": {"rate": list(RATES)}
        }),
        _job("gang", "acme/research", {"gpus": 1}, "gang", workers=2),
        _job("forecast", "acme/production", {"gpus": 1}, "forecast", "--name", "forecast", deadline="90s"),
        _job("features", "acme/batch", {}, "features", "--name", "features"),
        _job("clean", "acme/batch", {}, "features", "--name", "clean", "--texts", "40", priority="preemptible"),
        flaky | {"retries": {"limit": 2, "backoff": "1s"}},
        _job("evaluate", "acme/production", {"gpus": 2}, "forecast", "--name", "evaluate", "--paths", "40"),
    ]  # fmt: skip


def urgent() -> Document:
    """The critical job, which finds no room."""
    return _job(
        "hotfix", "acme/production", {"gpus": 6}, "forecast", "--name", "hotfix", "--paths", "80", priority="critical"
    )


def _job(name: str, queue: str, request: Document, program: str, *arguments: str, **more: Any) -> Document:
    """A job that runs one of the programs with this interpreter."""
    env = {"OMP_NUM_THREADS": "1"}
    if "PYTHONPATH" in os.environ:
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]
    return {
        "kind": "Job",
        "name": name,
        "queue": queue,
        "request": {"cpu": "100m", **request},
        "command": [sys.executable, "-m", f"{PROGRAMS}.{program}", *arguments],
        "env": env,
        **more,
    }
