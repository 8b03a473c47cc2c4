"""How often something has happened in the last hour, counted by the minute."""

from fairway.model.time import HOUR, MINUTE, Instant


class Window:
    """Counts per minute of at most an hour: a budget that fills again minute by minute."""

    def __init__(self) -> None:
        self.minutes: dict[int, int] = {}
        """Minute since the epoch -> how often; ascending."""

    def add(self, now: int, times: int = 1) -> None:
        """It has happened; what is older than an hour is forgotten."""
        minute = now // MINUTE
        self.minutes[minute] = self.minutes.get(minute, 0) + times
        while (first := next(iter(self.minutes))) <= minute - HOUR // MINUTE:
            del self.minutes[first]

    def count(self, now: int) -> int:
        """How often in the last hour."""
        if not self.minutes:
            return 0
        since = now // MINUTE - HOUR // MINUTE
        return sum(times for minute, times in self.minutes.items() if minute > since)

    def frees_at(self, now: int) -> Instant | None:
        """When the oldest of what still counts is forgotten; None when nothing counts."""
        since = now // MINUTE - HOUR // MINUTE
        oldest = next((minute for minute in self.minutes if minute > since), None)
        return None if oldest is None else Instant(oldest * MINUTE + HOUR)
