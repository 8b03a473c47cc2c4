"""The pictures in the documentation show what is decided: drawn again, they are the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def drawn(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every picture, drawn just now."""
    folder = tmp_path_factory.mktemp("pictures")
    command = [sys.executable, "docs/pictures/draw.py", "--out", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(repository / "src"), "PYTHONHASHSEED": "7"}
    subprocess.run(command, cwd=repository, env=environment, check=True, capture_output=True, text=True)
    return folder


def test_the_pictures_are_what_the_script_draws(repository: Path, drawn: Path) -> None:
    kept = {path.name: path.read_bytes() for path in (repository / "docs" / "pictures").glob("*.svg")}
    fresh = {path.name: path.read_bytes() for path in drawn.glob("*.svg")}
    assert len(fresh) > 3
    stale = sorted(name for name in kept.keys() | fresh.keys() if kept.get(name) != fresh.get(name))
    assert not stale, f"decisions have changed: look at {stale} after python docs/pictures/draw.py"


def test_every_picture_is_shown_and_every_picture_shown_is_there(repository: Path, drawn: Path) -> None:
    shown: set[str] = set()
    for page in (repository / "docs").rglob("*.md"):
        shown |= set(re.findall(r"!\[[^\]]+\]\((?:\.\./)*(?:docs/)?pictures/([\w-]+\.svg)\)", page.read_text("utf-8")))
    assert shown == {path.name for path in drawn.glob("*.svg")}
