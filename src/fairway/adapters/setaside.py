"""Submissions that cannot be believed: found one by one, so that only they are set aside and the rest goes on.

What a face puts into the durable inbox was validated, so nothing in it should make ``apply`` or a decision raise.
Where it does all the same, it is a fault of Fairway's own; and as the row is taken again by every next leader, the
fault would stop each of them in turn, and all work with it. So the leader lets go of its state, recovers it from the
journal, tries the inbox's rows on a copy, and moves those that raise into the store's table ``quarantine``, with what
they raised.
"""

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fairway.adapters.live_journal import Row
from fairway.decide.pipeline import decide
from fairway.model.facts import Fact, Facts, JobSubmitted, QueueSet, ServiceSet
from fairway.model.ids import JobId
from fairway.model.plan import Plan
from fairway.model.time import Instant
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.codec import dump, load
from fairway.state.frames import decode
from fairway.state.snapshot import snapshot


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row of the inbox: its number, the jobs it would have submitted, and in a sentence what it is and raised."""

    seq: int
    jobs: tuple[JobId, ...]
    why: str


def unbelievable(state: ClusterState, rows: Sequence[Row], now: Instant) -> Iterator[SetAside]:
    """The rows that raise when they are believed, in order and after one another, or when something is decided then.
    ``state`` is left as it is. Raises whatever is raised without any of them: then it is not the inbox."""
    kept = dump(state)
    _try(load(kept), (), now)
    copy, good = load(kept), list[Fact]()
    for row in rows:
        items = decode(row.body).items
        try:
            _try(copy, items, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the row is what causes it
            jobs = tuple(item.job.id for item in items if isinstance(item, JobSubmitted))
            yield SetAside(row.seq, jobs, f"{_named(items)}: {_where(error)}")
            copy = load(kept)
            _try(copy, good, now)
        else:
            good += items


def _try(state: ClusterState, items: Sequence[Fact], now: Instant) -> Plan:
    apply(state, Facts(now, tuple(items)))
    return decide(snapshot(state), state.policy)


def _named(items: Sequence[Fact]) -> str:
    """What a row holds."""
    names: list[str] = []
    for item in items:
        match item:
            case JobSubmitted(job):
                names.append(f"job {job.id}")
            case QueueSet(queue):
                names.append(f"queue {queue.id}")
            case ServiceSet(service):
                names.append(f"service {service.id}")
            case _:
                names.append(type(item).__name__)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _where(error: Exception) -> str:
    """The error, and the line of code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{at}"
