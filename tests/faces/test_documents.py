"""What README, guides and examples say is true of this version."""

import inspect
import re
import sys
from pathlib import Path

import pytest

from fairway.faces.api import shapes
from fairway.faces.manifests.read import manifests_in
from fairway.faces.manifests.schema import KINDS
from fairway.model.phases import JobPhase
from tests.faces.plane import RunningPlane, fairway

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def commands() -> list[tuple[str, str]]:
    """Every call of the command line in a page, by its file and line of text."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        for block in (*blocks(page, "sh"), *blocks(page, "")):
            found += [(page.name, line) for line in block.splitlines() if line.startswith("fairway ")]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_manifest_in_the_pages_is_one(page: Path) -> None:
    for block in blocks(page, "yaml"):
        assert manifests_in(block, page.name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_manifest(example: Path) -> None:
    assert manifests_in(example.read_text("utf-8"), example.name)


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_in_the_pages_exists_with_its_options(page: str, line: str, tmp_path: Path) -> None:
    words = line.partition("#")[0].split(" -- ")[0].split()
    outcome = fairway(words[1], "--help", home=tmp_path, COLUMNS="200")
    assert outcome.code == 0, line
    for option in [word.partition("=")[0] for word in words[2:] if word.startswith("-")]:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", outcome.out), f"{option} in {line}"


def test_the_guide_to_manifests_shows_every_key() -> None:
    pages = ("docs/guide/manifests.md", "docs/concepts/scheduling.md")
    text = "".join((ROOT / page).read_text("utf-8") for page in pages)
    shown = set(re.findall(r"[a-z_]+", text))
    for kind, model in KINDS.items():
        assert set(model.model_fields) - {"kind"} <= shown, kind


def test_the_guide_to_scripting_names_every_key_of_a_job() -> None:
    text = (ROOT / "docs/guide/scripting.md").read_text("utf-8")
    for make in (shapes.job, shapes.attempt, shapes.queue, shapes.node, shapes.service, shapes.pool):
        keys = set(re.findall(r'^\s+"(\w+)":', inspect.getsource(make), re.MULTILINE))
        assert keys
        assert {key for key in keys if f"`{key}`" not in text} == set(), make.__name__
    assert {phase.value for phase in JobPhase} <= set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.real
def test_the_examples_run(plane: RunningPlane) -> None:
    examples = ["queues.yaml", "train.yaml", "sweep.yaml", "gang.yaml"]
    text = "---\n".join((ROOT / "examples" / name).read_text("utf-8") for name in examples)
    text = text.replace("python3", sys.executable)
    with plane.client() as client:
        applied = client.apply(text, base=str(ROOT / "examples"))
        jobs = [job for each in applied for job in each["jobs"]]
    assert len(jobs) == 8
    for job in jobs:
        assert plane.until(job)["phase"] == "succeeded", plane.cli("logs", job, "--stderr").out
    assert "y = 3." in plane.cli("logs", jobs[0]).out or "y = 2." in plane.cli("logs", jobs[0]).out
    gang = plane.cli("logs", jobs[-1], "--rank", "1").out
    assert re.fullmatch(r"rank 1 of 2 meets the others at 127\.0\.0\.1:\d+\n", gang)
