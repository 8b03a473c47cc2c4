"""Which nodes have live work of which array, service or label: what jobs that keep apart from it look at.

Derived from placements and holds; ``apply`` counts work in and out. ``None`` as a label's value stands for any.
"""

from collections.abc import Iterable, Iterator

from fairway.model.job import Job
from fairway.model.where import Apart

Tag = tuple[str, str, str | None]
"""(``label``, ``array`` or ``service``; the label's key or the name; the label's value)."""


def tags_of(job: Job) -> Iterator[Tag]:
    """What others may keep apart from a job by."""
    if job.array is not None:
        yield "array", job.array.array, None
    if job.service is not None:
        yield "service", job.service, None
    for key, value in job.labels:
        yield "label", key, value
        yield "label", key, None


def known_by(job: Job) -> bool:
    """Whether there is anything that others could keep apart from a job by."""
    return job.array is not None or job.service is not None or bool(job.labels)


def tag_of(apart: Apart) -> Tag:
    """What a job keeps apart from."""
    return apart.of, apart.key, apart.value or None


class Company:
    """Tasks on each node by tag."""

    def __init__(self) -> None:
        self.tasks: dict[Tag, dict[int, int]] = {}

    def join(self, job: Job, rows: Iterable[int], sign: int = 1) -> None:
        """Tasks of a job have come to these nodes, one row per task; ``sign=-1``: they have left."""
        if not known_by(job):
            return
        tags = tuple(tags_of(job))
        for row in rows:
            for tag in tags:
                here = self.tasks.setdefault(tag, {})
                left = here.get(row, 0) + sign
                if left:
                    here[row] = left
                else:
                    del here[row]
        for tag in tags:
            if not self.tasks.get(tag, True):
                del self.tasks[tag]

    def rows(self, apart: Apart) -> Iterable[int]:
        """Nodes with a task that one who asks for ``apart`` keeps away from."""
        return self.tasks.get(tag_of(apart), {})
