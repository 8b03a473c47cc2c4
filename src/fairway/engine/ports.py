"""What the engine needs of the world. ``sim`` and ``adapters`` meet it; nothing here knows them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from fairway.engine.commands import Command, ForgetAttempt, StartAttempt, StopAttempt
from fairway.model.facts import Fact, Facts, Inventory
from fairway.model.plan import Plan
from fairway.state.cluster import ClusterState


class World(Protocol):
    """Live, shadow or simulated."""

    def facts(self) -> Iterator[Facts]:
        """Batches of facts with non-decreasing ``now``, until the world is over. The only place that waits."""
        ...

    def accept(self, plan: Plan) -> Plan:
        """The plan to commit: the same, or in a shadow world the empty one."""
        ...

    def send(self, commands: Sequence[Command]) -> None:
        """Hand over commands; returns at once. Some may be lost: they are sent again."""
        ...


class Executor(Protocol):
    """Runs attempts somewhere. Calls are idempotent, come from one asyncio loop, and report through ``emit``.

    After ``start`` exactly one ``AttemptEnded`` describes each attempt (it may be repeated, with the same outcome), and
    inventories contain it until ``forget``. ``seq`` of its facts grows, over restarts too.
    """

    name: str

    async def open(self, emit: Callable[[Fact], None], epoch: int) -> None:
        """Begin: adopt what still runs from before. ``emit`` may be called from this asyncio loop only."""
        ...

    async def start(self, command: StartAttempt) -> None: ...
    async def stop(self, command: StopAttempt) -> None: ...
    async def forget(self, command: ForgetAttempt) -> None: ...

    async def inventory(self) -> Inventory:
        """Everything there is, complete as of its ``seq``."""
        ...

    async def close(self) -> None:
        """End without stopping any attempt."""
        ...


class Journal(Protocol):
    """The durable truth: an ordered list of frames (batches of facts), and checkpoints of the state they add up to.

    ``append`` only collects; ``commit`` makes everything appended durable in one step. Raises StaleEpoch when a newer
    leader holds the store, StoreFull when it cannot be written; then nothing appended since the last commit is kept.
    """

    def append(self, facts: Facts) -> int:
        """The frame's sequence number, counted from 1."""
        ...

    def commit(self) -> None: ...

    def tail(self, after: int) -> Iterable[tuple[int, Facts]]:
        """Committed frames with a sequence number above ``after``, in order. Raises CorruptJournal, NewerFormat."""
        ...

    def checkpoint(self, seq: int, state: bytes) -> None:
        """Keep ``state`` as what the frames up to ``seq`` add up to. Durable on return."""
        ...

    def newest_checkpoint(self) -> tuple[int, bytes] | None: ...


class View(Protocol):
    """Something derived from the state for faces: the published read model, the relational projection."""

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        """Take over what ``state.news`` says has changed by frame ``seq``. Idempotent; skips what it has."""
        ...
