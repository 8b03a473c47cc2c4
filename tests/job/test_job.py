"""The SDK inside jobs: alone, harmless, and understood by the executor."""

import ast
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairway.job
from fairway.adapters.executors.local.progress import ProgressFile

SOURCE = Path(fairway.job.__file__)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as a program finds it: nothing called yet, no Fairway around, SIGTERM as it was."""
    for name in [name for name in os.environ if name.startswith("FAIRWAY_")]:
        monkeypatch.delenv(name)
    for name, value in (("_listening", False), ("_stop_asked", False), ("_last_checkpoint", "")):
        monkeypatch.setattr(fairway.job, name, value)
    before = signal.getsignal(signal.SIGTERM)
    yield fairway.job
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def progress(job: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProgressFile:
    """The executor's side of the file that the program writes."""
    path = str(tmp_path / "progress")
    monkeypatch.setenv("FAIRWAY_PROGRESS", path)
    return ProgressFile(path)


def test_it_needs_nothing_but_python() -> None:
    tree = ast.parse(SOURCE.read_text())
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_a_copy_of_the_file_works_by_itself(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_bytes(SOURCE.read_bytes())
    code = "import job; job.report(step=1); assert job.attempt() == 1; assert not job.should_stop(); job.yield_()"
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    )
    assert done.returncode == 75


def test_it_adds_next_to_nothing_to_the_start_of_a_program() -> None:
    code = "import os, sys; before = set(sys.modules); import fairway.job; print(*set(sys.modules) - before)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert set(loaded.split()) <= {"fairway", "fairway.job", "__future__"}


def test_outside_fairway_nothing_happens(job: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job.report(step=1, total=2, checkpoint=True)
    assert list(tmp_path.iterdir()) == []
    assert job.attempt() == 1
    assert job.checkpoint_dir() == Path("checkpoints")
    assert (tmp_path / "checkpoints").is_dir()


def test_it_knows_its_attempt_and_its_folder(job: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRWAY_ATTEMPT", "3")
    monkeypatch.setenv("FAIRWAY_CHECKPOINT_DIR", str(tmp_path / "c" / "train-1"))
    assert job.attempt() == 3
    assert job.checkpoint_dir().is_dir()


def test_a_report_is_understood(job: ModuleType, progress: ProgressFile) -> None:
    job.report(step=3, total=10)
    found = progress.poll()
    assert found is not None
    assert (found.step, found.total, found.checkpoint) == (3, 10, None)


def test_a_checkpoint_stays_known_when_more_is_reported(job: ModuleType, progress: ProgressFile) -> None:
    job.report(step=3, checkpoint=True)
    at = progress.poll()
    assert at is not None
    assert at.checkpoint is not None
    for step in range(4, 50):
        job.report(step=step)
    fresh = ProgressFile(progress.path)  # as after a restart of the control plane
    found = fresh.poll()
    assert found is not None
    assert (found.step, found.checkpoint) == (49, at.checkpoint)
    assert os.stat(progress.path).st_size < 200, "it does not grow"


@given(st.lists(st.tuples(st.none() | st.integers(0), st.none() | st.integers(0), st.booleans()), min_size=1))
def test_whatever_is_reported_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, reports: list[tuple[int | None, int | None, bool]]
) -> None:
    path = str(tmp_path_factory.mktemp("job") / "progress")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRWAY_PROGRESS", path)
        patch.setattr(fairway.job, "_last_checkpoint", "")
        for step, total, checkpoint in reports:
            fairway.job.report(step, total, checkpoint)
    file = ProgressFile(path)
    file.poll()
    assert (file.report.step, file.report.total) == reports[-1][:2]
    assert (file.report.checkpoint is not None) == any(checkpoint for _, _, checkpoint in reports)


@pytest.mark.parametrize("wrong", [{"step": -1}, {"total": -5}])
def test_a_count_below_zero_is_refused(job: ModuleType, progress: ProgressFile, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is -"):
        job.report(**wrong)
    assert progress.poll() is None


def test_threads_may_report_at_once(job: ModuleType, progress: ProgressFile) -> None:
    failures: list[BaseException] = []

    def work(base: int) -> None:
        try:
            for step in range(200):
                job.report(step=base + step)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(base,)) for base in (0, 1_000, 2_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = progress.poll()
    assert found is not None
    assert found.step in (199, 1_199, 2_199)
    assert os.listdir(os.path.dirname(progress.path)) == ["progress"]


def test_sigterm_is_heard_from_the_first_question_on(job: ModuleType) -> None:
    assert not job.should_stop()
    assert not job.should_stop()
    os.kill(os.getpid(), signal.SIGTERM)
    assert job.should_stop()
    assert job.should_stop(), "it stays so"


def test_a_handler_that_was_there_is_called_too(job: ModuleType) -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    job.should_stop()
    os.kill(os.getpid(), signal.SIGTERM)
    assert job.should_stop()
    assert heard == [signal.SIGTERM]


def test_other_threads_may_ask_once_the_main_one_has(job: ModuleType) -> None:
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(job.should_stop())
        except RuntimeError as error:
            answers.append(str(error))

    for _ in range(2):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        job.should_stop()
    assert "main thread" in str(answers[0])
    assert answers[1] is False


def test_before_the_first_question_sigterm_ends_the_program() -> None:
    code = "import os, signal, fairway.job as job; job.report(); os.kill(os.getpid(), signal.SIGTERM); print('went on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_yielding_cleans_up_and_exits_75() -> None:
    code = "import atexit, fairway.job as job; atexit.register(print, 'cleaned'); job.yield_(); print('went on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (75, "cleaned\n")
    with pytest.raises(SystemExit) as exit_:
        fairway.job.yield_()
    assert exit_.value.code == fairway.job.YIELDED == 75


def test_the_example_in_its_docstring_is_what_there_is() -> None:
    example = ast.parse("\n".join(
        line[4:] for line in (fairway.job.__doc__ or "").splitlines() if line.startswith("    ")
    ))  # fmt: skip
    used = {
        node.attr for node in ast.walk(example) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "job"
    }
    assert used == {"attempt", "checkpoint_dir", "report", "should_stop", "yield_"}
    assert used <= set(fairway.job.__all__)
