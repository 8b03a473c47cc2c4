"""What older versions wrote is read by this one, and means the same."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from fairway.adapters.stores.catchup import recover_with
from fairway.adapters.stores.database import FORMAT
from fairway.adapters.stores.projection import Projection
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.engine.recover import recover
from fairway.state.check import check
from fairway.state.cluster import ClusterState
from fairway.state.codec import Dump, dump
from fairway.state.frames import TAG, decode_value
from tests.replay.record import UNIONS, beliefs, plain, sample

HERE = Path(__file__).parent
JOURNALS = sorted(HERE.glob("format-*.sqlite"))
CLASSES = sorted(HERE.glob("format-*.classes.jsonl"))


@pytest.fixture(params=JOURNALS, ids=lambda path: path.stem)
def recorded(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def store(recorded: Path, tmp_path: Path) -> Iterator[SqliteStore]:
    """A copy: opening a store raises its epoch."""
    path = tmp_path / "fairway.db"
    shutil.copy(recorded, path)
    with SqliteStore.open(path) as store:
        yield store


def test_every_format_has_a_recording() -> None:
    assert [path.stem for path in JOURNALS] == [f"format-{number}" for number in range(1, FORMAT + 1)]
    assert [path.name for path in CLASSES] == [f"format-{number}.classes.jsonl" for number in range(1, FORMAT + 1)]


def test_a_recorded_journal_replays_to_what_was_believed(store: SqliteStore, recorded: Path) -> None:
    expected = json.loads(recorded.with_suffix(".json").read_text("utf-8"))
    state, seq = recover(store, from_start=True)
    assert {"last": seq, **json.loads(json.dumps(beliefs(state)))} == expected
    assert check(state) == []


def test_a_recorded_checkpoint_stands_for_its_frames(store: SqliteStore) -> None:
    newest = store.newest_checkpoint()
    assert newest is not None
    assert 0 < newest[0] < store.last
    restored, replayed = recover(store).state, recover(store, from_start=True).state
    assert _without_history(restored) == _without_history(replayed)


def _without_history(state: ClusterState) -> Dump:
    """What a checkpoint of any version keeps: the oldest ones have no run times, no averages of use, no counts of
    preemptions and of short jobs and no groups of victims, so only frames after them tell any."""
    kept = decode_value(dump(state), Dump)
    jobs = tuple(replace(job, history=-1, ran=0, pace=0.0) for job in kept.jobs)
    queues = tuple(replace(queue, average=(), averaged_at=0, guaranteed=(), guaranteed_at=0) for queue in kept.queues)
    groups = tuple(sorted((g for g in kept.groups if not g.yields), key=lambda g: (g.shape, g.queue, g.cls)))
    shapes = tuple(replace(shape, seen=0, learned=0) for shape in kept.shapes)
    kept = replace(kept, jobs=jobs, queues=queues, groups=groups, shapes=shapes)
    return replace(kept, learned=0, kinds_of_work=(), preempted=(), short=())


def test_a_recorded_journal_fills_the_tables(store: SqliteStore, tmp_path: Path) -> None:
    with Projection(tmp_path / "views.db") as projection:
        state, seq = recover_with(store, projection)
        projection.flush()
        assert projection.seq == seq
    assert len(state.ended) > 5


LINES = [(path.stem, json.loads(line)) for path in CLASSES for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    "line", [line for _, line in LINES], ids=[f"{stem}-{line['means'][TAG]}" for stem, line in LINES]
)
def test_a_recorded_value_means_what_it_meant(line: dict[str, Any]) -> None:
    """A field may have been added since; none may have gone, changed its meaning or its default."""
    value = decode_value(line["frame"].encode(), UNIONS[line["union"]])
    assert _differences(line["means"], plain(value)) == []


def _differences(then: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        gone = [f"{path}.{name} is gone" for name in then if name not in now]
        both = [name for name in then if name in now]
        return gone + [found for name in both for found in _differences(then[name], now[name], f"{path}.{name}")]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        return [
            found
            for at, pair in enumerate(zip(then, now, strict=True))
            for found in _differences(*pair, f"{path}[{at}]")
        ]
    return [] if then == now else [f"{path} was {then!r} and is {now!r}"]


def test_a_change_of_meaning_is_noticed() -> None:
    then = {"is": "A", "n": 1, "deep": [{"x": 1}]}
    assert _differences(then, then | {"new": 5}) == []
    assert _differences(then, {"is": "A", "n": 2, "deep": [{"y": 1}]}) == [".n was 1 and is 2", ".deep[0].x is gone"]


def test_the_recording_has_every_class_there_was() -> None:
    """What a newer format adds is in its own recording; the newest one has everything."""
    newest = {line["means"][TAG] for stem, line in LINES if stem == f"format-{FORMAT}.classes"}
    assert newest == {member.__name__ for union in UNIONS.values() for member in get_args(union)}


@pytest.mark.parametrize(
    "member", [member for union in UNIONS.values() for member in get_args(union)], ids=lambda member: member.__name__
)
def test_a_whole_sample_has_no_field_at_its_default(member: type[Any]) -> None:
    whole = sample(member, whole=True)
    for field in fields(member):
        assert getattr(whole, field.name) != field.default
