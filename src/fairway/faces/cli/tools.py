"""``demo``, ``doctor``, ``schema``, ``completion`` and ``version``."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fairway.faces.cli.common import AsJson, DataDir, put_json
from fairway.faces.cli.tables import console, put, styled

COMPLETE = "_FAIRWAY_COMPLETE"
"""Set by a shell that wants completions."""
SHELLS = ("bash", "zsh", "fish")


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the data directory where it is.")] = False,
    json: AsJson = False,
) -> None:
    """Show real work going through the loop: a dozen programs, three queues, one of them urgent."""
    from fairway.faces.demo.play import play

    raise typer.Exit(play(json=json, keep=keep))


def doctor(
    repair_journal: Annotated[
        bool, typer.Option("--repair-journal", help="Set damaged rows of the store aside; nothing is deleted.")
    ] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Check that Fairway can work here, and say what to do where it cannot."""
    from fairway.faces.doctor import examine, repair
    from fairway.faces.paths import data_dir as folder_of

    folder = folder_of(data_dir)
    if repair_journal:
        print(repair(folder))
        return
    checks = examine(folder)
    if json:
        put_json({"ok": all(check.ok for check in checks), "checks": [check.shape() for check in checks]})
    else:
        style = {"ok": "green", "warning": "yellow", "failed": "red"}
        rows = [(styled(each.level, style[each.level]), each.name, each.text) for each in checks]
        put(("", "CHECK", "FOUND"), rows, "")
        for each in checks:
            if each.cure:
                console().print(styled(f"{each.name}: {each.cure}", style[each.level]))
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


def schema(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it to this file.")] = None,
) -> None:
    """Print the JSON Schema of manifests, for editors."""
    import json

    from fairway.faces.manifests.read import json_schema

    text = json.dumps(json_schema(), indent=2)
    if out is None:
        print(text)
    else:
        out.write_text(text + "\n", "utf-8")


def completion(shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print a script that completes commands: fairway completion bash >> ~/.bashrc."""
    import subprocess

    from fairway.model.errors import InvalidField

    if shell not in SHELLS:
        raise InvalidField("SHELL", f"{shell!r} is none of {', '.join(SHELLS)}")
    environment = {**os.environ, COMPLETE: f"source_{shell}"}
    made = subprocess.run(
        [sys.executable, "-m", "fairway"], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    print(made.stdout, end="")


def version(json: AsJson = False) -> None:
    """Print the version."""
    from fairway import __version__

    if json:
        put_json({"version": __version__})
    else:
        print(f"fairway {__version__}")
