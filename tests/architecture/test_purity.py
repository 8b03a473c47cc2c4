"""Below the worlds there is no clock, no sleep and no chance of one's own: time and generators are arguments.

Ruff refuses the same names (`banned-api` in pyproject.toml, the one list of them); this test also finds the ways around
it that a comment can open, and shows that ruff is switched on where it should be and off where it should not.
"""

import subprocess
import sys
import tomllib

import pytest

from tests.architecture.source import PURE, ROOT, floor, parse, references

LINT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
BANNED = frozenset(LINT["flake8-tidy-imports"]["banned-api"])


def impure(text: str) -> list[str]:
    """The banned things that the code names, under whatever name it imported them."""
    named = set(references(parse(text)))
    found = [(line, name) for line, name in named if {name, name.partition(".")[0]} & BANNED]
    return [f"line {line}: {name}" for line, name in sorted(found)]


@pytest.mark.parametrize("room", PURE)
def test_a_pure_floor_has_no_clock_and_no_chance(room: str) -> None:
    found = {module.path: impure(module.text) for module in floor(room)}
    assert found, f"src/fairway/{room} has no modules: was it moved?"
    assert {path: names for path, names in found.items() if names} == {}


PLANTED = [
    ("import time\nx = time.time()\n", "line 2: time.time"),
    ("import time as t\n\ndef f(clock=t.monotonic): ...\n", "line 3: time.monotonic"),
    ("from time import perf_counter as tick\n", "line 1: time.perf_counter"),
    ("def f():\n    from datetime import datetime\n    return datetime.now()\n", "line 3: datetime.datetime.now"),
    ("import datetime as dt\nx = dt.date.today()\n", "line 2: datetime.date.today"),
    ("import random\nx = random.choice([1])\n", "line 2: random.choice"),
    ("import secrets\nx = secrets.token_hex()\n", "line 1: secrets"),
    ("import asyncio\n", "line 1: asyncio"),
    ("import uuid\nx = uuid.uuid4()\n", "line 2: uuid.uuid4"),
]


@pytest.mark.parametrize(("text", "expected"), PLANTED)
def test_a_planted_clock_is_noticed(text: str, expected: str) -> None:
    assert expected in impure(text)


def test_a_generator_passed_in_and_an_instant_are_no_clock() -> None:
    text = "import random\n\ndef f(rng: random.Random, now): return rng.random(), now.time(), now.sleep\n"
    assert impure(text) == []


@pytest.mark.parametrize(("path", "refused"), [(f"{room}/x.py", True) for room in PURE] + [("sim/x.py", False)])
def test_ruff_refuses_a_clock_exactly_on_the_pure_floors(path: str, refused: bool) -> None:
    name = f"src/fairway/{path}"
    outcome = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--stdin-filename", name, "-"],
        cwd=ROOT,
        input="import time\n\nNOW = time.time()\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (outcome.returncode, "TID251" in outcome.stdout) == (int(refused), refused), outcome.stdout + outcome.stderr


def test_no_comment_switches_the_ban_off() -> None:
    switched = [module.path for module in floor(*PURE) if "TID251" in module.text]
    assert switched == []
