"""A plan as the lines of a golden scenario."""

from collections.abc import Iterator

from fairway.model.phases import Cause
from fairway.model.plan import (
    Book,
    Hold,
    Look,
    OneAction,
    Overbooked,
    Placement,
    Release,
    Reserve,
    Review,
    Start,
    Stop,
    TaskPlacement,
    Tidy,
    Unreserve,
)
from fairway.model.resources import WHOLE
from fairway.model.time import DAY, NEVER, Instant, format_duration

BEGIN = Instant(10 * DAY)
"""When every scenario begins."""


def render(action: OneAction) -> Iterator[str]:
    """An action as a line of a plan."""
    if isinstance(action, Start):
        n = f"@{action.attempt.n}" if action.attempt.n > 1 else ""
        domain = f"  {action.reason.domain}" if action.reason.domain else ""
        batch = f"  batch {action.batch}" if action.batch else ""
        yield f"start    {action.attempt.job}{n} on {_where(action.placement)}{domain}{batch}"
    elif isinstance(action, Stop):
        verb = {Cause.PREEMPTED: "preempt", Cause.MOVED: "move", Cause.RESIZED: "resize"}.get(action.cause, "stop")
        yield f"{verb:8} {action.attempt.job}  {action.reason}"
    elif isinstance(action, Hold):
        victims = ", ".join(attempt.job for attempt in action.victims)
        yield f"hold     {action.job} on {_where(action.placement)} until {victims} has stopped"
    elif isinstance(action, Release):
        yield f"release  {action.job}"
    elif isinstance(action, Review):
        yield f"review   {action.queue} {_when(action.at)}"
    elif isinstance(action, Reserve):
        yield f"reserve  {action.job} on {_where(action.placement)} expected {action.expected}"
    elif isinstance(action, Unreserve):
        yield f"unreserve {action.job}"
    elif isinstance(action, Book):
        devices = (TaskPlacement(0, 0, node, own, WHOLE) for node, own in action.devices)
        yield f"book     {action.booking} on {_where(tuple(devices)) or 'nothing'}"
    elif isinstance(action, Overbooked):
        yield f"refuse   {action.booking}  {action.reason}"
    elif isinstance(action, Tidy):
        yield f"tidy     {_when(action.at)}"
    elif isinstance(action, Look):
        yield f"look     {_when(action.at or NEVER)}"
    else:
        yield f"wait     {action.job}  {action.reason}"


def _when(at: Instant) -> str:
    """When a queue is looked at again, counted from where a scenario begins."""
    if at in (0, NEVER):
        return "when room is free" if at else "no more"
    return f"at {format_duration(at - BEGIN)}"


def _where(placement: Placement) -> str:
    """``n1[0-7] n2[0,2]``: node and devices of each task; ``n1[3:500]`` is a share of one."""
    return " ".join(f"{task.node}{_devices(task)}" for task in placement)


def _devices(task: TaskPlacement) -> str:
    devices = list(task.devices)
    if not devices:
        return ""
    if task.gpu_milli < WHOLE:
        return f"[{devices[0]}:{task.gpu_milli}]"
    dense = len(devices) > 2 and devices == list(range(devices[0], devices[-1] + 1))
    return f"[{devices[0]}-{devices[-1]}]" if dense else f"[{','.join(map(str, devices))}]"
