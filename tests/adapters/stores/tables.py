"""A store and its tables, written by the real loop on an unruly world."""

from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from fairway.adapters.stores import views
from fairway.adapters.stores.catchup import recover_with
from fairway.adapters.stores.projection import Projection
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.engine.loop import Loop
from fairway.engine.readmodel import ReadModel
from fairway.model.facts import Facts
from fairway.model.policy import Policy
from fairway.model.time import Instant
from fairway.state.cluster import ClusterState
from tests.adapters.stores.places import raw
from tests.engine.small_world import Unruly


class Place:
    """A store and its tables."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "fairway.db"
        self.tables = folder / "views.db"

    def content(self) -> dict[str, list[Any]]:
        """Everything in the tables."""
        with closing(raw(self.tables)) as connection:
            found = {}
            for table in views.COLUMNS:
                columns = views.quoted(views.COLUMNS[table])
                found[table] = connection.execute(f"SELECT {columns} FROM {table} ORDER BY {columns}").fetchall()
        return found


def live(place: Place, seed: int, rounds: int = 60, checkpoint_every: int = 25) -> tuple[ClusterState, ReadModel]:
    """A run of an unruly world over the store at ``place``, on top of what is there."""
    readmodel = ReadModel()
    with SqliteStore.open(place.journal) as store, Projection(place.tables) as projection:
        state, seq = recover_with(store, projection, [readmodel])
        world = Unruly(random=Random(seed), rounds=rounds, now=max(state.now, 1_000), seq=seed * 100_000)
        loop = Loop(state, world, store, Policy(), [readmodel, projection], seq, checkpoint_every=checkpoint_every)
        loop.turn(Facts(Instant(world.now), (world.inventory(),)))
        for facts in world.facts():
            loop.turn(facts)
        projection.flush()
        assert projection.seq == loop.seq
    return state, readmodel


def anew(place: Place, folder: Path) -> dict[str, list[Any]]:
    """The tables made from the journal alone, frame by frame."""
    other = Place(folder)
    with SqliteStore.open(place.journal) as store, Projection(other.tables) as projection:
        recover_with(store, projection)
    return other.content()
