"""What will happen, and when: a heap of (time, rank, sequence) in virtual time."""

import heapq
from collections.abc import Callable
from typing import Any

from fairway.model.time import Instant

_Entry = tuple[int, int, int, Callable[[Any], None], Any]


class Agenda:
    """Happenings in order of time; at one instant by rank, then in the order in which they were put here.

    ``now`` is the true time of the simulated world: it moves only in ``advance``.
    """

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[_Entry] = []
        self._sequence = 0
        self._chores = 0

    def put(self, at: int, act: Callable[[Any], None], what: Any = None, rank: int = 0) -> None:
        """Call ``act(what)`` at ``at``, or at once if that is past."""
        self._sequence += 1
        heapq.heappush(self._heap, (at if at > self.now else self.now, rank, self._sequence, act, what))

    def put_chore(self, at: int, act: Callable[[Any], None], what: Any = None) -> None:
        """The same for what only follows along: when nothing but chores is left, the world is at rest."""
        self._chores += 1
        self.put(at, self._chore, (act, what))

    @property
    def next(self) -> Instant | None:
        """When the next thing happens; None when nothing will."""
        return Instant(self._heap[0][0]) if self._heap else None

    @property
    def at_rest(self) -> bool:
        """Whether nothing but chores is left."""
        return len(self._heap) == self._chores

    def advance(self, until: int) -> None:
        """Let everything up to ``until`` happen, what it brings about included; then it is ``until``."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            at, _, _, act, what = heapq.heappop(heap)
            self.now = at
            act(what)
        self.now = max(self.now, until)

    def _chore(self, what: tuple[Callable[[Any], None], Any]) -> None:
        self._chores -= 1
        what[0](what[1])


class Clock:
    """The time a machine shows: the agenda's, less what its clock was stepped back. ``read`` never steps back."""

    def __init__(self, agenda: Agenda) -> None:
        self.offset = 0
        self._agenda = agenda
        self._shown = 0

    def read(self) -> Instant:
        """The time, held where it was while a clock that was stepped back catches up."""
        now = self._agenda.now + self.offset
        if now > self._shown:
            self._shown = now
        return Instant(self._shown)

    def when(self, shown: int) -> int:
        """The true time at which the clock will show ``shown``, if it is left alone."""
        return shown - self.offset
