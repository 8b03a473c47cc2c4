"""What programs do: how long they run, how they end, and what they make of a SIGTERM."""

from collections.abc import Callable
from typing import Literal

from fairway.model.frozen import frozen
from fairway.model.job import Job

SIGTERM = 15
SIGKILL = 9
YIELDED = 75
"""Exit status of a program that stopped because it was asked to (EX_TEMPFAIL)."""


@frozen
class Program:
    """A program that ends by itself after ``runs`` milliseconds (None: never) with ``exit_code``.

    On SIGTERM it dies, goes on until it is killed, or exits with ``YIELDED``.
    """

    runs: int | None
    exit_code: int = 0
    on_stop: Literal["dies", "ignores", "yields"] = "dies"


Programs = Callable[[Job, int | None], tuple[Program, ...]]
"""The programs of an attempt's tasks by rank, given how many milliseconds of it the job's work and pace make.

One program may stand for all tasks of a gang when they all do the same.
"""


def plain(job: Job, runs: int | None) -> tuple[Program, ...]:
    """Every task runs as long as its work takes and succeeds, as the jobs of a trace do."""
    return (Program(runs),)
