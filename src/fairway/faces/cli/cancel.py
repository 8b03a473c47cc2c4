"""``cancel``."""

from typing import TYPE_CHECKING, Annotated

import typer

from fairway.faces.cli.common import AsJson, DataDir, connect, interactive, put_json

if TYPE_CHECKING:
    from fairway.faces.client import Client


def cancel(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="JOB...", help="Ids of jobs, or of arrays for all of theirs.")
    ] = None,
    queue: Annotated[str, typer.Option("--queue", "-q", help="Every job in this queue and those below it.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every job there is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Cancel jobs. A running program gets SIGTERM, then SIGKILL after its grace. This cannot be undone."""
    from fairway.faces.errors import several
    from fairway.model.errors import InvalidField

    if bool(jobs) + bool(queue) + every != 1:
        raise InvalidField("JOB", "name the jobs, or --queue QUEUE, or --all")
    with connect(data_dir) as client:
        named = jobs or _chosen(client, queue, yes)
        asked, errors = client.cancel_many(named) if named else ([], [])
    if json:
        put_json(
            {"cancelled": asked, "errors": [{"code": e.code, "message": e.message, "field": e.field} for e in errors]}
        )
    else:
        for job in asked:
            print(f"{job} is told to stop")
        if not named:
            print("nothing to cancel")
    if errors:
        raise several(errors)


def _chosen(client: "Client", queue: str, yes: bool) -> list[str]:
    """Every live job of a queue, or of all, once somebody has said yes."""
    from fairway.model.errors import InvalidField, NotFound

    if queue and queue not in [each["id"] for each in client.queues()]:
        raise NotFound(f"no queue {queue!r}; `fairway queues` lists them", "--queue")
    found = [job["id"] for job in client.jobs(queue=queue, active=1)]
    if found and not yes:
        if not interactive():
            raise InvalidField("--yes", f"is needed to cancel {len(found)} jobs without being asked")
        typer.confirm(
            f"Cancel {len(found)} jobs{f' of {queue}' if queue else ''}? This cannot be undone.", abort=True, err=True
        )
    return found
