"""What every test shares: how hard properties are tried, where the repository is, where the recorded traces are."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# No deadline and no health check on slowness anywhere: the machine is shared, and a timed test is not a test.
settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples on every run of one commit: what fails there fails here.
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.register_profile("thorough", settings.get_profile("dev"), max_examples=10_000, print_blob=True)
settings.load_profile(os.environ.get("FAIRWAY_HYPOTHESIS") or ("ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def traces() -> Path:
    """The folder of recorded traces: $FAIRWAY_TRACES, or shared/traces beside the repository; skips where absent."""
    folder = Path(os.environ.get("FAIRWAY_TRACES") or ROOT.parent / "shared" / "traces")
    if not folder.is_dir():
        pytest.skip(f"no recorded traces in {folder}: set FAIRWAY_TRACES to the folder that holds them")
    return folder
