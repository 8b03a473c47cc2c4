"""A control plane with its API, in this process: what ``up`` runs, and what tests and the demo start as a process."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairway import __version__
from fairway.adapters.controlplane import ControlPlane
from fairway.adapters.executors.local import LocalConfig, LocalExecutor, discover, log_path
from fairway.faces.api.app import Plane, build
from fairway.faces.api.intake import Intake
from fairway.faces.api.present import Present
from fairway.faces.api.server import Server, token_in
from fairway.faces.manifests.schema import DEFAULT_QUEUE
from fairway.faces.paths import SOCKET
from fairway.model.errors import StoreFull
from fairway.model.facts import Facts, QueueSet
from fairway.model.ids import QueueId
from fairway.model.node import Node
from fairway.model.queue import Queue
from fairway.model.time import Instant
from fairway.state.frames import encode

LOCAL = "local"
"""The local executor's folder inside the data directory."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Where, with what, and whom to wait for: ``wait`` seconds for another leader, None for not at all."""

    folder: Path
    local: LocalConfig = field(default_factory=LocalConfig)
    port: int | None = None
    wait: float | None = None


class Host:
    """Made by ``open``; ``run`` it in the main thread."""

    def __init__(self, setup: Setup, plane: ControlPlane, node: Node) -> None:
        self.setup = setup
        self.plane = plane
        self.node = node
        self._since = time.time_ns() // 1_000_000
        present = Present(plane.readmodel, plane.queries, plane.clock, plane.inbox.waiting, plane.refused)
        token = token_in(setup.folder)
        api = Plane(
            Intake(plane.inbox, present, plane.adviser.try_booking),
            present,
            self._log_path,
            self.about,
            token,
            plane.adviser.ask,
        )
        self.server = Server(build(api), setup.folder / SOCKET, setup.port)

    @classmethod
    @contextmanager
    def open(cls, setup: Setup) -> Iterator["Host"]:
        """Lead the store and answer requests while the block lasts. Raises what ``ControlPlane.open`` raises."""
        folder = setup.folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / LOCAL).mkdir(exist_ok=True)
        except OSError as error:
            raise StoreFull(f"{folder} cannot be made: {error.strerror}", "--data-dir") from None
        plane = ControlPlane.open(folder, [LocalExecutor(folder / LOCAL, setup.local)], wait=setup.wait)
        try:
            host = cls(setup, plane, discover(setup.local, str(folder)))
            host.ensure_default_queue()
            host.server.start()
            try:
                yield host
            finally:
                host.server.stop()
        finally:
            plane.close()

    def run(self) -> None:
        """Turn after turn, until SIGTERM or SIGINT."""
        self.plane.run()

    def ensure_default_queue(self) -> None:
        """The queue for those who name none is there before anybody comes."""
        if self.plane.readmodel.queue(QueueId(DEFAULT_QUEUE)) is None:
            fact = QueueSet(Queue(QueueId(DEFAULT_QUEUE)))
            self.plane.inbox.put(f"queue {DEFAULT_QUEUE}", encode(Facts(Instant(0), (fact,))))

    def about(self) -> dict[str, Any]:
        """What ``/v1/status`` tells beside the frame."""
        health, nodes = self.plane.health(), self.plane.readmodel.nodes()
        recovery = health.recovery
        return {
            "version": __version__,
            "pid": os.getpid(),
            "data_dir": str(self.setup.folder),
            "since_ms": self._since,
            "ok": health.ok,
            "troubles": list(health.troubles),
            "virtual": any(node.virtual for node in nodes),
            "nodes": len(nodes),
            "gpus": sum(len(node.devices_free) for node in nodes),
            "gpus_free": sum(sum(node.devices_free) for node in nodes) / 1000,
            "recovery": None
            if recovery is None
            else {
                "frames": recovery.frames,
                "state_ms": round(recovery.state_ms, 1),
                "ready_ms": round(recovery.ready_ms, 1),
                "adopted": recovery.adopted,
            },
        }

    def _log_path(self, job: str, attempt: int, rank: int, stream: str) -> Path:
        return Path(log_path(self.setup.folder / LOCAL, job, attempt, rank, stream))
