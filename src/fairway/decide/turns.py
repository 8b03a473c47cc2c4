"""The tournament of ``kernels_share``, played plainly: the rule, and what small lines are walked by.

The columns are those of ``share.turns``. Every active queue has a heap over the members below it; a member whose key
has changed is pushed again, and what lies in a heap under an old key is dropped when it comes up.
"""

import heapq

from fairway.decide.marks import BORROWED, FINE, FOLLOWING, NOBODY
from fairway.decide.quota import covered
from fairway.decide.share import Columns

Key = tuple[int, int, int, int]
"""(tier, share in billionths, order of the job, entrant)."""


class Turns:
    """Whose turn it is. Entrants are numbers; places are those of the jobs in the columns."""

    def __init__(self, columns: Columns) -> None:
        self._line, self._tree, self._quotas, self._heads, _ = columns
        self._parent: list[int] = self._tree[0].tolist()
        self._active = len(self._tree[2]) - 1
        self._keys: list[Key] = [(NOBODY, 0, 0, 0)] * len(self._parent)
        self._below: list[list[tuple[Key, int]]] = [[] for _ in range(self._active)]
        for member in range(len(self._parent) - 1, 0, -1):
            self._keys[member] = self._key(member)
            heapq.heappush(self._below[self._parent[member]], (self._keys[member], member))

    def next(self) -> int | None:
        """The entrant whose turn it is; None when nobody has a job left."""
        while True:
            tier, _, _, entrant = self._winner(0)
            if tier == NOBODY:
                return None
            place = self.head(entrant)
            if tier & BORROWED or (place is not None and self._covered(entrant, place)):
                return entrant
            self.refresh(entrant)

    def head(self, entrant: int) -> int | None:
        """The place of an entrant's next job; None when it has none."""
        place = int(self._heads[0][entrant])
        return place if place < self._line[1][entrant] else None

    def take(self, entrant: int) -> None:
        """The entrant's next job has had its turn."""
        self._heads[0][entrant] += 1

    def refresh(self, entrant: int) -> None:
        """Take over what came of an entrant's last job: what its queue uses by now, and its next job."""
        used, uses, rows = self._quotas[1], self._heads[1], self._tree[3]
        member = self._active + entrant
        above = self._parent[member]
        uses[member] += used[rows[above]] - uses[above]
        while member:
            key = self._key(member)
            if key != self._keys[member]:
                self._keys[member] = key
                heapq.heappush(self._below[above], (key, member))
            member = above
            uses[member] = used[rows[member]]
            above = self._parent[member]

    def _winner(self, queue: int) -> Key:
        """The key of the member below a queue whose job is first."""
        heap = self._below[queue]
        while self._keys[heap[0][1]] != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0]

    def _key(self, member: int) -> Key:
        if member < self._active:
            tier, _, order, entrant = self._winner(member)
            return tier, self._share(member), order, entrant
        entrant = member - self._active
        place = self.head(entrant)
        if place is None:
            return NOBODY, 0, 0, entrant
        cls = int(self._line[4][place])
        tier = cls + (0 if self._covered(entrant, place) else BORROWED) + (FOLLOWING if cls else 0)
        return tier, self._share(member), int(self._line[5][place]), entrant

    def _share(self, member: int) -> int:
        _, uses, past, worth = self._heads
        most = max(((uses[member] + past[member]) * worth[member]).tolist())
        return int(min(max(most, 0.0), 1e9) * FINE + 0.5)

    def _covered(self, entrant: int, place: int) -> bool:
        queue_of, _, shape, sums, _, _ = self._line
        return covered(int(queue_of[entrant]), tuple(sums[shape[place]].tolist()), self._quotas)


class Alone:
    """The same where all jobs are of one queue: they take their turns as they stand."""

    def __init__(self, jobs: int) -> None:
        self._jobs, self._at = jobs, 0

    def next(self) -> int | None:
        """The only entrant; None when it has no job left."""
        return 0 if self._at < self._jobs else None

    def head(self, entrant: int) -> int | None:
        """The place of its next job; None when it has none."""
        return self._at if self._at < self._jobs else None

    def take(self, entrant: int) -> None:
        """Its next job has had its turn."""
        self._at += 1

    def refresh(self, entrant: int) -> None:
        """Nobody else is to be compared with."""
