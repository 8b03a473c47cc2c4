"""Attempts as processes of this machine, which outlive the control plane."""

from fairway.adapters.executors.local.config import LocalConfig
from fairway.adapters.executors.local.discover import discover
from fairway.adapters.executors.local.executor import LocalExecutor
from fairway.adapters.executors.local.folder import log_path

__all__ = ["LocalConfig", "LocalExecutor", "discover", "log_path"]
