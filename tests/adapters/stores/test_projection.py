"""The relational tables say what the state said, whenever the process dies and however often they are made anew."""

import logging
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from fairway.adapters.stores.catchup import recover_with
from fairway.adapters.stores.projection import Projection
from fairway.adapters.stores.queries import Queries, sum_usage
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.engine.loop import Loop
from fairway.model.errors import CorruptJournal, StoreError, StoreFull
from fairway.model.ids import JobId
from fairway.model.job import Priority
from fairway.model.phases import JobPhase
from fairway.model.policy import Policy
from fairway.model.reasons import Yielding
from fairway.state.cluster import ClusterState, Decision
from tests.adapters.stores.places import raw, spoil
from tests.adapters.stores.tables import Place, anew, live
from tests.engine.small_world import Unruly


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# -- the tables are what the state was ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(1, 9))
def test_tables_made_anew_from_the_journal_equal_those_written_live(place: Place, tmp_path: Path, seed: int) -> None:
    live(place, seed)
    content = place.content()
    assert len(content["jobs"]) > 10
    assert len(content["attempts"]) > 5
    assert len(content["decisions"]) > 10
    assert content["usage"]
    assert anew(place, tmp_path / "anew") == content


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_job_is_there_as_the_read_model_shows_it(place: Place, seed: int) -> None:
    state, readmodel = live(place, seed)
    with Queries(place.tables) as queries:
        assert {status.id for status in queries.jobs(limit=10_000)} == {status.id for status in readmodel.jobs()}
        for shown in readmodel.jobs():
            status = queries.job(shown.id)
            assert status is not None
            if shown.phase is JobPhase.QUEUED and not status.reason:
                shown = replace(shown, reason="", tier="", as_of=status.as_of)  # shared with all that are equal to it
            assert status == shown
    assert set(state.jobs.row_of) | set(state.ended) == {status.id for status in readmodel.jobs()}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_usage_adds_up_to_what_the_queues_have_spent(place: Place, seed: int) -> None:
    state, _ = live(place, seed)
    with Queries(place.tables) as queries:
        sums = sum_usage(queries.usage())
    assert sums
    for queue, row in sums.items():
        spent = state.queues.spent[state.queues.row_of[queue]].tolist()
        assert [row.cpu_milli_ms, row.memory_mib_ms, row.gpu_milli_ms] == spent


# -- whenever the process dies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(1, 6))
def test_nothing_is_missing_or_doubled_after_a_crash_that_lost_the_newest_rows(
    place: Place, tmp_path: Path, seed: int
) -> None:
    """The tables fall back to an earlier moment, even to one before the newest checkpoint; then the process starts."""
    live(place, seed, rounds=20, checkpoint_every=10)
    shutil.copy(place.tables, tmp_path / "earlier.db")
    live(place, seed + 50, rounds=20, checkpoint_every=10)
    content = place.content()
    for left in tmp_path.glob("views.db*"):
        left.unlink()
    shutil.copy(tmp_path / "earlier.db", place.tables)
    with SqliteStore.open(place.journal) as store, Projection(place.tables) as projection:
        newest = store.newest_checkpoint()
        assert newest is not None
        assert 0 < projection.seq < newest[0] <= store.last
        recovered = recover_with(store, projection)
        assert recovered.seq == store.last == projection.seq
    assert place.content() == content


def test_a_frame_that_is_there_is_not_folded_again(place: Place) -> None:
    state, _ = live(place, 1)
    content = place.content()
    with Projection(place.tables) as projection:
        state.news.decisions.append(Decision(JobId("x"), state.now, Yielding(JobId("y"), Priority())))
        for seq in (1, projection.seq):
            projection.fold(seq, state.now, state)
        projection.flush()
    assert place.content() == content


def test_tables_of_another_journal_are_made_anew(place: Place, tmp_path: Path) -> None:
    live(place, 1)
    other = Place(tmp_path / "other")
    live(other, 2)
    content = other.content()
    shutil.copy(place.tables, other.tables)
    with SqliteStore.open(other.journal) as store, Projection(other.tables) as projection:
        recover_with(store, projection)
    assert other.content() == content


def test_tables_that_know_more_than_a_repaired_journal_are_made_anew(place: Place, tmp_path: Path) -> None:
    live(place, 1, checkpoint_every=10_000)
    with SqliteStore.open(place.journal) as store:
        cut = store.last // 2
        spoil(place.journal, "frames", cut)
        assert store.quarantine_tail().cut == cut
    live(place, 2)
    assert anew(place, tmp_path / "anew") == place.content()


def test_frames_that_cannot_be_read_again_cost_history_and_no_job(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    live(place, 2)
    content = place.content()
    with SqliteStore.open(place.journal) as store:
        assert store.newest_checkpoint() is not None
    spoil(place.journal, "frames", 3)
    for left in place.tables.parent.glob("views.db*"):
        left.unlink()
    with (
        caplog.at_level(logging.WARNING, "fairway.store"),
        SqliteStore.open(place.journal) as store,
        Projection(place.tables) as projection,
    ):
        recover_with(store, projection)
    assert "cannot be read again" in caplog.text
    after = place.content()
    assert [row[:6] for row in after["jobs"]] == [row[:6] for row in content["jobs"]]
    assert 0 < len(after["decisions"]) < len(content["decisions"])
    assert set(after["decisions"]) <= set(content["decisions"])


# -- the file -------------------------------------------------------------------------------------------------------


def test_the_file_may_be_deleted_at_any_time(place: Place) -> None:
    live(place, 3)
    content = place.content()
    for left in place.tables.parent.glob("views.db*"):
        left.unlink()
    with SqliteStore.open(place.journal) as store, Projection(place.tables) as projection:
        recover_with(store, projection)
    assert place.content() == content


def test_a_damaged_file_is_made_anew(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    live(place, 3)
    content = place.content()
    data = bytearray(place.tables.read_bytes())
    data[100:200] = b"\xff" * 100
    place.tables.write_bytes(data)
    with SqliteStore.open(place.journal) as store, Projection(place.tables) as projection:
        assert "made anew" in caplog.text
        assert projection.seq == 0
        recover_with(store, projection)
    assert place.content() == content


def test_another_versions_tables_are_made_anew(place: Place) -> None:
    live(place, 3)
    content = place.content()
    with closing(raw(place.tables)) as connection:
        connection.execute("ALTER TABLE jobs ADD COLUMN mood")
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(StoreError, match="another version's tables"):
        Queries(place.tables)
    with SqliteStore.open(place.journal) as store, Projection(place.tables) as projection:
        recover_with(store, projection)
    assert place.content() == content


def test_a_file_of_another_program_is_left_alone(place: Place) -> None:
    with closing(raw(place.tables)) as connection:
        connection.execute("CREATE TABLE cookies(name)")
    before = place.tables.read_bytes()
    with pytest.raises(CorruptJournal, match="not Fairway's"):
        Projection(place.tables)
    place.tables.write_text("kind: Job")
    with pytest.raises(CorruptJournal):
        Projection(place.tables)
    assert place.tables.read_text() == "kind: Job"
    assert before


def test_a_file_that_cannot_be_written_stops_nobody_and_is_made_up_for(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SqliteStore.open(place.journal) as store, Projection(place.tables) as projection:
        world = Unruly(random=Random(4), rounds=40)
        loop = Loop(ClusterState(), world, store, Policy(), [projection])
        turns = world.facts()
        for _ in range(10):
            loop.turn(next(turns))
        projection.flush()
        projection._connection.execute("PRAGMA query_only = ON")
        for _ in range(10):
            loop.turn(next(turns))
        with pytest.raises(StoreFull, match="cannot be written"):
            projection.flush()
        assert projection.failure is not None
        projection._connection.execute("PRAGMA query_only = OFF")
        for _ in range(10):
            loop.turn(next(turns))
        projection.flush()
        assert projection.failure is None
    assert caplog.text.count("is behind") == 1
    content = place.content()
    assert anew(place, tmp_path / "anew") == content


def test_a_file_that_cannot_be_written_for_very_long_is_made_up_for_by_the_next_start(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairway.adapters.stores.projection.FAR_AHEAD", 5)
    monkeypatch.setattr("fairway.adapters.stores.projection.TOO_FAR", 20)
    with SqliteStore.open(place.journal) as store:
        with Projection(place.tables) as projection:
            loop = Loop(ClusterState(), Unruly(random=Random(4), rounds=40), store, Policy(), [projection])
            projection.flush()
            projection._connection.execute("PRAGMA query_only = ON")
            for facts in loop.world.facts():
                loop.turn(facts)
            projection._connection.execute("PRAGMA query_only = OFF")
            assert projection.seq < store.last
        with Projection(place.tables) as projection:
            assert projection.seq == 0
            recover_with(store, projection)
    content = place.content()
    assert len(content["jobs"]) > 10
    assert anew(place, tmp_path / "anew") == content
