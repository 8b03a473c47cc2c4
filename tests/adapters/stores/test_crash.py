"""SIGKILL at any moment: every sequence number and every inbox row that was acknowledged is there afterwards."""

import random
import select
import signal
import subprocess
from pathlib import Path

import pytest

from fairway.adapters.stores.sqlite import SqliteStore
from fairway.testing.contracts.journal import batch
from tests.adapters.stores.places import child

KILLS = 20

LEADER = """
import sys
from pathlib import Path
from fairway.adapters.stores.inbox import Inbox
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.testing.contracts.journal import batch
path = Path(sys.argv[1])
store, inbox = SqliteStore.open(path), Inbox(path)
while True:
    row = inbox.put(None, b"x" * 300)
    print("row", row)
    taken = store.take(3)
    seqs = [store.append(batch(store.last + 1)) for _ in range(1 + row % 3)]
    store.consumed(taken[-1].seq)
    store.commit()
    print("frame", seqs[-1])
    if row % 5 == 0:
        store.checkpoint(seqs[-1], b"%d" % seqs[-1] * 1000)
        print("checkpoint", seqs[-1])
"""
"""Prints what is acknowledged, right after it is."""


def killed_after(count: int, microseconds: int, process: "subprocess.Popen[str]") -> list[str]:
    """The whole lines that a process printed when it was killed, that long after its ``count``-th line."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(count)]
    # The moment of death is what is tried here: anywhere in the few hundred microseconds that one commit takes.
    select.select([], [], [], microseconds / 1e6)
    process.kill()
    out, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
    lines += out.splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]


@pytest.mark.real
def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    path = tmp_path / "fairway.db"
    moments = random.Random(20)
    highest = {"row": 0, "frame": 0, "checkpoint": 0}
    for kill in range(1, KILLS + 1):
        leader = child(LEADER, str(path))
        for line in killed_after(moments.randint(1, 60), moments.randint(0, 2000), leader):
            name, number = line.split()
            assert int(number) > highest[name]
            highest[name] = int(number)
        with SqliteStore.open(path) as store:
            assert store.epoch == 2 * kill
            frames = list(store.tail(0))
            assert len(frames) >= highest["frame"]
            assert frames == [(seq, batch(seq)) for seq in range(1, len(frames) + 1)]
            newest = store.newest_checkpoint()
            seq, state = newest or (0, b"")
            assert seq >= highest["checkpoint"]
            assert state == b"%d" % seq * (1000 if newest else 0)
            assert store._database.read("SELECT count(*) >= ? FROM inbox", highest["row"]) == [(1,)]
            assert store._database.read("PRAGMA integrity_check") == [("ok",)]
            highest["frame"] = len(frames)
    assert highest["frame"] > KILLS
