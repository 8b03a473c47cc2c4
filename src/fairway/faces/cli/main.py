"""The command ``fairway``: every command in one list, and one way out for every error.

Exit codes: 0, the code of the error (see ``fairway.model.errors``: 2 a wrong value, 3 not found, 4 conflict, 5 refused,
6 no control plane, 7 the store), or for ``run`` and ``submit --wait`` that of the job.
"""

import os
import sys

import typer

from fairway.faces.cli import (
    apply,
    cancel,
    cluster,
    control,
    follow,
    jobs,
    keep,
    lists,
    loans,
    reserve,
    simulate,
    submit,
    tools,
)

app = typer.Typer(
    name="fairway",
    help="One allocator for all of an organisation's machine-learning compute.",
    no_args_is_help=True,
    # The options that install completion would stand in every help; `fairway completion` prints the script instead.
    add_completion=tools.COMPLETE in os.environ,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

RUN, LOOK, DECLARE, TOOLS = "Run work", "Look", "Declare and change", "Control plane and tools"

app.command("submit", cls=submit.Command, rich_help_panel=RUN)(submit.submit)
app.command("run", cls=submit.Command, rich_help_panel=RUN)(submit.run)
app.command("logs", rich_help_panel=RUN)(follow.logs)
app.command("cancel", rich_help_panel=RUN)(cancel.cancel)
app.command("hold", rich_help_panel=RUN)(keep.hold)
app.command("release", rich_help_panel=RUN)(keep.release)

app.command("ps", rich_help_panel=LOOK)(jobs.ps)
app.command("show", rich_help_panel=LOOK)(jobs.show)
app.command("explain", rich_help_panel=LOOK)(jobs.explain)
app.command("queues", rich_help_panel=LOOK)(lists.queues)
app.command("nodes", rich_help_panel=LOOK)(lists.nodes)
app.command("loans", rich_help_panel=LOOK)(loans.loans)
app.command("services", rich_help_panel=LOOK)(lists.services)
app.command("pools", rich_help_panel=LOOK)(lists.pools)
app.command("reservations", rich_help_panel=LOOK)(reserve.reservations)
app.command("policy", rich_help_panel=LOOK)(lists.policy)
app.command("status", rich_help_panel=LOOK)(lists.status)

app.command("apply", rich_help_panel=DECLARE)(apply.apply)
app.command("cordon", rich_help_panel=DECLARE)(cluster.cordon)
app.command("uncordon", rich_help_panel=DECLARE)(cluster.uncordon)
app.command("reserve", rich_help_panel=DECLARE)(reserve.reserve)
app.command("unreserve", rich_help_panel=DECLARE)(reserve.unreserve)
app.command("remove", rich_help_panel=DECLARE)(cluster.remove)
app.command("lend", rich_help_panel=DECLARE)(loans.lend)
app.command("recall", rich_help_panel=DECLARE)(loans.recall)

app.command("up", rich_help_panel=TOOLS)(control.up)
app.command("demo", rich_help_panel=TOOLS)(tools.demo)
app.command("simulate", rich_help_panel=TOOLS)(simulate.simulate)
app.command("doctor", rich_help_panel=TOOLS)(tools.doctor)
app.command("schema", rich_help_panel=TOOLS)(tools.schema)
app.command("completion", rich_help_panel=TOOLS)(tools.completion)
app.command("version", rich_help_panel=TOOLS)(tools.version)


def main() -> None:
    """The console script. An error is one line on stderr and an exit code, never a traceback."""
    from fairway.model.errors import FairwayError

    try:
        code = app(prog_name="fairway", standalone_mode=False)
    except FairwayError as error:
        sys.exit(report(error))
    except typer.TyperException as error:
        code = usage(error)
    except typer.Abort:
        code = 130
    except BrokenPipeError:
        # Whoever read us has enough. The interpreter must not try to flush what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code if isinstance(code, int) else 0)


def report(error: Exception) -> int:
    """Print an error, a line for each of what it holds; returns the exit code."""
    from fairway.faces.errors import errors_of
    from fairway.model.errors import FairwayError

    assert isinstance(error, FairwayError)
    for each in errors_of(error):
        print(f"error: {one_line(str(each))}", file=sys.stderr)
    return error.exit_code


def usage(error: typer.TyperException) -> int:
    """Print what is wrong with the command itself, and where its help is; returns the exit code."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "fairway"
    text = one_line(error.format_message()).rstrip(".")
    if text:
        print(f"error: {text}{'' if text.endswith('?') else ';'} `{path} --help` tells more", file=sys.stderr)
    elif context:
        print(context.get_help())
    return error.exit_code


def one_line(text: str) -> str:
    """A message without line breaks, whatever it quotes."""
    return " ".join(text.split())
