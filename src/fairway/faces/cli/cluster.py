"""``cordon``, ``uncordon`` and ``remove``: small changes to what there is."""

from typing import Annotated

import typer

from fairway.faces.cli.common import DataDir, connect

Nodes = Annotated[list[str], typer.Argument(metavar="NODE...", help="Names of nodes.")]


def cordon(names: Nodes, data_dir: DataDir = None) -> None:
    """Place nothing more on nodes; what runs there goes on."""
    _set(names, True, data_dir)


def uncordon(names: Nodes, data_dir: DataDir = None) -> None:
    """Place work on nodes again."""
    _set(names, False, data_dir)


def _set(names: list[str], on: bool, data_dir: "DataDir") -> None:
    with connect(data_dir) as client:
        for name in names:
            client.cordon(name, on)
            print(f"{name} is {'cordoned' if on else 'open'}")


def remove(
    service: Annotated[str, typer.Argument(help="The name of a service.")],
    data_dir: DataDir = None,
) -> None:
    """Stop a service and forget it."""
    with connect(data_dir) as client:
        client.remove_service(service)
    print(f"{service} is removed; its replicas are told to stop")
