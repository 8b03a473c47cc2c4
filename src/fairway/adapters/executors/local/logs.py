"""Keeping logs small. The program holds its file open, so a log is copied and shortened in place, never replaced.

What the program writes between the last byte copied and the shortening, some microseconds, is lost with it. A file may
grow beyond its limit by what is written between two looks at it.
"""

import os
import shutil


def oversized(path: str, limit: int) -> bool:
    """Whether a log is larger than ``limit`` bytes."""
    try:
        return os.stat(path).st_size > limit
    except OSError:
        return False  # not there yet, or removed by hand: nothing to keep small


def rotate(path: str, keep: int) -> None:
    """Move the content of a log to ``path.1``, older parts one up, and drop what is above ``path.<keep>``.

    The file itself stays and is empty: it must be open for appending, or its writer would leave a hole.
    Raises OSError, with nothing lost, when there is no room for the copy.
    """
    with open(path, "r+b") as log:
        if keep:
            fresh = f"{path}.new"
            try:
                with open(fresh, "wb") as copy:
                    shutil.copyfileobj(log, copy, 1 << 20)
            except OSError:
                os.unlink(fresh)
                raise
            for number in range(keep, 1, -1):
                if os.path.exists(f"{path}.{number - 1}"):
                    os.replace(f"{path}.{number - 1}", f"{path}.{number}")
            os.replace(fresh, f"{path}.1")
        log.truncate(0)
