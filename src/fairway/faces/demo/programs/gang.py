"""Workers that train one network together: each has a shard of the examples, and their gradients meet over TCP.

The rendezvous is the usual one: rank 0 listens on ``MASTER_ADDR``:``MASTER_PORT``, the others call.
"""

import argparse
import hashlib
import os
import socket
import time

import numpy as np

from fairway import job
from fairway.faces.demo.programs import learning
from fairway.faces.demo.programs.learning import Vector

PATIENCE_S = 30.0


class Ring:
    """The connections of one worker: rank 0 has one to everybody, everybody else one to rank 0."""

    def __init__(self, rank: int, size: int, address: tuple[str, int]) -> None:
        self.rank = rank
        self.size = size
        if rank:
            self.peers = [_call(address)]
        else:
            with socket.create_server(address) as server:
                server.settimeout(PATIENCE_S)
                self.peers = [server.accept()[0] for _ in range(size - 1)]
        for peer in self.peers:
            peer.settimeout(PATIENCE_S)
        self.sent = 0

    def mean(self, value: Vector) -> Vector:
        """The mean of every worker's ``value``, the same at all of them."""
        if self.rank:
            self._send(self.peers[0], value)
            return self._receive(self.peers[0], value)
        total = value + sum(self._receive(peer, value) for peer in self.peers)
        mean = total / self.size
        for peer in self.peers:
            self._send(peer, mean)
        return mean

    def _send(self, peer: socket.socket, value: Vector) -> None:
        peer.sendall(value.tobytes())
        self.sent += value.nbytes

    def _receive(self, peer: socket.socket, like: Vector) -> Vector:
        data = bytearray()
        while len(data) < like.nbytes:
            piece = peer.recv(like.nbytes - len(data))
            if not piece:
                raise ConnectionError("the other worker has gone")
            data += piece
        return np.frombuffer(bytes(data)).reshape(like.shape)


def _call(address: tuple[str, int]) -> socket.socket:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection(address, PATIENCE_S)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)  # rank 0 does not listen yet


def main() -> None:
    """Train together, and leave a fingerprint of the weights: it must be everybody's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--pace", type=float, default=0.05)
    asked = parser.parse_args()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    ring = Ring(rank, size, (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
    print(f"rank {rank} of {size} is connected", flush=True)
    data, model, pace = learning.examples(rank, size), learning.fresh(), learning.Pace(asked.pace)
    loss = 0.0
    for step in range(asked.steps):
        loss, gradient = learning.loss_and_gradient(model.weights, *data)
        model.weights = model.weights - 0.05 * ring.mean(gradient)
        if rank == 0:
            job.report(step=step + 1, total=asked.steps)
        if step % 40 == 0:
            print(f"step {step} loss {loss:.4f}", flush=True)
        pace.wait()
    fingerprint = hashlib.sha256(model.weights.tobytes()).hexdigest()
    result = {"rank": rank, "size": size, "fingerprint": fingerprint, "loss": loss, "bytes_sent": ring.sent}
    learning.write_result(f"gang-{rank}", result)
    print(f"rank {rank} is done: loss {loss:.4f}, {ring.sent} bytes sent", flush=True)


if __name__ == "__main__":
    main()
