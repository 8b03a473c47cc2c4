"""Reading what a task wrote, from the oldest part that is kept to the newest byte, over rotations.

A log is ``path`` with older parts beside it as ``path.1`` (the newest of them), ``path.2`` ... A rotation copies
``path`` to a new ``path.1`` and empties it: what a reader was in the middle of has another name and inode then, but
still comes after the same part. So a place in ``path`` itself is an offset and the inode of the part before (0 for
none), a place in an older part is an offset and that part's own inode.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LogPath = Callable[[str, int, int, str], Path]
"""Where attempt n of a job keeps what a rank writes to a stream: (job, n, rank, ``out`` or ``err``)."""

MOST_BYTES = 1 << 20
MOST_PARTS = 100


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a log, the place after them, and whether there is more to be had right now."""

    data: bytes
    cursor: str
    more: bool


@dataclass(frozen=True, slots=True)
class _Part:
    path: str
    inode: int
    size: int


def read(path: Path, cursor: str = "", limit: int = MOST_BYTES) -> Chunk:
    """What comes after ``cursor``, at most ``limit`` bytes; from the beginning without one. Nothing is there yet while
    the task has not begun."""
    parts = _parts(path)
    index, offset = _place(parts, cursor)
    data = bytearray()
    while index < len(parts):
        part = parts[index]
        piece = _bytes(part.path, offset, min(limit - len(data), max(part.size - offset, 0)))
        data += piece
        offset += len(piece)
        if len(data) >= limit or index == len(parts) - 1:
            break
        index, offset = index + 1, 0
    if not parts:
        return Chunk(b"", "", False)
    more = offset < parts[index].size or index < len(parts) - 1
    return Chunk(bytes(data), _cursor(parts, index, offset), more)


def tail(path: Path, lines: int, limit: int = MOST_BYTES) -> Chunk:
    """The last ``lines`` lines, at most ``limit`` bytes of them, and the place after them."""
    parts = _parts(path)
    data = b""
    for part in reversed(parts):
        size = min(limit - len(data), part.size)
        data = _bytes(part.path, part.size - size, size) + data
        if len(data) >= limit or data.count(b"\n") > lines:
            break
    kept = b"".join(data.splitlines(keepends=True)[-lines:]) if lines else b""
    return Chunk(kept, _cursor(parts, len(parts) - 1, parts[-1].size) if parts else "", False)


def _parts(path: Path) -> list[_Part]:
    """The parts there are, oldest first."""
    found: list[_Part] = []
    for number in range(MOST_PARTS):
        name = f"{path}.{number}" if number else str(path)
        try:
            status = os.stat(name)
        except FileNotFoundError:
            break
        found.append(_Part(name, status.st_ino, status.st_size))
    return found[::-1]


def _cursor(parts: list[_Part], index: int, offset: int) -> str:
    if index < len(parts) - 1:
        return f"in:{parts[index].inode}:{offset}"
    return f"after:{parts[index - 1].inode if index else 0}:{offset}"


def _place(parts: list[_Part], cursor: str) -> tuple[int, int]:
    kind, _, rest = cursor.partition(":")
    inode, _, offset = rest.partition(":")
    if not parts or kind not in ("in", "after") or not (inode.isdecimal() and offset.isdecimal()):
        return 0, 0
    inodes = [part.inode for part in parts[:-1]] if kind == "in" else [0, *(part.inode for part in parts[:-1])]
    if int(inode) not in inodes or parts[inodes.index(int(inode))].size < int(offset):
        return 0, 0  # that part has been dropped: go on with the oldest there is
    return inodes.index(int(inode)), int(offset)


def _bytes(path: str, offset: int, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        return b""  # rotated away between two looks: the next read finds the part under its new name
