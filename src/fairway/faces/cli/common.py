"""What the commands share: their common options, the client, and plain text in and out."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fairway.faces.client import Client

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Data directory of the control plane; $FAIRWAY_HOME, or the user's own, if not given."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")]


def connect(data_dir: Path | None, patience: float = 0.0) -> "Client":
    """A client of the control plane on this data directory."""
    from fairway.faces.client import Client, Target

    return Client(Target.of(data_dir), patience=patience)


def put_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2))


def note(text: str) -> None:
    """Tell a person something that is not the command's output."""
    print(text, file=sys.stderr, flush=True)


def interactive() -> bool:
    """Whether a person is at the other end."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def read_text(file: Path) -> tuple[str, str]:
    """The text of a file and what to call it; ``-`` is the standard input. Raises NotFound, InvalidField."""
    from fairway.model.errors import InvalidField, NotFound

    if str(file) == "-":
        return sys.stdin.read(), "stdin"
    try:
        return file.read_text("utf-8"), file.name
    except FileNotFoundError:
        raise NotFound("there is no such file", str(file)) from None
    except UnicodeDecodeError as error:
        raise InvalidField(str(file), f"byte {error.start} is not UTF-8: save the file as UTF-8") from None
    except OSError as error:
        raise InvalidField(str(file), f"cannot be read: {error.strerror}") from None
