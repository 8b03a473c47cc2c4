"""A journal in memory: for simulation and tests. It keeps its promises as a file does, and dies as one does not.

The ``Disk`` outlives the process that is simulated: ``crashed()`` gives the journal that a new leader finds, with every
committed frame and nothing else; the old one is fenced from then on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fairway.model.errors import CorruptJournal, InvalidField, StaleEpoch, StoreFull
from fairway.model.facts import Facts
from fairway.state.frames import decode, encode

KEPT_CHECKPOINTS = 2


@dataclass(slots=True)
class Disk:
    """What is durable: frame k at index k-1, as bytes or as they are. ``full`` makes every commit fail."""

    frames: list[Facts | bytes] = field(default_factory=list[Facts | bytes])
    checkpoints: dict[int, bytes] = field(default_factory=dict[int, bytes])
    epoch: int = 0
    full: bool = False


class MemoryJournal:
    """Leads the journal on ``disk``, which fences every earlier leader. ``epoch`` counts them.

    With ``encoded`` frames are kept as the bytes a file would hold, so that replaying them tests the codec too.
    """

    def __init__(self, disk: Disk | None = None, *, encoded: bool = False) -> None:
        self.disk = disk or Disk()
        self.disk.epoch += 1
        self.epoch = self.disk.epoch
        self._encoded = encoded
        self._pending: list[Facts | bytes] = []

    def append(self, facts: Facts) -> int:
        """The frame's sequence number, counted from 1."""
        self._pending.append(encode(facts) if self._encoded else facts)
        return self.last

    @property
    def last(self) -> int:
        """The sequence number of the newest frame, appended or committed."""
        return len(self.disk.frames) + len(self._pending)

    def commit(self) -> None:
        """Make everything appended survive ``crashed``. Raises StaleEpoch, StoreFull: then it is dropped."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        self._may_write()
        self.disk.frames += pending

    def tail(self, after: int) -> Iterator[tuple[int, Facts]]:
        """Committed frames with a sequence number above ``after``, in order."""
        seq = after
        while seq < len(self.disk.frames):
            frame = self.disk.frames[seq]
            seq += 1
            yield seq, _decode(seq, frame) if isinstance(frame, bytes) else frame

    def checkpoint(self, seq: int, state: bytes) -> None:
        """Keep ``state`` as what the frames up to ``seq`` add up to, and the one before it."""
        if not 0 <= seq <= len(self.disk.frames):
            text = f"frame {seq} is not committed, so it has no checkpoint; the last is {len(self.disk.frames)}"
            raise InvalidField("seq", text)
        self._may_write()
        self.disk.checkpoints[seq] = state
        for old in sorted(self.disk.checkpoints)[:-KEPT_CHECKPOINTS]:
            del self.disk.checkpoints[old]

    def newest_checkpoint(self, at_most: int | None = None) -> tuple[int, bytes] | None:
        """(Sequence number, state) of the newest checkpoint, not above frame ``at_most``."""
        found = self.disk.checkpoints.items()
        return max((kept for kept in found if at_most is None or kept[0] <= at_most), default=None)

    def crashed(self) -> "MemoryJournal":
        """What a new leader finds after this one was killed at this very moment."""
        return MemoryJournal(self.disk, encoded=self._encoded)

    def _may_write(self) -> None:
        if self.epoch != self.disk.epoch:
            text = f"a newer leader holds the journal since epoch {self.disk.epoch}; this one ({self.epoch}) must stop"
            raise StaleEpoch(text)
        if self.disk.full:
            raise StoreFull("no space left in memory; set Disk.full to False")


def _decode(seq: int, frame: bytes) -> Facts:
    try:
        return decode(frame)
    except CorruptJournal as error:
        raise CorruptJournal(error.message, f"frame {seq}") from None
