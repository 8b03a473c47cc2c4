"""The repository works anywhere: it names no machine's folders and no registry, and its lock is whole."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, tracked

# Put together here, so that this file does not hold what it looks for.
HOMES = "|".join(("work", "root", "home", "tmp", "Users"))
FOLDERS = re.compile("(?<![\\w.$}*-])/(?:" + HOMES + ")/")
HOSTS = ("pypi org", "pythonhosted org", "anaconda org", "npmjs org", "docker io", "ghcr io", "gcr io", "quay io")
REGISTRIES = re.compile("|".join(re.escape(host.replace(" ", ".")) for host in HOSTS), re.IGNORECASE)
ADDRESS = re.compile(r"://|\bfile:|^\s*-(?:i|f)\b|--(?:extra-)?index|--find-links|--trusted-host|\s@\s", re.MULTILINE)
PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", re.MULTILINE)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def texts() -> list[tuple[str, str]]:
    """Every tracked text file: (path, text)."""
    found: list[tuple[str, str]] = []
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" not in raw[:8192]:
            found.append((path.relative_to(ROOT).as_posix(), raw.decode("utf-8", "replace")))
    return found


def lines(pattern: re.Pattern[str], text: str) -> list[int]:
    """The numbers of the lines that match."""
    return [number for number, line in enumerate(text.splitlines(), 1) if pattern.search(line)]


def test_no_file_names_a_folder_of_some_machine() -> None:
    assert {path: found for path, text in texts() if (found := lines(FOLDERS, text))} == {}


def test_no_file_names_a_registry() -> None:
    assert {path: found for path, text in texts() if (found := lines(REGISTRIES, text))} == {}


def test_folders_and_registries_are_noticed() -> None:
    folder, other = "/" + "tmp/x", "'/" + "home/me/y'"
    assert lines(FOLDERS, f"a = 1\ncd {folder}\nopen({other})\n") == [2, 3]
    assert lines(FOLDERS, "api/home/x\n$d/tmp/x\n") == []
    assert lines(REGISTRIES, "see files.Python" + "Hosted.org\n") == [1]


@pytest.mark.parametrize("name", ["runtime.txt", "dev.txt"])
def test_the_lock_is_whole_and_names_no_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    assert lines(ADDRESS, text) == []
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(entries) > 10
    assert [entry for entry in entries if not PIN.match(entry) or "--hash=sha256:" not in entry] == []


def pins(name: str) -> dict[str, str]:
    """Package: version, from one of the locks."""
    return dict(PIN.findall((ROOT / "requirements" / name).read_text("utf-8")))


def normal(requirement: str) -> str:
    """The package that a requirement is about, as the locks spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]).lower()


def test_the_lock_holds_everything_that_the_project_asks_for() -> None:
    runtime, dev = pins("runtime.txt"), pins("dev.txt")
    project = PROJECT["project"]
    extras = [item for extra in project["optional-dependencies"].values() for item in extra]
    tools = [*PROJECT["dependency-groups"]["dev"], *PROJECT["build-system"]["requires"]]
    wanted = [*project["dependencies"], *extras, *tools]
    assert {normal(item) for item in project["dependencies"]} - runtime.keys() == set()
    assert {normal(item) for item in wanted} - dev.keys() == set()
    assert {name: version for name, version in runtime.items() if dev.get(name) != version} == {}


def test_a_lock_that_names_its_source_stays_out() -> None:
    assert [path.name for path in tracked() if path.name == "uv.lock"] == []


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    documented = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert set(phony[1].split()) == documented


def test_the_licence_is_there_in_full() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "END OF TERMS AND CONDITIONS" in text
    assert Path(ROOT / "NOTICE").exists()
