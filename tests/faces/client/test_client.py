"""The client: what happens when the control plane goes away in the middle; errors arrive as they were raised."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from fairway.faces.client import Client, Target
from fairway.faces.errors import errors_of, from_body, several, to_body
from fairway.faces.paths import SOCKET, short_socket
from fairway.model.errors import ERRORS, FairwayError, InvalidField, NotFound, Refused, Unavailable
from fairway.testing.polling import wait_for
from tests.faces.plane import RunningPlane

JOB = {"kind": "Job", "name": "j", "command": ["true"], "request": {"cpu": "100m"}}


@pytest.mark.parametrize("kind", ERRORS.values(), ids=lambda kind: kind.__name__)
def test_every_error_is_raised_again_as_it_was(kind: type[FairwayError]) -> None:
    error = InvalidField("a.b", "says what") if kind is InvalidField else kind("says what", "a.b")
    again = from_body(json.loads(json.dumps(to_body(error))))
    assert (type(again), again.message, again.field, again.exit_code) == (kind, "says what", "a.b", kind.exit_code)


def test_several_errors_stay_several() -> None:
    error = several([NotFound("one", "x"), Refused("two", "y")])
    again = from_body(to_body(error))
    assert isinstance(again, NotFound)
    assert [(type(each), str(each)) for each in errors_of(again)] == [(NotFound, "x: one"), (Refused, "y: two")]


def test_an_error_of_a_newer_server_is_an_error_all_the_same() -> None:
    assert type(from_body({"code": "out_of_moonlight", "message": "wait"})) is FairwayError


def test_nobody_there(tmp_path: Path) -> None:
    with Client(Target(tmp_path)) as client, pytest.raises(Unavailable, match="start one with `fairway up`"):
        client.jobs()


def test_an_address_where_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with (
            Client(Target(tmp_path, url, "t")) as client,
            pytest.raises(Unavailable, match="no control plane answers at"),
        ):
            client.status()


@contextmanager
def rude(folder: Path, times: int) -> Iterator[list[bytes]]:
    """A server that hangs up on so many requests after it has read them, and then goes away for good."""
    heard: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    with short_socket(folder / SOCKET) as name:
        listener.bind(name)
    listener.listen()

    def serve() -> None:
        for _ in range(times):
            peer, _ = listener.accept()
            heard.append(whole(peer))
            peer.close()
        listener.close()
        (folder / SOCKET).unlink()

    thread = threading.Thread(target=serve)
    thread.start()
    yield heard
    thread.join()


def whole(peer: socket.socket) -> bytes:
    """One request with its body, which may come in pieces."""
    data = peer.recv(65536)
    while not data.endswith(b"}"):
        data += peer.recv(65536)
    return data


def token_in(request: bytes) -> str:
    return json.loads(request.partition(b"\r\n\r\n")[2])["token"]


def test_a_request_that_was_cut_off_is_sent_again_with_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairway.faces.client.client.RESTART_S", 0.5)
    with rude(tmp_path, 3) as heard, Client(Target(tmp_path)) as client, pytest.raises(Unavailable):
        client.apply([JOB])
    assert len(heard) == 3
    assert len({token_in(request) for request in heard}) == 1


@pytest.mark.real
def test_a_control_plane_that_is_killed_while_clients_submit_loses_and_doubles_nothing(plane: RunningPlane) -> None:
    ids: list[str] = []
    begun = threading.Event()

    def submit() -> None:
        with plane.client(30) as client:
            for _ in range(40):
                ids.extend(each["id"] for each in client.apply([JOB], base=str(plane.work)))
                begun.set()

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        assert begun.wait(30)
        plane.kill()
        plane.start()
        begun.clear()
    for thread in threads:
        thread.join()
    assert len(ids) == len(set(ids)) == 120
    with plane.client(30) as client:
        wait_for(lambda: not client.jobs(active=1), "the jobs to end")
        jobs = client.jobs(name="j")
    assert {job["id"] for job in jobs} == set(ids)
    assert {job["phase"] for job in jobs} == {"succeeded"}


@pytest.mark.real
def test_what_was_submitted_is_found_at_once(plane: RunningPlane) -> None:
    with plane.client() as client:
        for _ in range(10):
            [applied] = client.apply([JOB], base=str(plane.work))
            assert applied["id"] in [job["id"] for job in client.jobs(name="j")]


@pytest.mark.real
def test_only_its_owner_can_open_the_socket(plane: RunningPlane) -> None:
    assert (plane.home / SOCKET).stat().st_mode & 0o777 == 0o600
    assert plane.home.stat().st_mode & 0o077 == 0


@pytest.mark.real
def test_unknown_paths_and_bodies_get_the_one_error_body(plane: RunningPlane) -> None:
    with short_socket(plane.home / SOCKET) as name, httpx.Client(transport=httpx.HTTPTransport(uds=name)) as http:
        answers = [
            http.get("http://x/v1/bogus"),
            http.put("http://x/v1/jobs"),
            http.post("http://x/v1/apply", content=b"{"),
            http.post("http://x/v1/apply", json={"documents": [], "extra": 1}),
            http.post("http://x/v1/apply", json={}),
            http.get("http://x/v1/jobs/nobody-1"),
        ]
    assert [answer.status_code for answer in answers] == [404, 405, 400, 400, 400, 404]
    for answer in answers:
        assert set(answer.json()) <= {"code", "message", "field", "errors"}
        assert answer.json()["code"] in ERRORS
