"""Jobs that were over as soon as they had begun: how many a queue had lately.

A start costs the scheduler, the executor and the node about the same whether the job then runs for a second or for a
day, and use by time shows nothing of it. So it is counted, with a count that halves every ``half_life``: exact whenever
it is read, and written only when a job ends. All counts fade alike, so the largest of them is known at no cost, and
whoever decides looks no further while that is allowed.
"""

from collections.abc import Sequence

from fairway.model.ids import QueueId
from fairway.model.policy import Swarm
from fairway.model.time import Duration, Instant
from fairway.state.tables import QueueTable

Saved = tuple[QueueId, float, int]
"""A queue, its count, and as of when."""


Count = tuple[float, int]
"""A count, and as of when."""


def faded(count: Count, now: int, half_life: Duration) -> float:
    """What is left of a count."""
    return count[0] * 2.0 ** ((count[1] - now) / half_life)


class ShortEnds:
    """Counts by queue row; a job counts for its very queue. Only ``apply`` writes them."""

    def __init__(self) -> None:
        self.counts: dict[int, Count] = {}
        """Of each queue that ever had one."""
        self.most: Count = (0.0, 0)
        """Derived: the largest of them."""

    def count_at(self, row: int, now: int, half_life: Duration) -> float:
        """The count of a very queue."""
        return faded(self.counts.get(row, (0.0, now)), now, half_life)

    def add(self, row: int, now: int, half_life: Duration) -> None:
        """A job of a queue was over in no time."""
        count = self.count_at(row, now, half_life) + 1.0
        self.counts[row] = count, now
        if count >= faded(self.most, now, half_life):
            self.most = count, now

    def settle(self, now: Instant, half_life: Duration) -> None:
        """Bring all counts up to ``now``: from here on they may fade in another time."""
        for row, count in self.counts.items():
            self.counts[row] = faded(count, now, half_life), now
        self.most = max(self.counts.values(), default=(0.0, 0))

    def any_beyond(self, now: int, rules: Swarm) -> bool:
        """Whether a queue has more than is allowed."""
        return self.most[0] > rules.allowed and faded(self.most, now, rules.half_life) > rules.allowed

    def beyond(self, queues: QueueTable, now: int, rules: Swarm) -> dict[int, list[float]]:
        """The counts that are not allowed, by the rows of the queues whose weight they lower: the very queue and those
        above it, but the root, which has no siblings. Empty, and no work, where all are allowed."""
        found: dict[int, list[float]] = {}
        if not self.any_beyond(now, rules):
            return found
        for row, count in self.counts.items():
            left = faded(count, now, rules.half_life)
            if left > rules.allowed:
                for above in queues.above[row][:-1] or [row]:
                    found.setdefault(above, []).append(left)
        return found

    def saved(self, queues: QueueTable) -> tuple[Saved, ...]:
        """What a checkpoint keeps."""
        return tuple((queues.id_of(row), count, at) for row, (count, at) in self.counts.items())

    def restore(self, queues: QueueTable, saved: Sequence[Saved], now: Instant, half_life: Duration) -> None:
        """Take over what a checkpoint kept."""
        self.counts = {queues.row_of[name]: (count, at) for name, count, at in saved}
        self.most = max(self.counts.values(), key=lambda count: faded(count, now, half_life), default=(0.0, 0))

    def problems(self, queues: QueueTable, now: Instant, half_life: Duration) -> list[str]:
        """Counts that cannot be, as sentences."""
        wrong = [
            f"queue {queues.id_of(row)}: {count} short jobs as of {at}"
            for row, (count, at) in self.counts.items()
            if not 0 <= count < float("inf") or at > now
        ]
        largest = max((faded(count, now, half_life) for count in self.counts.values()), default=0.0)
        most = faded(self.most, now, half_life)
        if abs(most - largest) > 1e-6 * (1 + largest):
            wrong.append(f"queues: {most} short jobs at most but recomputed {largest}")
        return wrong
