"""From how each task ended to how the attempt ended. Pure: the same files give the same outcome after every restart."""

import signal
from collections.abc import Sequence

from fairway.adapters.executors.local.folder import Exit, StopOrder, TaskSpec
from fairway.model.facts import Outcome
from fairway.model.phases import Cause

YIELD_STATUS = 75
"""EX_TEMPFAIL: a program's way to say that it stopped because it was asked to, and has not finished."""

_UNRUN = {"workdir": "its working directory cannot be entered", "limit": "its limits cannot be set"}


def task_outcome(task: TaskSpec, end: Exit | None, many: bool) -> Outcome:
    """How one task ended; None is a task that was never started and never will be. ``many``: the message says which."""
    who = f"task {task.rank} ({task.role})" if many else "the program"
    if end is None or end.kind == "stopped":
        return Outcome(Cause.NODE_LOST, message="never started: stopped before")
    if end.kind == "refused":
        return Outcome(Cause.START_FAILED, message=f"{who}: {end.text}" if many else end.text)
    if end.kind == "unrun":
        return Outcome(Cause.START_FAILED, message=f"{who} was not started: {_UNRUN.get(end.text, end.text)}")
    if end.kind == "lost":
        return Outcome(Cause.NODE_LOST, message=f"{who}: {end.text}" if many else end.text)
    number, _, note = end.text.partition(" ")
    status = _number(number)
    if end.kind == "exited" and status == 0:
        return Outcome(Cause.SUCCEEDED, exit_code=0)
    killer = status if end.kind == "killed" else (status - 128 if 128 < status <= 128 + signal.SIGRTMAX else None)
    suffix = f": {note}" if note else ""
    if killer is not None:
        return Outcome(Cause.FAILED, signal=killer, message=f"{who} was ended by {_signal_name(killer)}{suffix}")
    return Outcome(Cause.FAILED, exit_code=status, message=f"{who} exited with status {status}{suffix}")


def failed(end: Exit) -> bool:
    """Whether a task that ended so keeps its gang from succeeding."""
    return not (end.kind == "exited" and end.text == "0")


def attempt_outcome(tasks: Sequence[TaskSpec], ends: Sequence[Exit | None], order: StopOrder | None) -> Outcome:
    """How an attempt ended whose tasks have ended so. ``order`` is its stop, if there was one.

    All tasks exited 0: success. Else the failure that made the rest stop. Else, when the engine asked for the stop, a
    task that yielded (status 75, SIGTERM, SIGKILL) speaks for the others: they may have failed for missing it. Else the
    earliest failure; tasks that never started only count when there is nothing else.
    """
    many = len(tasks) > 1
    pairs = [(task, end, task_outcome(task, end, many)) for task, end in zip(tasks, ends, strict=True)]
    if pairs and all(outcome.cause is Cause.SUCCEEDED for _, _, outcome in pairs):
        return Outcome(Cause.SUCCEEDED, exit_code=0)
    if order is not None and order.failed is not None:
        found = next((outcome for task, _, outcome in pairs if task.rank == order.failed), None)
        if found is not None and found.cause is not Cause.SUCCEEDED:
            return found
    failures = [
        (not (order is not None and _yielded(outcome)), end.at, task.rank, outcome)
        for task, end, outcome in pairs
        if end is not None and end.kind != "stopped" and outcome.cause is not Cause.SUCCEEDED
    ]
    if failures:
        return min(failures, key=lambda failure: failure[:3])[3]
    return Outcome(Cause.NODE_LOST, message="never started: stopped before" + (" all its tasks were" if many else ""))


def _yielded(outcome: Outcome) -> bool:
    return outcome.exit_code == YIELD_STATUS or outcome.signal in (signal.SIGTERM, signal.SIGKILL)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 1


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
