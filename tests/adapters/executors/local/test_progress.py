"""Progress files: what a program says of itself, however it writes it."""

import os
from math import isfinite
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.adapters.executors.local.progress import Measure, ProgressFile, Report, parse
from fairway.model.time import Instant

NOTHING = Report()
WRITTEN = Instant(1_000_000)


@pytest.fixture
def file(tmp_path: Path) -> ProgressFile:
    return ProgressFile(str(tmp_path / "progress"))


def write(file: ProgressFile, text: str, *, at: int, append: bool = False) -> None:
    """Write at an instant in milliseconds, as the file system would note it."""
    with open(file.path, "a" if append else "w") as out:
        out.write(text)
    os.utime(file.path, ns=(at * 1_000_000, at * 1_000_000))


def test_no_file_says_nothing(file: ProgressFile) -> None:
    assert file.poll() is None
    assert file.report == NOTHING


def test_a_report_is_told_once(file: ProgressFile) -> None:
    write(file, "step=10 total=100\n", at=5)
    assert file.poll() == Report(10, 100)
    assert file.poll() is None
    write(file, "step=10 total=100\n", at=6)
    assert file.poll() is None, "nothing new was said"


def test_writing_over_with_the_same_length_is_seen(file: ProgressFile) -> None:
    write(file, "step=10\n", at=5)
    file.poll()
    write(file, "step=11\n", at=6)
    assert file.poll() == Report(11)


def test_half_a_line_does_not_count(file: ProgressFile) -> None:
    write(file, "step=1", at=5)
    assert file.poll() is None
    write(file, "0\nstep=2", at=6, append=True)
    assert file.poll() == Report(10)
    write(file, "0\n", at=7, append=True)
    assert file.poll() == Report(20)


def test_a_bare_checkpoint_was_taken_when_it_was_written(file: ProgressFile) -> None:
    write(file, "step=10 checkpoint\n", at=5_000)
    assert file.poll() == Report(10, None, Instant(5_000))
    write(file, "step=11\n", at=6_000, append=True)
    assert file.poll() == Report(11, None, Instant(5_000))


def test_a_checkpoint_that_was_overtaken_between_two_looks_counts(file: ProgressFile) -> None:
    write(file, "step=1\n", at=1_000)
    file.poll()
    write(file, "step=2 checkpoint\nstep=3\n", at=2_000, append=True)
    assert file.poll() == Report(3, None, Instant(2_000))


def test_a_time_of_its_own_goes_before_the_files(file: ProgressFile) -> None:
    write(file, "step=10 checkpoint time=4321\nstep=12 time=5555\n", at=9_000)
    assert file.poll() == Report(12, None, Instant(4_321))


def test_at_first_sight_an_old_bare_checkpoint_has_no_age(file: ProgressFile) -> None:
    """After a restart nobody knows when it was written; the latest possible instant would promise too much."""
    write(file, "step=10 checkpoint\nstep=11\n", at=9_000)
    assert file.poll() == Report(11)


def test_checkpoints_never_go_back(file: ProgressFile) -> None:
    write(file, "checkpoint time=900\n", at=1_000)
    assert file.poll() == Report(None, None, Instant(900))
    write(file, "checkpoint time=800\n", at=2_000)
    assert file.poll() is None


def test_a_file_that_was_removed_changes_nothing(file: ProgressFile) -> None:
    write(file, "step=1 checkpoint\n", at=1_000)
    file.poll()
    os.unlink(file.path)
    assert file.poll() is None
    assert file.report == Report(1, None, Instant(1_000))


def test_only_the_end_of_a_long_file_is_read(file: ProgressFile) -> None:
    write(file, "".join(f"step={i} {'x' * 100}\n" for i in range(20_000)), at=1_000)
    assert file.poll() == Report(19_999)


def test_a_line_longer_than_what_is_read_says_nothing(file: ProgressFile) -> None:
    write(file, "step=1 " + "x" * 200_000 + "\n", at=1_000)
    assert file.poll() is None


def test_bytes_that_are_no_text_stop_nobody(file: ProgressFile) -> None:
    Path(file.path).write_bytes(b"\xff\xfe step=\xc3\nstep=4 \xff\n")
    assert file.poll() == Report(4)


def test_what_was_measured_is_told_with_what_cannot_be(file: ProgressFile) -> None:
    write(file, "step=1 batch=64 workers=2 throughput=3e2 noise=1200\n", at=5)
    assert file.poll() == Report(1, None, None, Measure(64, 2, 1, 300.0, None, 1200.0))
    write(file, "step=2 batch=64 throughput=nan noise=-4 compute=inf accumulate=x\n", at=6)
    found = file.poll()
    assert found is not None
    assert found.measure == Measure(64)
    assert found.wrong == ("throughput=nan", "noise=-4", "compute=inf", "accumulate=x")
    write(file, "step=3\n", at=7)
    assert file.poll() == Report(3, None, None, Measure(64)), "it stays known"


@given(
    st.sampled_from(["batch", "workers", "accumulate", "throughput", "compute", "noise"]),
    st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), max_size=40) | st.integers().map(str)
    | st.floats().map(repr),
)  # fmt: skip
def test_no_measured_number_is_anything_but_finite_and_above_0(key: str, value: str) -> None:
    found = parse(f"step=1 {key}={value}", 1, WRITTEN, NOTHING).measure
    number = None if found is None else getattr(found, key)
    assert number is None or (isfinite(number) and number > 0)
    if isinstance(number, int):
        assert number < 1 << 63


WORDS = st.lists(
    st.one_of(
        st.sampled_from(["checkpoint", "step=", "step=-1", "step=1.5", "total=x", "step=²", "=", "time="]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    )
)


@given(words=WORDS, step=st.integers(0, 10**12), total=st.integers(0, 10**12))
def test_words_that_nobody_knows_are_passed_over(words: list[str], step: int, total: int) -> None:
    noise = [word for word in " ".join(words).split() if not word.startswith(("step=", "total=")) or "=" not in word]
    report = parse(" ".join([*noise, f"step={step}", f"total={total}"]), 1, WRITTEN, NOTHING)
    assert (report.step, report.total) == (step, total)


@given(text=st.text(), fresh=st.integers(0, 5))
def test_nothing_a_program_writes_raises(text: str, fresh: int) -> None:
    report = parse(text, fresh, WRITTEN, NOTHING)
    assert report.step is None or report.step >= 0


@given(st.lists(st.tuples(st.integers(0, 1_000), st.booleans()), min_size=1))
def test_appending_and_writing_over_say_the_same(reports: list[tuple[int, bool]]) -> None:
    """Looked at after every line, the file tells the last step and the last checkpoint either way."""
    appended = overwritten = NOTHING
    text = ""
    for number, (step, checkpoint) in enumerate(reports):
        line = f"step={step}{' checkpoint' if checkpoint else ''}\n"
        text += line
        appended = parse(text, 1, Instant(number), appended)
        overwritten = parse(line, 1, Instant(number), overwritten)
    last = max((i for i, (_, checkpoint) in enumerate(reports) if checkpoint), default=None)
    assert appended == overwritten == Report(reports[-1][0], None, None if last is None else Instant(last))
