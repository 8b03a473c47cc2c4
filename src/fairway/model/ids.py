"""Names of things. Every id is a plain string, so that a journal can be read by a person.

A job's id is its name and the sequence number of its submission (``train-17``); an array's element adds its index
(``sweep-18.3``). An attempt is one run of a job, numbered from 1 and never reused.
"""

import re
from typing import NamedTuple, NewType

JobId = NewType("JobId", str)
NodeId = NewType("NodeId", str)
QueueId = NewType("QueueId", str)
ServiceId = NewType("ServiceId", str)
PoolId = NewType("PoolId", str)
LoanId = NewType("LoanId", str)
ExecutorId = NewType("ExecutorId", str)
BookingId = NewType("BookingId", str)

NAME_PATTERN = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
"""What a user may call a job, service or pool: fit for a file name, a DNS label and a Kubernetes object."""

QUEUE_PATTERN = re.compile(rf"{NAME_PATTERN.pattern}(/{NAME_PATTERN.pattern}){{0,15}}")
"""A queue's path in the tenant tree: ``organisation/team/project``, at most 16 deep."""

ROOT = QueueId("")
"""The queue above every queue. It has no quota of its own and always exists."""


class AttemptId(NamedTuple):
    """One run of a job: ``(job, n)``, n counted from 1. The fence for every start and stop."""

    job: JobId
    n: int

    def __str__(self) -> str:
        return f"{self.job}@{self.n}"


def parent_of(queue: QueueId) -> QueueId:
    """The queue one step up the path; ``ROOT`` for a top-level queue."""
    return QueueId(queue.rpartition("/")[0])


def ancestry(queue: QueueId) -> tuple[QueueId, ...]:
    """``queue`` and everything above it, nearest first, ``ROOT`` last."""
    chain = [queue]
    while chain[-1] != ROOT:
        chain.append(parent_of(chain[-1]))
    return tuple(chain)
