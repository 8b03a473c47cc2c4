"""A loopback port is for those who know the token; the socket needs none."""

import re
from collections.abc import Iterator

import httpx
import pytest

from fairway.faces.client import Client, Target
from fairway.faces.paths import TOKEN
from tests.faces.plane import RunningPlane, running

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningPlane, str]]:
    folder = tmp_path_factory.mktemp("port")
    with running(folder, "--port", "0") as plane:
        log = (folder / "up.log").read_text("utf-8")
        found = re.search(r"http://127\.0\.0\.1:\d+", log)
        assert found, log
        yield plane, found[0]


def test_the_token_opens_the_port(listening: tuple[RunningPlane, str]) -> None:
    plane, url = listening
    token = (plane.home / TOKEN).read_text("ascii").strip()
    with Client(Target(plane.home, url, token)) as client:
        assert client.status()["data_dir"] == str(plane.home)
    assert plane.cli("status", "--json", FAIRWAY_URL=url, FAIRWAY_TOKEN=token).code == 0
    assert (plane.home / TOKEN).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer no"}, {"Authorization": ""}])
def test_without_it_nothing_is_told(listening: tuple[RunningPlane, str], headers: dict[str, str]) -> None:
    _, url = listening
    answer = httpx.get(f"{url}/v1/status", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["field"] == "Authorization"


def test_a_port_that_is_taken(listening: tuple[RunningPlane, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    plane, url = listening
    outcome = plane.cli("up", "--data-dir", str(tmp_path_factory.mktemp("other")), "--port", url.rpartition(":")[2])
    assert outcome.code == 5
    assert outcome.error.startswith(f"port: {url.rpartition(':')[2]} cannot be taken")
