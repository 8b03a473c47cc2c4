"""``up``: the control plane in the foreground."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairway.faces.cli.common import DataDir, note
from fairway.faces.cli.tables import memory

if TYPE_CHECKING:
    from fairway.adapters.executors.local import LocalConfig
    from fairway.model.node import Node

FOR_EVER_S = 1e9


def up(
    virtual_gpus: Annotated[
        int, typer.Option("--virtual-gpus", help="Pretend to have so many GPUs.", min=0, max=1024)
    ] = 0,
    virtual_gpu_type: Annotated[str, typer.Option("--virtual-gpu-type", help="What to call them.")] = "virtual",
    virtual_gpu_memory: Annotated[str, typer.Option("--virtual-gpu-memory", help="Memory of each.")] = "16Gi",
    cpus: Annotated[str, typer.Option("--cpus", help="Hand out so many CPUs instead of those found.")] = "",
    memory: Annotated[str, typer.Option("--memory", help="Hand out so much memory instead of what is found.")] = "",
    port: Annotated[
        int | None,
        typer.Option("--port", help="Also listen on this loopback port; 0 takes a free one.", min=0, max=65535),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another control plane leads this store.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Run the control plane until Ctrl-C. What it started goes on, and is adopted by the next one."""
    from fairway.faces.host import Host, Setup
    from fairway.faces.paths import data_dir as folder_of

    _log(verbose)
    config = _config(virtual_gpus, virtual_gpu_type, virtual_gpu_memory, cpus, memory)
    folder = folder_of(data_dir)
    with Host.open(Setup(folder, config, port, FOR_EVER_S if wait else None)) as host:
        note(found(host.node, folder))
        if host.server.port is not None:
            note(f"Listening on http://127.0.0.1:{host.server.port} too; the token is in {folder / 'token'}")
        note("Ready. Submit with: fairway submit -- python train.py    Stop with Ctrl-C: what runs goes on.")
        host.run()
    note("Stopped. What was running goes on.")


def found(node: "Node", folder: Path) -> str:
    """What there is to hand out, and whether it is only declared."""
    parts = [f"{node.cpu_milli / 1000:g} CPUs", f"{memory(node.memory_mib)} of memory"]
    if node.gpus:
        kind = f"{node.gpus} x {node.gpu_type} ({memory(node.gpu_memory_mib)} each)"
        parts.append(f"{kind}, VIRTUAL: declared, not found" if node.virtual else kind)
    else:
        parts.append(f"no GPUs{', VIRTUAL: more is declared than was found' if node.virtual else ''}")
    return f"Fairway on {node.id}: {', '.join(parts)}. Data in {folder}"


def _config(gpus: int, kind: str, gpu_memory: str, cpus: str, memory_text: str) -> "LocalConfig":
    from fairway.adapters.executors.local import LocalConfig
    from fairway.faces.manifests import units

    return LocalConfig(
        virtual_gpus=gpus,
        virtual_gpu_type=_given("--virtual-gpu-type", kind, str),
        virtual_gpu_memory_mib=_given("--virtual-gpu-memory", gpu_memory, units.mebibytes),
        cpu_milli=_given("--cpus", cpus, units.cpu) if cpus else None,
        memory_mib=_given("--memory", memory_text, units.mebibytes) if memory_text else None,
    )


def _given(option: str, text: str, read: Any) -> Any:
    from fairway.model.errors import InvalidField

    try:
        value = read(text)
    except ValueError as error:
        raise InvalidField(option, str(error)) from None
    if not value:
        raise InvalidField(option, f"{text!r} is nothing: give more, or leave it out")
    return value


def _log(verbose: bool) -> None:
    import logging

    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("fairway").setLevel(level)
