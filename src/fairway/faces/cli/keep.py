"""``hold`` and ``release``."""

from typing import TYPE_CHECKING, Annotated

import typer

from fairway.faces.cli.common import AsJson, DataDir, connect, put_json

if TYPE_CHECKING:
    from fairway.model.errors import FairwayError

Jobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs, or of arrays for all of theirs.")]


def hold(jobs: Jobs, json: AsJson = False, data_dir: DataDir = None) -> None:
    """Keep jobs waiting until they are released. One that runs goes on, but does not start again before that."""
    with connect(data_dir) as client:
        told, errors = client.hold(jobs)
    _say("held", told, errors, json)


def release(jobs: Jobs, json: AsJson = False, data_dir: DataDir = None) -> None:
    """Let jobs go on that are held, or that wait because what they come after did not succeed."""
    with connect(data_dir) as client:
        told, errors = client.release(jobs)
    _say("released", told, errors, json)


def _say(what: str, told: list[str], errors: list["FairwayError"], json: bool) -> None:
    from fairway.faces.errors import several

    if json:
        put_json({what: told, "errors": [{"code": e.code, "message": e.message, "field": e.field} for e in errors]})
    else:
        for job in told:
            print(f"{job} is {what}")
    if errors:
        raise several(errors)
