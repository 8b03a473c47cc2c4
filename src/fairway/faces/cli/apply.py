"""``apply``: declare queues, services, pools, jobs and the policy from files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairway.faces.cli.common import AsJson, DataDir, connect, put_json, read_text
from fairway.faces.cli.tables import console, styled

if TYPE_CHECKING:
    from fairway.faces.client import Client


def apply(
    files: Annotated[
        list[Path], typer.Option("--file", "-f", help="A file of manifests, or - for the standard input.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also accept jobs that cannot run on what there is now.")
    ] = False,
    token: Annotated[
        str, typer.Option("--token", help="Accept the same token only once, however often it is sent.")
    ] = "",
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Declare what files of manifests say: all of it, or nothing."""
    with connect(data_dir) as client:
        applied = hand_in(client, files, token=token, dry_run=dry_run, force=force)
    if json:
        put_json(applied)
    else:
        for each in applied:
            print_applied(each, dry_run)


def hand_in(client: "Client", files: list[Path], *, token: str, dry_run: bool, force: bool) -> list[dict[str, Any]]:
    """Apply files in order. Several are all checked before any is accepted."""
    texts = [read_text(file) for file in files]
    if len(texts) > 1 and not dry_run:
        for text, source in texts:
            client.apply(text, source=source, dry_run=True, allow_unfit=force)
    applied: list[dict[str, Any]] = []
    for index, (text, source) in enumerate(texts):
        own = f"{token}/{index}" if token else None
        applied += client.apply(text, source=source, token=own, dry_run=dry_run, allow_unfit=force)
    return applied


def print_applied(each: dict[str, Any], dry_run: bool) -> None:
    """One line for each manifest, and one for each field that changes."""
    out = console()
    would = "would be " if dry_run else ""
    if each["kind"] == "Job":
        count = f" ({each['count']} jobs)" if each["count"] > 1 else ""
        print(f"job {each['name']} would be submitted{count}" if dry_run else f"{each['id']}{count}")
    else:
        named = " ".join(filter(None, (each["kind"].lower(), each["name"])))
        print(f"{named} {would}{each['action']}")
    for change in each["changes"]:
        out.print(styled(f"  {change['field']}: {change['from']} -> {change['to']}", "dim"))
    if each["warning"]:
        console(stderr=True).print(styled(f"warning: {each['name']} {each['warning']}", "yellow"))
