"""Where the tasks of a gang find each other."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.adapters.executors.local import gang
from fairway.adapters.executors.local.gang import Ports
from fairway.model.facts import AttemptStarted
from tests.adapters.executors.local.world import LocalWorld, sh


class Offers:
    """Sockets to which the kernel gives these ports in turn."""

    def __init__(self, ports: Iterator[int]) -> None:
        self.ports = ports

    def socket(self) -> "Offers":
        return self

    def bind(self, address: tuple[str, int]) -> None:
        assert address == ("127.0.0.1", 0)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", next(self.ports)

    def close(self) -> None:
        pass


def test_a_port_is_free() -> None:
    with socket.create_server(("127.0.0.1", Ports().take())) as server:
        assert server.getsockname()[1] > 0


def test_a_port_is_not_given_twice_until_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gang, "socket", Offers(iter([5, 5, 5, 6, 5, 7, 5])))
    ports = Ports()
    assert ports.take() == 5
    assert ports.take() == 6
    ports.hold(5)
    assert ports.take() == 7
    ports.release(5)
    assert ports.take() == 5


@pytest.mark.real
def test_an_adopted_gang_keeps_its_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meet = sh("echo $MASTER_PORT; sleep 600")

    async def play(world: LocalWorld) -> None:
        await world.open()
        first = await world.start(meet, meet, name="first-1")
        await world.settle(lambda: any(isinstance(fact, AttemptStarted) for fact in world.facts))
        await world.settle(lambda: all(world.log(first, rank=rank) for rank in range(2)))
        port = int(world.log(first))
        await world.close()
        await world.open()
        monkeypatch.setattr(gang, "socket", Offers(iter([port, port + 1])))
        second = await world.start(meet, meet, name="second-1")
        await world.settle(lambda: bool(world.log(second)))
        assert int(world.log(second)) == port + 1
        await world.discard()

    asyncio.run(play(LocalWorld(tmp_path)))
