"""What queues keep for themselves of the quota that they do not use: a limit for everybody else, on one trial.

A queue may *lend* so much of its guaranteed quota while it is idle, and *keeps* the rest. Nobody else may start in what
is kept, so that it is empty when its owner comes. Sums are in ``SUMS`` order.

The *claim* of a queue is what it may still come to use by right: all that is used and claimed below it, and at the
least what it keeps. What all claim together never exceeds what there is, unless nodes were lost or more was promised
than there is; then a start is refused unless it is of somebody who only takes what is kept for itself.
"""

from fairway.state.columns import Ints
from fairway.state.tables import SUMS, NodeTable, QueueTable

ROOT_ROW = 0
"""Of the queue above all others."""


class Lending:
    """``keep`` (Q, 3) is what each queue keeps; ``inner`` (Q, 3) what is used and claimed by it, and by those below it;
    ``total`` (3,) what there is: free on nodes that take work, or used anywhere."""

    def __init__(self, nodes: NodeTable, queues: QueueTable, used: Ints) -> None:
        height, up = queues.height, nodes.placeable[: nodes.height]
        self._above, self._used = queues.above, used
        self.keep: Ints = queues.keep[:height]
        self.total: Ints = used[ROOT_ROW].copy()
        self.total[:2] += nodes.free[: nodes.height, :2][up].sum(axis=0)
        self.total[2] += nodes.gpu_free[: nodes.height][up].sum()
        self.inner: Ints = used.copy()
        # Whoever is below has a higher row, so its claim is settled by then.
        for row in sorted({above for keeper in queues.keepers for above in queues.above[keeper]}, reverse=True):
            if row != ROOT_ROW:
                extra = self.claim(row) - used[row]
                self.inner[queues.above[row][1]] += extra

    def claim(self, row: int) -> Ints:
        """(3,) what a queue may come to use by right."""
        return self.inner[row].clip(self.keep[row])

    def charge(self, queue: int, sums: Ints) -> None:
        """Count use against a queue and all above it; negative sums give it back."""
        change = sums
        for row in self._above[queue]:
            before = self.claim(row)
            self.inner[row] += change
            change = self.claim(row) - before

    def open(self, queue: int) -> Ints:
        """(3,) what the jobs of a queue may take, what is kept for itself included."""
        found = (self.total - self.claim(ROOT_ROW)).clip(0)
        for row in self._above[queue]:
            found += self.claim(row) - self.inner[row]
        return found

    def kept(self) -> Ints:
        """(3,) what is kept for owners, and not used."""
        return self.claim(ROOT_ROW) - self._used[ROOT_ROW]

    def short(self, queue: int, sums: tuple[int, ...]) -> int | None:
        """The first resource of which a queue may not take ``sums`` more, as others keep it; None for none."""
        kept = self.kept().tolist()
        if not any(kept):
            return None
        # Plain numbers: this is asked for every job in line.
        left = list(sums)
        for row in self._above[queue]:
            keeps, inner = self.keep[row].tolist(), self.inner[row].tolist()
            left = [max(keep, has + more) - max(keep, has) for keep, has, more in zip(keeps, inner, left, strict=True)]
        claimed, total = self.claim(ROOT_ROW).tolist(), self.total.tolist()
        for column in range(len(SUMS)):
            if left[column] > 0 and kept[column] > 0 and claimed[column] + left[column] > total[column]:
                return column
        return None

    def owner(self, column: int) -> int:
        """The queue that keeps most of a resource without using it."""
        return int((self.inner[:, column].clip(self.keep[:, column]) - self.inner[:, column]).argmax())
