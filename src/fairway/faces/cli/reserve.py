"""``reserve``, ``reservations`` and ``unreserve``: devices that are a queue's own for a time."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairway.faces.cli.apply import print_applied
from fairway.faces.cli.common import AsJson, DataDir, connect, put_json
from fairway.faces.cli.tables import put, styled, to_the_minute

if TYPE_CHECKING:
    from fairway.faces.client import Client

WAIT_S = 5.0
"""How long it is waited for the decision about a reservation that was accepted."""
_STYLE = {"active": "green", "booked": "cyan", "refused": "red"}


def reserve(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    queue: Annotated[str, typer.Option("--queue", "-q", help="The queue that it is for, with those below it.")],
    gpus: Annotated[int, typer.Option("--gpus", "-g", help="How many GPUs.", min=0)] = 0,
    nodes: Annotated[int, typer.Option("--nodes", help="How many whole nodes, instead of GPUs.", min=0)] = 0,
    per_node: Annotated[int, typer.Option("--per-node", help="So many of the GPUs on each node.", min=0)] = 0,
    gpu_type: Annotated[list[str] | None, typer.Option("--gpu-type", help="A type that will do; repeatable.")] = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Only nodes with this label: disk=nvme, or disk for any value.")
    ] = None,
    start: Annotated[str, typer.Option("--start", help="From when: 2h, or 2026-11-21T18:00.")] = "0s",
    end: Annotated[str, typer.Option("--end", help="Until when.")] = "",
    duration: Annotated[str, typer.Option("--for", help="For how long, instead of --end: 8h.")] = "",
    grace: Annotated[str, typer.Option("--grace", help="So long before the start others have to leave.")] = "2m",
    flexible: Annotated[
        bool, typer.Option("--flexible", help="Let others that keep checkpoints use it until it is needed.")
    ] = False,
    idle: Annotated[str, typer.Option("--idle", help="Give it back when nothing has run there for so long.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether it could be.")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Reserve GPUs or whole nodes for a queue, for a time. `fairway unreserve` gives them up again."""
    labels = {key: value or "*" for key, _, value in (text.partition("=") for text in node or [])}
    given: dict[str, Any] = {
        "kind": "Reservation", "name": name, "queue": queue, "gpus": gpus, "nodes": nodes, "per_node": per_node,
        "accelerators": gpu_type or [], "where": {"labels": labels}, "start": start, "end": end or None,
        "duration": duration or None, "grace": grace, "flexible": flexible, "idle_for": idle or None,
    }  # fmt: skip
    document = {key: value for key, value in given.items() if value not in (None, [], {"labels": {}})}
    with connect(data_dir) as client:
        [applied] = client.apply([document], source="reservation", dry_run=dry_run)
        found = None if dry_run else _decided(client, name)
    if found is not None and found["phase"] == "refused":
        from fairway.model.errors import Refused

        raise Refused(found["reason"], "gpus")
    if json:
        put_json(found or applied)
    elif found is None:
        print_applied(applied, dry_run)
    else:
        print(f"reservation {name} {_when(found)} on {_where(found) or 'nodes yet to be found'}")


def reservations(json: AsJson = False, data_dir: DataDir = None) -> None:
    """List what queues have reserved, and where."""
    with connect(data_dir) as client:
        found = client.reservations()
    if json:
        put_json(found)
        return
    rows = [
        (
            each["name"],
            each["queue"],
            styled(each["phase"], _STYLE.get(each["phase"], "yellow")),
            _what(each),
            *(to_the_minute(each[key]) for key in ("start_ms", "end_ms")),
            each["reason"] or _where(each) + (f", {each['missing']} missing" if each["missing"] else ""),
        )
        for each in found
    ]
    put(("RESERVATION", "QUEUE", "STATE", "FOR", "FROM", "UNTIL", "WHERE"), rows, "no reservations", flexible="WHERE")


def unreserve(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Reservations.")],
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Give up what queues have reserved; what runs there goes on."""
    with connect(data_dir) as client:
        for name in names:
            client.unreserve(name)
            if not json:
                print(f"{name} is no longer reserved")
    if json:
        put_json({"removed": names})


def _decided(client: "Client", name: str) -> dict[str, Any] | None:
    """The reservation once it was decided about; None where that takes long."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        found = next((each for each in client.reservations() if each["name"] == name), None)
        if found is not None and found["phase"] != "asked":
            return found
        time.sleep(0.02)
    return None


def _what(each: dict[str, Any]) -> str:
    kinds = "/".join(each["accelerators"]) or "GPU"
    if each["nodes"]:
        return f"{each['nodes']} nodes"
    return f"{each['gpus']} {kinds}" + (f", {each['per_node']} a node" if each["per_node"] else "")


def _where(each: dict[str, Any]) -> str:
    named = ((node, ",".join(map(str, devices))) for node, devices in each["devices"].items())
    return " ".join(f"{node}[{devices}]" if devices else node for node, devices in named)


def _when(each: dict[str, Any]) -> str:
    return f"from {to_the_minute(each['start_ms'])} until {to_the_minute(each['end_ms'])}"
