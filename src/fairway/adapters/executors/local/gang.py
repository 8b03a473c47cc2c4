"""Where the tasks of a gang find each other: a port on the loopback, kept in the attempt's spec."""

import socket


class Ports:
    """Free TCP ports of this machine, none handed out twice while its attempt lives."""

    def __init__(self) -> None:
        self._held: set[int] = set()

    def take(self) -> int:
        """A port that nobody listens on now. Raises OSError when there is none."""
        refused: list[socket.socket] = []
        try:
            while True:
                probe = socket.socket()
                refused.append(probe)
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
                if port not in self._held:
                    self._held.add(port)
                    return port
        finally:
            for probe in refused:  # held until now, so that the kernel did not offer one again
                probe.close()

    def hold(self, port: int) -> None:
        """Count a port that an adopted attempt uses."""
        if port:
            self._held.add(port)

    def release(self, port: int) -> None:
        self._held.discard(port)
