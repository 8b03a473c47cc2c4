"""A thousand seeds with everything going wrong, every seed that ever failed, and the same digests in every process.

FAIRWAY_SEEDS=10000 tries more; `python -m tests.sim.ordeal SEED` looks at one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairway.sim.faults import KINDS
from tests.sim.ordeal import STORM, Broken, Survived, ordeal

SEEDS = int(os.environ.get("FAIRWAY_SEEDS", "1000"))
CHUNK = 50
"""Seeds to a test: small enough that workers share them evenly."""

KEPT = Path(__file__).parent.parent / "seeds" / "ordeals.txt"


def kept() -> list[tuple[int, str]]:
    """(seed, kind of fault or ``all``) of every ordeal that ever failed."""
    lines = [line.partition("#")[0].split() for line in KEPT.read_text().splitlines()]
    return [(int(words[0]), words[1]) for words in lines if words]


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_everything_holds_whatever_goes_wrong(first: int) -> None:
    failed: dict[int, str] = {}
    for seed in range(first, min(first + CHUNK, SEEDS)):
        try:
            ordeal(seed)
        except Broken as error:
            failed[seed] = str(error)
    assert not failed, f"keep these seeds in {KEPT.name}: {failed}"


@pytest.mark.parametrize(("seed", "kind"), kept())
def test_what_failed_once_does_not_fail_again(seed: int, kind: str) -> None:
    ordeal(seed, STORM if kind == "all" else STORM.only(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_fault_is_survived_alone(kind: str) -> None:
    for seed in range(8):
        ordeal(seed, STORM.only(kind))


def test_ordeals_are_ordeals() -> None:
    """Enough of everything happens, or the seeds above would prove little."""
    survived = [ordeal(seed) for seed in range(20)]

    def total(what: str) -> int:
        return sum(getattr(each, what) for each in survived)

    jobs = sum(each.phases.total() for each in survived)
    assert total("crashes") >= 20
    assert total("preemptions") >= 10
    assert total("attempts") > 1.2 * jobs
    for phase in ("succeeded", "failed", "cancelled"):
        assert sum(each.phases[phase] for each in survived) >= 20


def test_the_same_seed_gives_the_same_journal_in_every_process() -> None:
    seeds = ("0", "7", "21")
    here = [f"{seed} {ordeal(int(seed)).digest}" for seed in seeds]
    for hash_seed in ("0", "1", "4242"):
        there = subprocess.run(
            [sys.executable, "-m", "tests.sim.ordeal", *seeds],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.splitlines() == here


def test_another_seed_gives_another_journal() -> None:
    digests = {ordeal(seed).digest for seed in range(5)}
    assert len(digests) == 5


def test_a_broken_ordeal_says_what_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.sim.ordeal.check", lambda state: ["n1 holds too much"])
    with pytest.raises(Broken, match=r"at \d+, after \['QueueSet'.*n1 holds too much"):
        ordeal(0)


def test_survivors_have_counted() -> None:
    one = ordeal(3)
    assert isinstance(one, Survived)
    assert one.turns > 50
    assert one.steps > one.turns
