"""What was decided about a job, in sentences that carry the numbers; the same decision always gives the same one."""

from fairway.model.phases import Cause
from fairway.model.plan import Hold, Placement, Reserve, Start, Stop
from fairway.model.reasons import AwaitingVictims
from fairway.model.resources import WHOLE
from fairway.model.time import format_duration
from fairway.state.cluster import Decision, EndedAttempt

_ENDS = {
    Cause.SUCCEEDED: "succeeded",
    Cause.FAILED: "failed",
    Cause.PREEMPTED: "yielded",
    Cause.TIMED_OUT: "was stopped at its max_runtime",
    Cause.CANCELLED: "was cancelled",
    Cause.NODE_LOST: "was lost with its node",
    Cause.START_FAILED: "could not be started",
    Cause.RESIZED: "yielded",
    Cause.DRAINED: "was moved off its node",
    Cause.MOVED: "yielded to go on elsewhere",
}


def sentence(decision: Decision) -> str:
    """One line of a job's story."""
    match decision.what:
        case Start(attempt, placement, reason):
            return f"attempt {attempt.n} starts on {places(placement)}: {reason}"
        case Stop(attempt, _, reason):
            return f"attempt {attempt.n} is told to stop: {reason}"
        case Hold() as hold:
            return f"room is kept for it on {places(hold.placement)} until {_victims(hold)} stopped"
        case Reserve(_, placement, expected):
            return f"room is reserved for it on {places(placement)}, expected {expected}"
        case refusal:
            return str(refusal)


def end_sentence(end: EndedAttempt) -> str:
    """The line that tells how an attempt ended, and what was lost."""
    text = f"attempt {end.attempt.n} {_ENDS[end.outcome.cause]}"
    if end.started is not None:
        text += f" after {format_duration(end.ended - end.started)}"
    if end.outcome.signal is not None:
        text += f", signal {end.outcome.signal}"
    elif end.outcome.exit_code:
        text += f", exit status {end.outcome.exit_code}"
    if end.lost_gpu_ms:
        gpus = end.sums[2]
        text += f"; lost {format_duration(end.lost_gpu_ms // gpus)} x {gpus / WHOLE:g} GPU"
    told = end.outcome.cause in (Cause.PREEMPTED, Cause.RESIZED)  # its message repeats the line that told it to stop
    return text if told or not end.outcome.message else f"{text}: {end.outcome.message}"


def places(placement: Placement) -> str:
    """Nodes and devices of a placement: ``n1 (GPU 0, 1), n2``; a share of a device as ``GPU 0 at 40%``."""
    nodes: dict[str, list[str]] = {}
    for task in placement:
        share = f" at {task.gpu_milli / WHOLE:.0%}" if 0 < task.gpu_milli < WHOLE else ""
        nodes.setdefault(task.node, []).extend(f"{device}{share}" for device in task.devices)
    return ", ".join(f"{node} (GPU {', '.join(held)})" if held else node for node, held in nodes.items())


def awaiting(hold: Hold) -> AwaitingVictims:
    """Why a job with a hold does not run yet."""
    nodes = tuple(dict.fromkeys(task.node for task in hold.placement))
    return AwaitingVictims(tuple(attempt.job for attempt in hold.victims), nodes)


def _victims(hold: Hold) -> str:
    names = [attempt.job for attempt in hold.victims]
    return f"{', '.join(names)} {'has' if len(names) == 1 else 'have'}"
