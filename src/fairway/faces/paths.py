"""Where Fairway keeps what, and how a socket in a deep folder is reached."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOME = "FAIRWAY_HOME"
"""The variable that names the data directory."""

SOCKET = "fairway.sock"
TOKEN = "token"
STORE = "fairway.db"
VIEWS = "views.db"

_LONGEST_SOCKET = 100
"""The kernel takes 107 bytes."""


def data_dir(given: Path | None = None) -> Path:
    """``given``, or $FAIRWAY_HOME, or the user's data directory."""
    named = given or os.environ.get(HOME)
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("fairway", appauthor=False)


@contextmanager
def short_socket(path: Path) -> Iterator[str]:
    """A name of the socket at ``path`` that is short enough for the kernel while the block lasts."""
    text = str(path)
    if len(os.fsencode(text)) <= _LONGEST_SOCKET:
        yield text
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
