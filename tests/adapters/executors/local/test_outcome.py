"""From how tasks ended to how their attempt ended."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.adapters.executors.local.folder import Exit, ExitKind, StopOrder, TaskSpec
from fairway.adapters.executors.local.outcome import attempt_outcome, failed, task_outcome
from fairway.model.facts import Outcome
from fairway.model.phases import Cause
from fairway.model.time import Instant

ASKED = StopOrder(Instant(10_000))


def ended(text: str | int, at: int = 0, kind: ExitKind = "exited") -> Exit:
    return Exit(kind, str(text), Instant(at))


def outcome(*ends: Exit | None, order: StopOrder | None = None) -> Outcome:
    return attempt_outcome([TaskSpec(rank, f"r{rank}") for rank in range(len(ends))], ends, order)


ENDS = st.builds(
    Exit,
    kind=st.sampled_from(["exited", "unrun", "stopped", "refused", "killed", "lost"]),
    text=st.sampled_from(["0", "1", "75", "127", "137", "143", "255", "9", "workdir", "no such program", "137 why"]),
    at=st.integers(0, 5).map(Instant),
)
ORDERS = st.one_of(st.none(), st.just(ASKED), st.integers(0, 3).map(lambda rank: StopOrder(Instant(1), rank)))


@pytest.mark.parametrize(
    ("end", "cause", "exit_code", "number"),
    [
        (ended(0), Cause.SUCCEEDED, 0, None),
        (ended(1), Cause.FAILED, 1, None),
        (ended(75), Cause.FAILED, 75, None),
        (ended(127), Cause.FAILED, 127, None),
        (ended(128), Cause.FAILED, 128, None),
        (ended(128 + signal.SIGSEGV), Cause.FAILED, None, signal.SIGSEGV),
        (ended(143), Cause.FAILED, None, signal.SIGTERM),
        (ended(255), Cause.FAILED, 255, None),
        (ended("137 it ran out of its memory"), Cause.FAILED, None, signal.SIGKILL),
        (ended(9, kind="killed"), Cause.FAILED, None, signal.SIGKILL),
        (ended("fairway-task: 1: x: not found", kind="unrun"), Cause.START_FAILED, None, None),
        (ended("workdir", kind="unrun"), Cause.START_FAILED, None, None),
        (ended("no such program", kind="refused"), Cause.START_FAILED, None, None),
        (ended("the machine was restarted", kind="lost"), Cause.NODE_LOST, None, None),
        (ended("", kind="stopped"), Cause.NODE_LOST, None, None),
        (None, Cause.NODE_LOST, None, None),
    ],
)
def test_one_task(end: Exit | None, cause: Cause, exit_code: int | None, number: int | None) -> None:
    found = task_outcome(TaskSpec(0, "main"), end, many=False)
    assert (found.cause, found.exit_code, found.signal) == (cause, exit_code, number)
    assert found.message or cause is Cause.SUCCEEDED


def test_messages_name_the_signal_the_task_and_the_reason() -> None:
    assert outcome(ended(139)).message == "the program was ended by SIGSEGV"
    assert outcome(ended(0), ended(3)).message == "task 1 (r1) exited with status 3"
    assert "memory" in outcome(ended("137 it ran out of its memory")).message
    assert outcome(ended("no program 'x' on its PATH", kind="refused")).message == "no program 'x' on its PATH"


def test_all_must_succeed() -> None:
    assert outcome(ended(0), ended(0)).cause is Cause.SUCCEEDED
    assert outcome(ended(0), ended(1)).cause is Cause.FAILED
    assert outcome(ended(0), None, order=ASKED).cause is Cause.NODE_LOST


def test_the_first_failure_speaks_for_the_gang() -> None:
    assert outcome(ended(2, at=7), ended(3, at=5), ended(0, at=1)).exit_code == 3
    assert outcome(ended(2, at=5), ended(3, at=5)).exit_code == 2, "of two at once, the lower rank"


def test_the_failure_that_stopped_the_rest_goes_first_even_when_clocks_disagree() -> None:
    order = StopOrder(Instant(9), failed=1)
    assert outcome(ended(143, at=5), ended(3, at=5), order=order).exit_code == 3


def test_on_a_stop_a_task_that_yields_speaks_for_those_that_missed_it() -> None:
    found = outcome(ended(1, at=1), ended(75, at=2), order=ASKED)
    assert found.exit_code == 75
    assert outcome(ended(1, at=1), ended(143, at=2), order=ASKED).signal == signal.SIGTERM
    assert outcome(ended(1, at=1), ended(75, at=2)).exit_code == 1, "nobody asked it to"


def test_never_started_only_counts_when_there_is_nothing_else() -> None:
    assert outcome(ended("", kind="stopped"), ended(143), order=ASKED).signal == signal.SIGTERM
    assert outcome(None, None, order=ASKED).cause is Cause.NODE_LOST
    assert outcome(order=ASKED).cause is Cause.NODE_LOST


@given(st.lists(ENDS, min_size=1, max_size=4), ORDERS)
def test_success_is_all_zeros_and_nothing_else(ends: list[Exit], order: StopOrder | None) -> None:
    found = outcome(*ends, order=order)
    assert (found.cause is Cause.SUCCEEDED) == all(end.kind == "exited" and end.text == "0" for end in ends)
    assert (found.cause is Cause.SUCCEEDED) == (not any(failed(end) for end in ends))


@given(st.lists(st.one_of(st.none(), ENDS), min_size=1, max_size=4), ORDERS)
def test_an_outcome_is_that_of_one_of_its_tasks(ends: list[Exit | None], order: StopOrder | None) -> None:
    found = outcome(*ends, order=order)
    tasks = [task_outcome(TaskSpec(r, f"r{r}"), end, many=len(ends) > 1) for r, end in enumerate(ends)]
    assert (found.cause, found.exit_code, found.signal) in {(t.cause, t.exit_code, t.signal) for t in tasks}
    assert found.message or found.cause is Cause.SUCCEEDED
