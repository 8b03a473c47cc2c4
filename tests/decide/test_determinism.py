"""The same facts give the same plans and the same state in every process."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import hashlib, json
from fairway.state.codec import digest
from tests.state.weather import Storm

seen = []
for seed in (2, 12, 31):
    storm = Storm(seed)
    storm.blow(60)
    told = hashlib.sha256(repr(storm.it.told).encode()).hexdigest()
    seen.append((digest(storm.it.state), told))
print(json.dumps(seen))
"""


def played(hash_seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_plans_and_states_do_not_depend_on_how_python_hashes() -> None:
    first = played(0)
    assert len(first) > 300
    assert first == played(1) == played(4_294_967_295)
