"""The local executor meets the contract of executors, with real processes."""

from pathlib import Path

import pytest

from fairway.testing.contracts.executor import ExecutorContract
from tests.adapters.executors.local.world import LocalWorld

pytestmark = pytest.mark.real


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> LocalWorld:
        return LocalWorld(tmp_path)
