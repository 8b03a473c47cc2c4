"""Once the kernels are warm, no decision waits for a compiler, whatever its jobs are like."""

import subprocess
import sys

import pytest

from fairway.decide import elastic, kernels_elastic, sizing

FRESH = """
from bench import decide as bench
from fairway.decide import elastic, kernels_elastic, kernels_limits, kernels_share, kernels_walk
from fairway.decide.warm import warm

def signatures():
    modules = (kernels_elastic, kernels_limits, kernels_share, kernels_walk)
    return [
        (module.__name__, name, str(one))
        for module in modules
        for name, kernel in sorted(vars(module).items())
        for one in getattr(kernel, "nopython_signatures", ())
    ]

elastic.MANY = 1
warm()
known = signatures()
assert {name for _, name, _ in known} >= {"walk", "summarise", "shares", "hand_out"}, known
print(bench.run(800, 800, 20, 8, None, 0, bench.FEATURES)["first_pass_placed"])
assert elastic.LOOPS.plainly == 0
late = set(signatures()) - set(known)
assert not late, f"compiled within a decision: {late}"
"""
"""In a process of its own: what is compiled stays compiled."""


def test_nothing_is_compiled_within_a_decision() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_loops_are_loaded_when_asked_for_or_when_many_jobs_have_been_sized(monkeypatch: pytest.MonkeyPatch) -> None:
    loops, times = elastic.Loops(), elastic.WORTH_LOADING // elastic.MANY
    assert all(loops.of(elastic.MANY) is sizing for _ in range(times))
    assert loops.of(elastic.MANY) is kernels_elastic
    loops = elastic.Loops()
    for _ in range(times * 2):
        assert loops.of(elastic.MANY - 1) is sizing, "few jobs are sized as fast without"
    loops.asked = True  # somebody else is at it
    assert all(loops.of(elastic.MANY) is sizing for _ in range(times * 2))
    loops.load()
    assert loops.of(1) is kernels_elastic
