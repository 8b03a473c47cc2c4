"""Records what ``test_replay`` reads: a journal and every class of fact, as this version writes them.

Run ``python -m tests.replay.record`` when the format number goes up, never to make a failing test pass: what it wrote
for an older format stays as it is, and every later version must read it. With ``--classes`` it only adds the classes
that the newest recording lacks: an older version refuses them by name, which needs no new format.
"""

import json
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from random import Random
from types import NoneType, UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

from fairway.adapters.stores.database import FORMAT
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.engine.loop import Loop
from fairway.model import facts as f
from fairway.model.ids import JobId, QueueId, ServiceId
from fairway.model.plan import Action
from fairway.model.policy import Policy
from fairway.model.reasons import Refusal, StopReason
from fairway.model.service import Service
from fairway.model.time import Instant
from fairway.state.cluster import ClusterState
from fairway.state.frames import TAG, encode_value
from fairway.testing.strategies import changed
from tests.engine.small_world import Unruly

HERE = Path(__file__).parent
UNIONS: dict[str, Any] = {"Fact": f.Fact, "Action": Action, "Refusal": Refusal, "StopReason": StopReason}


# -- every class ----------------------------------------------------------------------------------------------------


def sample(kind: type[Any], *, whole: bool) -> Any:
    """A value of a class: with no field at its default, or with every field at it that has one."""
    hints = get_type_hints(kind)
    values = {
        field.name: filled(hints[field.name], field.name, whole)
        for field in fields(kind)
        if whole or not _default(field)
    }
    return kind(**values)


def _default(field: Any) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def filled(kind: Any, name: str, whole: bool) -> Any:
    """A value of a type that is no default: names say which field they are in, so that a mix-up shows."""
    if isinstance(kind, NewType):
        return filled(kind.__supertype__, name, whole)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return filled(next(argument for argument in arguments if argument is not NoneType), name, whole)
    if origin is Literal:
        return arguments[-1]
    if origin is tuple:
        items = arguments[:1] if arguments[-1] is ... else arguments
        return tuple(filled(item, name, whole) for item in items)
    leaves = {int: 7 + len(name), float: 0.25 + len(name), str: f"{name} ä", bool: name != "on"}
    if kind is Policy:
        return changed(Policy()) if whole else Policy()
    if kind in leaves:
        return leaves[kind]
    if issubclass(kind, Enum):
        return list(kind)[-1]
    if is_dataclass(kind):
        return sample(kind, whole=whole)
    return kind(*[filled(hint, field, whole) for field, hint in get_type_hints(kind).items()])


def plain(value: Any) -> Any:
    """A value with all its fields, defaults too, as JSON can hold it."""
    if is_dataclass(value):
        return {TAG: type(value).__name__} | {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def record_classes(path: Path) -> None:
    """One line per value: the union it belongs to, its frame, and what it means. Lines that are there stay."""
    kept = path.read_text("utf-8").splitlines() if path.exists() else []
    known = {json.loads(line)["means"][TAG] for line in kept}
    lines = [
        json.dumps(
            {"union": name, "frame": encode_value(value, union).decode(), "means": plain(value)}, ensure_ascii=False
        )
        for name, union in UNIONS.items()
        for member in get_args(union)
        if member.__name__ not in known
        for value in (sample(member, whole=False), sample(member, whole=True))
    ]
    path.write_text("\n".join([*kept, *lines]) + "\n", "utf-8")


# -- a journal ------------------------------------------------------------------------------------------------------


def beliefs(state: ClusterState) -> dict[str, Any]:
    """What a replay must come to, in words that every version has."""
    jobs, queues = state.jobs, state.queues
    live = {jobs.id_of(row): [jobs.phase_of(row).value, int(jobs.attempt[row])] for row in jobs.rows()}
    ended = {job: [record.phase.value, record.attempt] for job, record in state.ended.items()}
    return {
        "now": state.now,
        "jobs": dict(sorted((live | ended).items())),
        "spent": {queues.id_of(row): queues.spent[row].tolist() for row in queues.rows()},
        "services": sorted(state.services),
    }


def record_journal(path: Path, expected: Path) -> None:
    """A run of the loop with everything in it: preemption, gangs, services, lost messages, a checkpoint on the way."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "fairway.db"
        with SqliteStore.open(place, holder="recorder") as store:
            world = Unruly(random=Random(12), rounds=40)
            loop = Loop(ClusterState(), world, store, Policy(), checkpoint_every=45)
            service = Service(ServiceId("web"), QueueId("a/b"), replicas=2)
            loop.turn(f.Facts(Instant(1_000), (f.EpochBegan(store.epoch), world.inventory(), f.ServiceSet(service))))
            for facts in world.facts():
                loop.turn(facts)
            loop.turn(f.Facts(world.now, (f.CancelAsked(JobId("nobody"), "recorder"), f.ServiceRemoved(service.id))))
            expected.write_text(json.dumps({"last": store.last, **beliefs(loop.state)}, indent=1) + "\n", "utf-8")
        with closing(sqlite3.connect(place)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("VACUUM")
        shutil.copy(place, path)


if __name__ == "__main__":
    record_classes(HERE / f"format-{FORMAT}.classes.jsonl")
    if "--classes" not in sys.argv:
        record_journal(HERE / f"format-{FORMAT}.sqlite", HERE / f"format-{FORMAT}.json")
