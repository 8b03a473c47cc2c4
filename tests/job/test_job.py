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
from fairway.adapters.executors.local.progress import Measure, ProgressFile

SOURCE = Path(fairway.job.__file__)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as a program finds it: nothing called yet, no Fairway around, SIGTERM as it was."""
    for name in [name for name in os.environ if name.startswith("FAIRWAY_")]:
        monkeypatch.delenv(name)
    fresh = {"_listening": False, "_stop_asked": False, "_last_checkpoint": "", "_last_measured": "", "_since": None}
    for name, value in fresh.items():
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


@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 10**18 - 1), st.none() | st.integers(0, 10**18 - 1), st.booleans()),
        min_size=1,
    )
)
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


@pytest.mark.parametrize("wrong", [{"step": -1}, {"total": -5}, {"step": -(10**18)}])
def test_a_count_below_zero_is_refused(job: ModuleType, progress: ProgressFile, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is -"):
        job.report(**wrong)
    assert progress.poll() is None


def test_a_count_that_no_number_of_64_bits_holds_is_refused(job: ModuleType, progress: ProgressFile) -> None:
    with pytest.raises(ValueError, match="nobody counts so far"):
        job.report(step=10**18)
    assert progress.poll() is None


def test_what_is_measured_is_understood(
    job: ModuleType, progress: ProgressFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("FAIRWAY_ACCUMULATE", "2")
    job.report(step=3, batch=256, throughput=3400.5, compute=0.07, noise=1e3)
    job.report(step=4)  # what was measured stays
    found = progress.poll()
    assert found is not None
    assert (found.step, found.measure) == (4, Measure(256, 4, 2, 3400.5, 0.07, 1000.0))
    assert found.wrong == ()


def test_examples_are_counted_from_report_to_report(
    job: ModuleType, progress: ProgressFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 0.1, 1.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr(job.time, "monotonic_ns", lambda: round(next(now) * 1e9))

    def measured(step: int, batch: int, checkpoint: bool = False) -> float | None:
        job.report(step=step, batch=batch, checkpoint=checkpoint)
        progress.poll()
        return progress.report.measure.throughput if progress.report.measure else None

    assert measured(0, 64) is None, "nothing to compare with"
    assert measured(1, 64) is None, "too short a time"
    assert measured(10, 64) == pytest.approx(640)
    assert measured(20, 64, checkpoint=True) == pytest.approx(640), "saving took part of the time"
    assert measured(40, 64) == pytest.approx(1280)
    assert measured(50, 128) == pytest.approx(1280), "another batch: counted anew"


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0}, {"batch": 64, "throughput": -1.0}, {"batch": 64, "throughput": float("nan")},
        {"batch": 64, "compute": float("inf")}, {"noise": 0.0}, {"noise": -3.0}, {"batch": 64, "accumulate": 0},
    ],
)  # fmt: skip
def test_measurements_that_cannot_be_are_refused(
    job: ModuleType, progress: ProgressFile, wrong: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=f"{list(wrong)[-1]} is "):
        job.report(step=1, **wrong)
    with pytest.raises(ValueError, match="batch is missing"):
        job.report(step=1, throughput=10.0)
    assert progress.poll() is None


def test_it_is_told_its_batch_size_or_keeps_its_own(job: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (job.batch_size(256), job.local_batch_size(32), job.accumulate()) == (256, 32, 1)
    for name, value in (("BATCH_SIZE", 512), ("LOCAL_BATCH_SIZE", 64), ("ACCUMULATE", 2)):
        monkeypatch.setenv(f"FAIRWAY_{name}", str(value))
    assert (job.batch_size(256), job.local_batch_size(32), job.accumulate()) == (512, 64, 2)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e6), st.integers(1, 64), st.integers(2, 64))
def test_the_noise_scale_of_exact_norms_is_exact(square: float, variance: float, local: int, workers: int) -> None:
    """The expected squared norm of a gradient over n examples is square + variance / n."""
    batch = local * workers
    found = fairway.job.noise_scale(square + variance / local, square + variance / batch, local, batch)
    assert found == pytest.approx(variance / square, rel=1e-3)


def test_norms_that_contradict_each_other_have_no_noise_scale() -> None:
    assert fairway.job.noise_scale(1.0, 2.0, 8, 64) is None
    assert fairway.job.noise_scale(100.0, 1.0, 8, 64) is None
    with pytest.raises(ValueError, match="large_batch is 8"):
        fairway.job.noise_scale(1.0, 1.0, 8, 8)


def test_none_of_it_needs_anything_but_the_standard_library(tmp_path: Path) -> None:
    """Neither PyTorch nor NumPy nor the rest of Fairway: a copy of the file does all of it, and loads nothing else."""
    (tmp_path / "job.py").write_bytes(SOURCE.read_bytes())
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import job\n"
        "local, batch = job.local_batch_size(8), job.batch_size(32)\n"
        "job.report(step=1, total=9, batch=batch, throughput=100.0, noise=job.noise_scale(2.0, 1.5, local, batch))\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'__main__'}))"
    )
    path = tmp_path / "progress"
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code, str(tmp_path)],
        env={"FAIRWAY_PROGRESS": str(path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["job"]
    assert "batch=32 throughput=100.0 noise=" in path.read_text()


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
    assert used == set(fairway.job.__all__) - {"YIELDED"}
    assert used <= set(fairway.job.__all__)
