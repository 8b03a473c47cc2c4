"""The client: one method per path, the server's errors raised again, and patience while a control plane restarts."""

import getpass
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fairway.faces.errors import from_body
from fairway.faces.paths import SOCKET, data_dir, short_socket
from fairway.model.errors import FairwayError, Unavailable

if TYPE_CHECKING:
    import httpx

URL = "FAIRWAY_URL"
TOKEN = "FAIRWAY_TOKEN"

RESTART_S = 15.0
"""How long a request that was cut off is tried again: a control plane that was killed is back within seconds."""

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """Which control plane: that of a data directory, or one at an address with a token."""

    folder: Path
    url: str = ""
    token: str = ""

    @classmethod
    def of(cls, folder: Path | None = None) -> "Target":
        """A data directory that was named; else $FAIRWAY_URL with $FAIRWAY_TOKEN; else the usual data directory."""
        if folder is None and os.environ.get(URL):
            return cls(data_dir(None), os.environ[URL], os.environ.get(TOKEN, ""))
        return cls(data_dir(folder))

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return self.url or str(self.folder)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a log; ``cursor`` is where to go on."""

    data: bytes
    cursor: str
    more: bool
    attempt: int


class Client:
    """A connection to one control plane, to be closed. Every method raises the errors of ``fairway.model.errors``."""

    def __init__(self, target: Target | None = None, *, patience: float = 0.0, timeout: float = 60.0) -> None:
        """``patience`` seconds are given to a control plane that is not there at first."""
        self.target = target or Target.of()
        self._patience = patience
        self._stack = ExitStack()
        self._timeout = timeout
        self._http: httpx.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        self._http = None
        self._stack.close()

    # -- wishes ---------------------------------------------------------------------------------------------------

    def apply(
        self,
        manifests: str | Sequence[Any],
        *,
        source: str = "manifest",
        token: str | None = None,
        base: str | None = None,
        dry_run: bool = False,
        allow_unfit: bool = False,
    ) -> list[Answer]:
        """Hand in manifests: a YAML text, or documents parsed already. All are accepted, durably, or none is.

        A request that is cut off is sent again with its token, so it is accepted once. ``base`` is the folder that
        working directories start from, the current one by default.
        """
        body: Answer = {
            "token": token or os.urandom(12).hex(),
            "user": user(),
            "base": os.getcwd() if base is None else base,
            "dry_run": dry_run,
            "allow_unfit": allow_unfit,
        }
        if isinstance(manifests, str):
            body |= {"yaml": manifests, "source": source}
        else:
            body["documents"] = list(manifests)
        return self._ask("POST", "/v1/apply", json=body)["applied"]

    def cancel(self, job: str) -> list[str]:
        """Ask a job, or all of an array's, to end; returns their ids."""
        return self._ask("POST", f"/v1/jobs/{_quoted(job)}/cancel", json={"user": user()})["cancelled"]

    def cancel_many(self, jobs: Iterable[str]) -> tuple[list[str], list[FairwayError]]:
        """Ask several jobs to end; returns the ids of those that were asked, and why others were not."""
        answer = self._ask("POST", "/v1/cancel", json={"user": user(), "jobs": list(jobs)})
        return answer["cancelled"], [from_body(body) for body in answer["errors"]]

    def hold(self, jobs: Iterable[str]) -> tuple[list[str], list[FairwayError]]:
        """Keep jobs out of the line; returns the ids of those that were told, and why others were not."""
        answer = self._ask("POST", "/v1/hold", json={"user": user(), "jobs": list(jobs)})
        return answer["held"], [from_body(body) for body in answer["errors"]]

    def release(self, jobs: Iterable[str]) -> tuple[list[str], list[FairwayError]]:
        """Let held jobs go on; returns the ids of those that were told, and why others were not."""
        answer = self._ask("POST", "/v1/release", json={"user": user(), "jobs": list(jobs)})
        return answer["released"], [from_body(body) for body in answer["errors"]]

    def cordon(self, node: str, on: bool = True) -> None:
        """Place nothing more on a node, or place there again."""
        self._ask("POST", f"/v1/nodes/{_quoted(node)}/cordon", json={"on": on})

    def end_loan(self, loan: str) -> None:
        """End a loan early."""
        self._ask("POST", f"/v1/loans/{_quoted(loan)}/end", json={"user": user()})

    def remove_service(self, service: str) -> None:
        """Stop a service and forget it."""
        self._ask("DELETE", f"/v1/services/{_quoted(service)}")

    def unreserve(self, reservation: str) -> None:
        """Give up what a queue has booked."""
        self._ask("DELETE", f"/v1/reservations/{_quoted(reservation)}", json={"user": user()})

    # -- questions ------------------------------------------------------------------------------------------------

    def jobs(self, **filters: Any) -> list[Answer]:
        """Jobs, oldest first, by the filters of ``GET /v1/jobs``."""
        return self._ask("GET", "/v1/jobs", params={k: v for k, v in filters.items() if v})["jobs"]

    def job(self, job: str) -> Answer:
        """One job."""
        return self._ask("GET", f"/v1/jobs/{_quoted(job)}")

    def explain(self, job: str) -> Answer:
        """One job and everything that was decided about it."""
        return self._ask("GET", f"/v1/jobs/{_quoted(job)}/explain")

    def spec(self, job: str) -> Answer:
        """One job as submitted."""
        return self._ask("GET", f"/v1/jobs/{_quoted(job)}/spec")

    def logs(self, job: str, **place: Any) -> Chunk:
        """A piece of a log: ``attempt``, ``rank``, ``stream`` (``stdout``, ``stderr``), ``cursor``, ``tail``."""
        params = {k: v for k, v in place.items() if v is not None and v != ""}
        answer = self._send("GET", f"/v1/jobs/{_quoted(job)}/logs", params=params)
        headers = answer.headers
        return Chunk(
            answer.content, headers["Fairway-Cursor"], headers["Fairway-More"] == "1", int(headers["Fairway-Attempt"])
        )

    def queues(self) -> list[Answer]:
        """Every queue."""
        return self._ask("GET", "/v1/queues")["queues"]

    def loans(self) -> list[Answer]:
        """Every loan that is not long over."""
        return self._ask("GET", "/v1/loans")["loans"]

    def nodes(self) -> list[Answer]:
        """Every node."""
        return self._ask("GET", "/v1/nodes")["nodes"]

    def services(self) -> list[Answer]:
        """Every service."""
        return self._ask("GET", "/v1/services")["services"]

    def pools(self) -> list[Answer]:
        """Every pool."""
        return self._ask("GET", "/v1/pools")["pools"]

    def reservations(self) -> list[Answer]:
        """What queues have booked."""
        return self._ask("GET", "/v1/reservations")["reservations"]

    def policy(self) -> Answer:
        """The policy that decisions follow, as a manifest."""
        return self._ask("GET", "/v1/policy")["policy"]

    def status(self) -> Answer:
        """What the control plane is, and how far it has come."""
        return self._ask("GET", "/v1/status")

    # -- the wire -------------------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, **how: Any) -> Answer:
        return self._send(method, path, **how).json()

    def _send(self, method: str, path: str, **how: Any) -> "httpx.Response":
        """The answer to a request; the server's error is raised again.

        A control plane that is not there is waited for as long as patience lasts. A request that was cut off may have
        been heard: it is sent again, which is safe, for it carries its token or says what should be.
        """
        import httpx

        end = time.monotonic() + self._patience
        pause = 0.05
        while True:
            try:
                answer = self._connection().request(method, path, **how)
            except (httpx.ConnectError, FileNotFoundError) as error:
                reason, cut_off = error, False
            except httpx.TransportError as error:
                reason, cut_off = error, True
            else:
                if answer.is_success:
                    return answer
                raise _error_in(answer)
            self.close()
            if cut_off:
                end = max(end, time.monotonic() + RESTART_S)
            if time.monotonic() > end:
                raise self._unavailable(reason) from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    def _connection(self) -> "httpx.Client":
        import httpx

        if self._http is None:
            if self.target.url:
                headers = {"Authorization": f"Bearer {self.target.token}"}
                made = httpx.Client(base_url=self.target.url, headers=headers, timeout=self._timeout, trust_env=False)
            else:
                name = self._stack.enter_context(short_socket(self.target.folder / SOCKET))
                transport = httpx.HTTPTransport(uds=name)
                made = httpx.Client(
                    transport=transport, base_url="http://fairway", timeout=self._timeout, trust_env=False
                )
            self._http = self._stack.enter_context(made)
        return self._http

    def _unavailable(self, reason: Exception) -> Unavailable:
        if isinstance(reason, PermissionError) or "Permission denied" in str(reason):
            return Unavailable(f"the control plane on {self.target.name} belongs to another user")
        if self.target.url:
            return Unavailable(f"no control plane answers at {self.target.url}: {reason}", URL)
        return Unavailable(f"no control plane is running on {self.target.folder}; start one with `fairway up`")


def user() -> str:
    """Who is asking."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, in a container
        return str(os.getuid())


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="") or "-"


def _error_in(answer: "httpx.Response") -> FairwayError:
    try:
        return from_body(answer.json())
    except ValueError:
        return FairwayError(f"the control plane answered {answer.status_code} and no reason")
