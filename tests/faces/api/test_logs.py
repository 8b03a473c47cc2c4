"""A reader that follows a log sees every byte once and in order, however the log is rotated meanwhile."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from fairway.adapters.executors.local.logs import rotate
from fairway.faces.api import logs

STEPS = st.lists(st.one_of(st.binary(min_size=1, max_size=20), st.sampled_from(["rotate", "read"])), max_size=40)


def write(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def read_on(path: Path, cursor: str, limit: int) -> tuple[bytes, str]:
    """Everything there is now, in pieces of ``limit`` bytes."""
    data, more = b"", True
    while more:
        chunk = logs.read(path, cursor, limit)
        assert len(chunk.data) <= limit
        data, cursor, more = data + chunk.data, chunk.cursor, chunk.more
    return data, cursor


@given(STEPS, st.integers(1, 30))
def test_following_a_log_over_rotations(steps: list[bytes | str], limit: int) -> None:
    # Parts that are dropped are another test.
    with TemporaryDirectory() as folder:
        path = Path(folder) / "0.out"
        path.touch()
        written, seen, cursor = b"", b"", ""
        for step in steps:
            if isinstance(step, bytes):
                write(path, step)
                written += step
            elif step == "read":
                data, cursor = read_on(path, cursor, limit)
                seen += data
                assert seen == written
            else:
                rotate(str(path), keep=100)
        data, _ = read_on(path, cursor, limit)
        assert seen + data == written


def test_reading_from_the_beginning_begins_with_the_oldest_part_that_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "0.out"
    for part in (b"one\n", b"two\n", b"three\n"):
        write(path, part)
        rotate(str(path), keep=2)
    write(path, b"four\n")
    assert read_on(path, "", 3)[0] == b"two\nthree\nfour\n"


def test_a_reader_of_a_part_that_was_dropped_goes_on_with_the_oldest_there_is(tmp_path: Path) -> None:
    path = tmp_path / "0.out"
    write(path, b"one\n")
    rotate(str(path), keep=1)
    cursor = logs.read(path, "", 2).cursor
    write(path, b"two\n")
    rotate(str(path), keep=1)
    write(path, b"three\n")
    assert read_on(path, cursor, 100)[0] == b"two\nthree\n"


@given(st.lists(st.sampled_from([b"a\n", b"bb\n", b"rotate"]), max_size=12), st.integers(1, 6))
def test_the_tail_is_the_last_lines_over_all_parts(steps: list[bytes], lines: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "0.out"
        path.touch()
        written = b""
        for step in steps:
            if step == b"rotate":
                rotate(str(path), keep=100)
            else:
                write(path, step)
                written += step
        chunk = logs.tail(path, lines)
        assert chunk.data == b"".join(written.splitlines(keepends=True)[-lines:])
        write(path, b"after\n")
        assert read_on(path, chunk.cursor, 100)[0] == b"after\n"


def test_a_log_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "0.out"
    assert logs.read(path) == logs.Chunk(b"", "", False)
    assert logs.tail(path, 5) == logs.Chunk(b"", "", False)
    write(path, b"begun")
    begun = logs.read(path, "")
    assert begun.data == b"begun"
    path.unlink()
    assert logs.read(path, begun.cursor).data == b""
