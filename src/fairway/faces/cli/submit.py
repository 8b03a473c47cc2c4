"""``submit`` and ``run``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from fairway.faces.cli import options as o
from fairway.faces.cli.apply import hand_in, print_applied
from fairway.faces.cli.common import AsJson, DataDir, connect, note, put_json
from fairway.faces.cli.options import Work, option_of, takes_work

if TYPE_CHECKING:
    from fairway.faces.client import Client

_COMMAND = "fairway.command"
RESTART_S = 60.0


class Command(TyperCommand):
    """Everything after ``--`` is the job's command, whatever it looks like."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keeps the command for the function, and lets the rest be parsed."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


@takes_work
def submit(
    ctx: typer.Context,
    work: Work,
    files: o.Files = None,
    force: o.Force = False,
    token: o.Token = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit with the job's code.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check, and say what would be submitted.")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Submit jobs: files of manifests, or a command after --.

    fairway submit -- python train.py --lr 0.1

    fairway submit --gpus 1 --param lr=0.1,0.01 -- python train.py --lr {lr}
    """
    command: list[str] | None = ctx.meta.get(_COMMAND)
    with connect(data_dir) as client:
        applied = _hand_in(client, files or [], command, work, token, dry_run=dry_run, force=force)
    if json and not wait:
        put_json(applied)
    elif not json:
        for each in applied:
            print_applied(each, dry_run)
    if wait and not dry_run:
        _wait([job for each in applied for job in each["jobs"]], data_dir, json)


@takes_work
def run(
    ctx: typer.Context,
    work: Work,
    files: o.Files = None,
    force: o.Force = False,
    token: o.Token = "",
    data_dir: DataDir = None,
) -> None:
    """Submit a job, follow what it writes, and exit with its code. Ctrl-C asks; a second one cancels the job."""
    from fairway.faces.cli.follow import follow_job

    command: list[str] | None = ctx.meta.get(_COMMAND)
    with connect(data_dir, RESTART_S) as client:
        applied = _hand_in(client, files or [], command, work, token, dry_run=False, force=force)
        jobs = [job for each in applied for job in each["jobs"]]
        if len(jobs) == 1:
            raise typer.Exit(follow_job(client, jobs[0]))
    _wait(jobs, data_dir, False)


def _hand_in(
    client: "Client",
    files: list[Path],
    command: list[str] | None,
    work: Work,
    token: str,
    *,
    dry_run: bool,
    force: bool,
) -> list[dict[str, Any]]:
    """Submit what was named on the command line. An error about the command names the option, not the field."""
    from fairway.faces.errors import errors_of
    from fairway.model.errors import FairwayError, InvalidField, NotFound

    if command is None:
        if not files:
            raise InvalidField(
                "FILE", "is missing: name a file, or a command after --: fairway submit -- python train.py"
            )
        if work.given():
            raise InvalidField(work.given()[0], "is for a command after --: write it in the file instead")
        try:
            return hand_in(client, files, token=token, dry_run=dry_run, force=force)
        except NotFound as error:
            if error.field in map(str, files):
                hint = f"there is no such file; a command goes after --: fairway submit -- {' '.join(map(str, files))}"
                raise NotFound(hint, error.field) from None
            raise
    if files:
        raise InvalidField(str(files[0]), "is given and a command too: submit one of them")
    if not command:
        raise InvalidField("COMMAND", "is missing after --: write the program and its arguments")
    try:
        return client.apply([work.manifest(command)], token=token or None, dry_run=dry_run, allow_unfit=force)
    except FairwayError as error:
        for each in errors_of(error):
            each.field = option_of(each.field)
        raise


def _wait(jobs: list[str], data_dir: Path | None, json: bool) -> None:
    """Wait for the end of jobs, and exit with the worst of their codes."""
    from fairway.faces.cli.follow import exit_code, wait_for

    with connect(data_dir, RESTART_S) as client:
        ended = wait_for(client, jobs)
    if json:
        put_json(ended)
    else:
        for job in ended:
            note(f"{job['id']} {job['phase']}" + (f": {job['message']}" if job["message"] else ""))
    sys.stdout.flush()
    raise typer.Exit(max((exit_code(job) for job in ended), default=0))
