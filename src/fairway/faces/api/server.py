"""Serves the API from a thread of the control plane's process: on a socket in its data directory, and on a loopback
port where one is asked for."""

import logging
import os
import secrets
import socket
import threading
from pathlib import Path

from starlette.types import ASGIApp

from fairway.faces.paths import TOKEN, short_socket
from fairway.model.errors import Refused, Unavailable

log = logging.getLogger("fairway.api")

START_S = 10.0


class Server:
    """Accepts from ``start`` to ``stop``. Whoever starts it leads the store, so a socket left behind is nobody's."""

    def __init__(self, app: ASGIApp, path: Path, port: int | None = None) -> None:
        import uvicorn

        self._path = path
        self._port = port
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="fairway-api", daemon=True)
        self._sockets: list[socket.socket] = []
        self._failed: BaseException | None = None

    @property
    def port(self) -> int | None:
        """The port it listens on."""
        return self._port

    def start(self) -> None:
        """Returns when requests are answered. Raises Refused for a port that is taken, Unavailable."""
        self._sockets.append(_local(self._path))
        if self._port is not None:
            self._sockets.append(_loopback(self._port))
            self._port = self._sockets[-1].getsockname()[1]
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_S / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            waited.wait(0.01)
        if not self._server.started:
            raise Unavailable(f"the API did not start: {self._failed or 'no answer'}")

    def stop(self) -> None:
        """Answer what was asked, and take no more. Idempotent."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5)
        for each in self._sockets:
            each.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        try:
            self._server.run(sockets=self._sockets)
        except BaseException as error:
            self._failed = error
            log.exception("the API has stopped")


def _local(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        with short_socket(path) as name:
            found.bind(name)
    finally:
        os.umask(mask)
    return found


def _loopback(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
    except OSError as error:
        found.close()
        raise Refused(f"{port} cannot be taken ({error.strerror}): choose another, or leave it out", "port") from None
    return found


def token_in(folder: Path) -> str:
    """The token of this data directory, made at first; only the owner can read it."""
    path = folder / TOKEN
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        return path.read_text("ascii").strip()
