"""Reserving devices for a queue from the command line."""

import json
import time

import pytest

from fairway.testing.polling import wait_for
from tests.faces.plane import RunningPlane

pytestmark = pytest.mark.real


def test_what_is_reserved_is_listed_kept_and_given_up(plane: RunningPlane) -> None:
    queue = {"kind": "Queue", "name": "booker"}
    assert plane.cli("apply", "-f", "-", text=json.dumps(queue)).code == 0
    wait_for(lambda: [each for each in plane.cli("queues", "--json").json if each["id"] == "booker"], "the queue")
    gpus = plane.cli("nodes", "--json").json[0]["gpus"]
    asked = ("reserve", "night", "--queue", "booker", "--gpus", str(gpus), "--for", "2h")
    assert plane.cli(*asked, "--dry-run").out == "reservation night would be created\n"
    assert plane.cli("reservations", "--json").json == []
    made = plane.cli(*asked, "--json").json
    assert (made["phase"], made["missing"], made["by"] != "") == ("active", 0, True)
    listed = plane.cli("reservations").out
    assert "night" in listed
    assert time.strftime("%Y-%m-%d %H:%M", time.localtime(made["end_ms"] / 1000)) in listed, "local time"
    again = plane.cli("reserve", "other", "--queue", "booker", "--gpus", str(gpus), "--start", "1h", "--for", "2h")
    assert again.code == 5
    assert f"largest possible then is 0 GPU: there are {gpus} GPUs in all; {gpus} are booked by night" in again.error
    taken = plane.cli("reserve", "night", "--queue", "booker", "--gpus", "1", "--for", "1h")
    assert taken.code == 4
    assert "unreserve it first" in taken.error
    job = plane.cli("submit", "--gpus", "1", "--", "true").out.strip()
    wait_for(lambda: plane.cli("show", job, "--json").json["reason"].startswith("kept for reservation night"), "why")
    assert plane.cli("unreserve", "night").out == "night is no longer reserved\n"
    assert plane.until(job)["phase"] == "succeeded"
    assert plane.cli("unreserve", "night").code == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--queue", "default", "--for", "1h"), "say how many gpus, or how many whole nodes"),
        (("--queue", "default", "--gpus", "1"), "write either end, or for which duration"),
        (("--queue", "nobody", "--gpus", "1", "--for", "1h"), "nobody"),
        (("--queue", "default", "--gpus", "3", "--per-node", "2", "--for", "1h"), "3 GPUs are not nodes of 2 each"),
    ],
)
def test_what_cannot_be_reserved_is_refused_with_its_field(
    plane: RunningPlane, options: tuple[str, ...], says: str
) -> None:
    outcome = plane.cli("reserve", "wrong", *options)
    assert outcome.code in (2, 3)
    assert says in outcome.err
