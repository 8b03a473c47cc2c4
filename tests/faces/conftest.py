"""One really running control plane for each module of tests."""

from collections.abc import Iterator

import pytest

from tests.faces.plane import RunningPlane, running


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlane]:
    """A control plane with four pretend GPUs, shared by the module's tests."""
    with running(tmp_path_factory.mktemp("plane")) as started:
        yield started
