"""Fairway starts at once: the SDK runs inside every job, and the command line inside every shell loop.

Two kinds of test. The exact kind asks what was loaded: no heavy library before it is needed. The measured kind takes
the processor time (user + system) of the fastest of seven fresh processes, so that neighbours on the machine and a cold
disk do not count, and compares it with the budget as it stands. A build machine much slower than a laptop of 2020 may
widen it with FAIRWAY_TIME_MARGIN=2.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 7
MARGIN = float(os.environ.get("FAIRWAY_TIME_MARGIN", "1"))
HEAVY = (
    "asyncio",
    "cattrs",
    "httpx",
    "matplotlib",
    "msgspec",
    "numba",
    "numpy",
    "psutil",
    "pydantic",
    "pynvml",
    "sqlite3",
    "starlette",
    "uvicorn",
    "yaml",
)

needs_cli = pytest.mark.skipif(
    importlib.util.find_spec("fairway.faces.cli") is None, reason="this checkout has no command line"
)


def processor_seconds(command: list[str]) -> float:
    """User plus system seconds of one run of the command, which must succeed."""
    # Bytecode must be kept, or every run would compile everything again.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.stderr.close()
    # The process is reaped above, for its usage: Popen must not look for it again.
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said.decode()
    return usage.ru_utime + usage.ru_stime


def fairway() -> Path:
    """The console script beside this interpreter."""
    return Path(sys.executable).with_name("fairway")


def loaded(code: str) -> set[str]:
    """The top-level modules in memory after a fresh interpreter ran the code."""
    report = "; import sys; print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    outcome = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(outcome.stdout.splitlines()[-1].split())


def test_import_fairway_stays_within_its_budget() -> None:
    best = min(processor_seconds([sys.executable, "-c", "import fairway"]) for _ in range(RUNS))
    assert best < 0.15 * MARGIN


@needs_cli
def test_help_stays_within_its_budget() -> None:
    best = min(processor_seconds([str(fairway()), "--help"]) for _ in range(RUNS))
    assert best < 0.3 * MARGIN


def test_import_fairway_loads_nothing_but_itself() -> None:
    assert loaded("import fairway") - loaded("pass") == {"fairway"}


@needs_cli
def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, runpy; sys.argv = ['fairway', '--help']\n"
        "try:\n    from fairway.faces.cli.main import main; main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\npass"
    )
    assert loaded(code) & set(HEAVY) == set()
