"""What a queue has spent in a rolling window: GPU time, in parts of the window so that what is old can leave it."""

from fairway.model.queue import RollingQuota
from fairway.model.time import Instant

PARTS = 128
"""A part leaves the window as a whole, so what is spent is too high by at most its share of the window."""


class Spending:
    """Milli-GPU milliseconds by part of the window; what runs now is added by the caller as it goes on."""

    def __init__(self, quota: RollingQuota, parts: dict[int, int] | None = None) -> None:
        self.quota = quota
        self.parts: dict[int, int] = {} if parts is None else parts
        """Instant at which a part begins -> what was spent in it; ascending."""

    @property
    def width(self) -> int:
        """Milliseconds of a part."""
        return max(self.quota.period // PARTS, 1)

    def add(self, milli: int, since: int, until: int) -> None:
        """``milli`` GPUs were used from ``since`` until ``until``."""
        width, horizon = self.width, until - self.quota.period
        since = max(since, horizon)
        while milli and since < until:
            begins = since - since % width
            ends = min(begins + width, until)
            self.parts[begins] = self.parts.get(begins, 0) + milli * (ends - since)
            since = ends
        while self.parts and (first := next(iter(self.parts))) + width <= horizon:
            del self.parts[first]

    def spent(self, milli: int, since: int, now: int) -> int:
        """What was spent in the window that ends ``now``, when ``milli`` GPUs have been used ``since``."""
        horizon = now - self.quota.period
        kept = sum(part for begins, part in self.parts.items() if begins + self.width > horizon)
        return kept + milli * (now - max(since, horizon))

    def frees_at(self, milli: int, since: int, now: int) -> Instant:
        """The earliest instant at which less than the most is spent, if nothing more is from ``now`` on."""
        left, at = self.spent(milli, since, now), now
        for begins, part in self.parts.items():
            if left < self.quota.most:
                return Instant(at)
            if begins + self.width > now - self.quota.period:
                left, at = left - part, begins + self.width + self.quota.period
        return Instant(at if left < self.quota.most else now + self.quota.period)
