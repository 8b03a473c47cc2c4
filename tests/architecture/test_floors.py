"""Imports go downstairs, and each floor needs only what it may need.

`make floors` runs the same contracts on the repository; here a planted violation shows that each of them bites.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, floor, imported, parse

ROOMS = ("model", "state", "decide", "engine", "sim", "adapters", "faces", "testing")


def foreign(text: str, allowed: frozenset[str] = frozenset()) -> list[str]:
    """The imports that are neither the standard library, nor Fairway's, nor among the allowed ones."""
    own = sys.stdlib_module_names | {"fairway"} | allowed
    return [f"line {line}: {name}" for line, name in imported(parse(text)) if name.partition(".")[0] not in own]


def refused(text: str, allowed: frozenset[str], fairway: bool) -> list[str]:
    """What `foreign` refuses, and Fairway's own modules too where they are not welcome."""
    own = [f"line {line}: {name}" for line, name in imported(parse(text)) if name.partition(".")[0] == "fairway"]
    return foreign(text, allowed) + ([] if fairway else own)


NEEDS = [
    pytest.param(("model",), frozenset[str](), True, id="model: the standard library"),
    pytest.param(("state", "decide"), frozenset({"numpy", "sortedcontainers"}), True, id="state, decide: numbers"),
    pytest.param(("job",), frozenset[str](), False, id="job: the standard library, and no Fairway"),
]


EXTRA = {
    "state/frames": {"msgspec", "cattrs"},  # where frozen objects become bytes
    "decide/kernels": {"numba"},  # where loops over columns become machine code
}


@pytest.mark.parametrize(("rooms", "allowed", "fairway"), NEEDS)
def test_a_floor_needs_only_what_it_may(rooms: tuple[str, ...], allowed: frozenset[str], fairway: bool) -> None:
    for module in floor(*rooms):
        extra = next((names for path, names in EXTRA.items() if path in module.path), set[str]())
        assert refused(module.text, allowed | extra, fairway) == [], module.path


def test_what_a_floor_may_not_import_is_noticed() -> None:
    text = "import json\nimport numpy as np\n\ndef f():\n    from pydantic import X\n    import fairway.model\n"

    assert foreign(text) == ["line 2: numpy", "line 5: pydantic"]
    assert foreign(text, frozenset({"numpy"})) == ["line 5: pydantic"]
    assert refused(text, frozenset({"numpy", "pydantic"}), fairway=False) == ["line 6: fairway.model"]


def test_the_package_itself_imports_nothing() -> None:
    tree = ast.parse((ROOT / "src/fairway/__init__.py").read_text("utf-8"))
    assert list(imported(tree)) == []


def contracts(folder: Path, planted: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs the repository's contracts on a house of empty rooms in which only `planted` (path: text) lives."""
    house = folder / "fairway"
    for room in ROOMS:
        (house / room).mkdir(parents=True)
        (house / room / "__init__.py").touch()
    (house / "__init__.py").touch()
    for path, text in planted.items():
        (house / path).write_text(text, "utf-8")
    lint = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    arguments = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", lint, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_honest_house_keeps_its_contracts(tmp_path: Path) -> None:
    planted = {
        "job.py": "import json\n",
        "state/columns.py": "import numpy\nfrom fairway.model import phases\n",
        "state/frames.py": "import msgspec\nfrom cattrs.errors import BaseValidationError\n",
        "model/phases.py": "import enum\n",
        "faces/cli.py": "import fairway.sim\nimport fairway.adapters\nimport typer\n",
        "testing/builders.py": "import fairway.faces.cli\n",
    }
    outcome = contracts(tmp_path, planted)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("decide/order.py", "from fairway.adapters import __doc__\n"),
        ("model/job.py", "import fairway.state\n"),
        ("sim/world.py", "import fairway.adapters\n"),
        ("adapters/live.py", "import fairway.sim\n"),
        ("engine/loop.py", "def late():\n    import fairway.testing\n"),
        ("job.py", "import fairway.model\n"),
        ("model/money.py", "import pydantic\n"),
        ("decide/fit.py", "import threading\n"),
        ("state/apply.py", "import msgspec\n"),
        ("attic.py", "an_unplaced_room = True\n"),
    ],
)
def test_a_planted_violation_breaks_a_contract(tmp_path: Path, path: str, text: str) -> None:
    outcome = contracts(tmp_path, {path: text})
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    named = path.removesuffix(".py").replace("/", ".")
    assert "Traceback" not in outcome.stderr
    assert named in outcome.stdout, outcome.stdout
