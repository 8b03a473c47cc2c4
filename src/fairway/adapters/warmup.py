"""Getting the kernel of ``decide`` ready beside the loop."""

import threading

from fairway.decide.warm import warm
from fairway.state.cluster import ClusterState

LARGE = 64
"""Nodes from which on the kernel is worth its memory."""


class WarmUp:
    """A view of the loop that has the kernel made ready in the background as soon as a cluster is large enough to need
    it. Decisions made meanwhile are the same, and slower."""

    def __init__(self, nodes: int = LARGE) -> None:
        self._nodes = nodes
        self.thread: threading.Thread | None = None

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        """Start to warm up, once."""
        if self.thread is None and state.nodes.height >= self._nodes:
            self.thread = threading.Thread(target=warm, name="warm-up", daemon=True)
            self.thread.start()
