"""``queues``, ``nodes``, ``services``, ``pools``, ``policy`` and ``status``."""

import time

from fairway.faces.cli.common import AsJson, DataDir, connect, put_json
from fairway.faces.cli.tables import ago, console, memory, number, put, span, styled


def queues(json: AsJson = False, data_dir: DataDir = None) -> None:
    """List queues: what each is guaranteed, may use, and uses. Figures include the queues below."""
    with connect(data_dir) as client:
        found = client.queues()
    if json:
        put_json(found)
        return
    columns = (
        "QUEUE", ">RUNNING", ">PENDING", ">GPUS", ">QUOTA", ">BORROWED", ">LIMIT", ">AVERAGE", ">SHARE", ">CPUS",
        ">MEMORY", ">GPU-HOURS",
    )  # fmt: skip
    rows = [
        (
            "  " * queue["id"].count("/") + (queue["id"].rpartition("/")[2] or "(all)"),
            queue["running"],
            queue["pending"],
            number(queue["used"]["gpus"]),
            number(queue["quota"]["gpus"]),
            number(queue["borrowed_gpus"]),
            number(queue["limit"]["gpus"]),
            f"{queue['average_gpus']:.1f}",
            f"{queue['share']:.1%}",
            number(queue["used"]["cpu"]),
            memory(queue["used"]["memory_mib"]),
            f"{queue['gpu_hours']:.3f}",
        )
        for queue in sorted(found, key=lambda queue: queue["id"].split("/") if queue["id"] else [])
    ]
    put(columns, rows, "no queues")
    for queue in found:
        if queue["swarm"]:
            console().print(styled(queue["swarm"]["note"], "yellow"))


def nodes(json: AsJson = False, data_dir: DataDir = None) -> None:
    """List nodes: what each has, what is free, and what runs there."""
    with connect(data_dir) as client:
        found = client.nodes()
    if json:
        put_json(found)
        return
    columns = ("NODE", "STATE", ">GPUS FREE", "TYPE", ">CPUS FREE", ">MEMORY FREE", ">JOBS", "RUNNING")
    rows = []
    for node in found:
        state = "cordoned" if node["cordoned"] and node["reach"] == "up" else node["reach"]
        kind = f"{node['gpu_type']}{' (virtual)' if node['virtual'] else ''}" if node["gpus"] else "-"
        rows.append(
            (
                node["id"],
                styled(state, {"up": "green", "lost": "red"}.get(state, "yellow")),
                f"{node['gpus_free']:g} of {node['gpus']}" if node["gpus"] else "-",
                kind,
                f"{node['free']['cpu']:g} of {node['total']['cpu']:g}",
                f"{memory(node['free']['memory_mib'])} of {memory(node['total']['memory_mib'])}",
                len(node["jobs"]),
                ", ".join(node["jobs"]),
            )
        )
    put(columns, rows, "no nodes yet", flexible="RUNNING")


def services(json: AsJson = False, data_dir: DataDir = None) -> None:
    """List services and how many of their replicas run."""
    with connect(data_dir) as client:
        found = client.services()
    if json:
        put_json(found)
        return
    rows = [(s["id"], s["queue"], f"{s['running']} of {s['replicas']}", ", ".join(s["jobs"])) for s in found]
    put(("SERVICE", "QUEUE", ">RUNNING", "JOBS"), rows, "no services; declare one with kind: Service", flexible="JOBS")


def pools(json: AsJson = False, data_dir: DataDir = None) -> None:
    """List pools of nodes."""
    with connect(data_dir) as client:
        found = client.pools()
    if json:
        put_json(found)
        return
    rows = []
    for pool in found:
        shape = pool["shape"]
        gpus = f"{shape['gpus']} x {shape['gpu_type'] or 'GPU'}" if shape["gpus"] else "-"
        size = f"{shape['cpu']:g} CPU, {memory(shape['memory_mib'])}"
        rows.append((pool["id"], pool["min"], pool["max"], gpus, size, f"${shape['hourly']:.2f}"))
    put(("POOL", ">MIN", ">MAX", "GPUS", "EACH", ">HOURLY"), rows, "no pools; declare one with kind: Pool")


def policy(json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show the policy that decisions follow, as a manifest that `fairway apply -f` takes back."""
    with connect(data_dir) as client:
        found = client.policy()
    if json:
        put_json(found)
        return
    import yaml

    print(yaml.safe_dump(found, sort_keys=False, width=120), end="")


def status(json: AsJson = False, data_dir: DataDir = None) -> None:
    """Say what the control plane is and how much it holds."""
    with connect(data_dir) as client:
        found = client.status()
    if json:
        put_json(found)
        return
    now = int(time.time() * 1000)
    out = console()
    out.print(f"Fairway {found['version']}, process {found['pid']}, up for {span(max(now - found['since_ms'], 0))}")
    out.print(styled(f"  data directory {found['data_dir']}", ""))
    out.print(
        f"  leader number {found['epoch']} of its store, frame {found['seq']} ({ago(found['published_ms'], now)})"
    )
    for trouble in found["troubles"]:
        out.print(styled(f"  {trouble}", "yellow"))
    if found["virtual"]:
        out.print(styled("  some devices are virtual: declared, not found", "yellow"))
