"""The routes of ``/v1``, and how errors are answered: always ``{code, message, field}``."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fairway.decide.advice import Advice
from fairway.engine.adviser import Answer
from fairway.engine.status import JobStatus
from fairway.faces.api import logs, shapes
from fairway.faces.api.intake import Intake, QueueFull, Wish
from fairway.faces.api.present import Present
from fairway.faces.errors import to_body
from fairway.faces.manifests.complaints import InvalidManifest, complaints, path_of
from fairway.faces.manifests.convert import Caller
from fairway.faces.manifests.policy import document_of
from fairway.faces.manifests.read import manifests_from, manifests_in
from fairway.model.errors import Conflict, FairwayError, InvalidField, NotFound, Refused, StoreError, Unavailable
from fairway.model.ids import JobId
from fairway.model.phases import JobPhase

log = logging.getLogger("fairway.api")

STATUS: tuple[tuple[type[FairwayError], int], ...] = (
    (InvalidField, 400),
    (NotFound, 404),
    (Conflict, 409),
    (QueueFull, 429),
    (Refused, 422),
    (Unavailable, 503),
    (StoreError, 503),
    (FairwayError, 500),
)
"""The HTTP status of an error: the first that matches."""


ADVICE_S = 3.0
"""How long an explanation waits for what would help; without it, it says all the rest."""


@dataclass(frozen=True, slots=True)
class Plane:
    """What the API needs of a control plane. ``about`` tells what ``/v1/status`` answers; ``token`` must be shown by
    everybody who does not come through the socket in the data directory."""

    intake: Intake
    present: Present
    log_path: logs.LogPath
    about: Callable[[], dict[str, Any]]
    token: str
    advise: Callable[[JobId], Answer]
    """What would help a waiting job."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ApplyBody(_Body):
    """Manifests as YAML text or as parsed documents, and who hands them in."""

    yaml: str | None = None
    source: str = "manifest"
    documents: list[Any] | None = None
    token: str | None = None
    user: str = ""
    base: str = ""
    dry_run: bool = False
    allow_unfit: bool = False


class CancelBody(_Body):
    """Who wants an end, a hold or a release; ``jobs`` only where the path names none."""

    user: str = ""
    jobs: list[str] = []


class CordonBody(_Body):
    """Whether nothing more is to be placed on a node."""

    on: bool = True


BodyT = TypeVar("BodyT", bound=BaseModel)


async def _body(request: Request, kind: type[BodyT]) -> BodyT:
    raw = await request.body()
    try:
        return kind.model_validate_json(raw or b"{}")
    except ValidationError as error:
        found = [InvalidField(path_of(loc) or "body", text) for loc, text in complaints(error, kind)]
        raise InvalidManifest(found) from None


class Api:
    """The endpoints, as methods."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._present = plane.present
        self._model = plane.present.model

    async def apply(self, request: Request) -> Response:
        """Accept manifests: all of them, durably, or none."""
        body = await _body(request, ApplyBody)
        if (body.yaml is None) == (body.documents is None):
            raise InvalidField("body", "give either yaml (a text) or documents (a list)")
        declared = manifests_from(body.documents) if body.yaml is None else manifests_in(body.yaml, body.source)  # type: ignore[arg-type]
        wish = Wish(Caller(body.user, body.base), body.token, body.dry_run, body.allow_unfit)
        applied = await self._plane.intake.apply(declared, wish)
        return JSONResponse({"dry_run": body.dry_run, "applied": [each.shape() for each in applied]})

    async def jobs(self, request: Request) -> Response:
        """Jobs, oldest first; ``phase``, ``queue``, ``user``, ``name`` and ``array`` filter, ``active`` leaves out what
        has ended, ``recent_ms`` what ended longer ago, ``limit`` keeps the newest."""
        await self._present.settled()
        now, asked = self._present.clock(), request.query_params
        recent = _number(asked.get("recent_ms"), "recent_ms", 0)
        since = now - recent if recent else 0
        found = self._model.jobs()
        chosen = [each for each in found if (each.ended is None or each.ended >= since) and _matches(each, asked)]
        limit = _number(asked.get("limit"), "limit", 0)
        shown = chosen[-limit:] if limit else chosen
        return JSONResponse({"as_of_ms": now, "count": len(chosen), "jobs": [shapes.job(each, now) for each in shown]})

    async def job(self, request: Request) -> Response:
        """One job."""
        status = await self._present.job(request.path_params["id"])
        return JSONResponse(shapes.job(status, self._present.clock()))

    async def explain(self, request: Request) -> Response:
        """One job with everything that was decided about it."""
        status = await self._present.job(request.path_params["id"])
        attempts = self._present.queries.attempts(status.id)
        advice = await self._advice(status)
        story = self._present.story(status.id)
        above = self._present.limits(status.queue)
        return JSONResponse(shapes.explained(status, story, attempts, self._present.clock(), advice, above))

    async def _advice(self, status: JobStatus) -> Advice | None:
        """What would help a job in line; None for any other, and where the loop is too busy to say."""
        if status.phase is not JobPhase.QUEUED:
            return None
        try:
            async with asyncio.timeout(ADVICE_S):
                return await asyncio.wrap_future(self._plane.advise(status.id))
        except TimeoutError:
            return None

    async def spec(self, request: Request) -> Response:
        """One job as submitted."""
        from cattrs import unstructure

        status = await self._present.job(request.path_params["id"])
        job = self._model.spec(status.id)
        if job is None:
            raise NotFound(f"job {status.id} ended so long ago that only its result is kept", "job")
        return JSONResponse(unstructure(job))

    async def logs(self, request: Request) -> Response:
        """Bytes that a task wrote; the header ``Fairway-Cursor`` is where to go on."""
        status = await self._present.job(request.path_params["id"])
        asked = request.query_params
        attempt = _number(asked.get("attempt"), "attempt", status.attempt)
        rank = _number(asked.get("rank"), "rank", 0)
        stream = {"stdout": "out", "stderr": "err"}.get(asked.get("stream", "stdout"))
        if stream is None:
            raise InvalidField("stream", f"{asked.get('stream')!r} is neither stdout nor stderr")
        if not status.attempt:
            raise Conflict(f"{status.id} has not started, so it has no logs: {status.reason or status.phase}", "job")
        if not 1 <= attempt <= status.attempt:
            raise NotFound(f"{status.id} has no attempt {attempt}: choose from 1 to {status.attempt}", "attempt")
        if not rank < status.tasks:
            raise NotFound(f"{status.id} has no rank {rank}: choose from 0 to {status.tasks - 1}", "rank")
        path = self._plane.log_path(status.id, attempt, rank, stream)
        if asked.get("tail"):
            chunk = logs.tail(path, _number(asked.get("tail"), "tail", 0))
        else:
            chunk = logs.read(path, asked.get("cursor", ""))
        headers = {
            "Fairway-Cursor": chunk.cursor,
            "Fairway-More": str(int(chunk.more)),
            "Fairway-Attempt": str(attempt),
        }
        return Response(chunk.data, media_type="application/octet-stream", headers=headers)

    async def cancel(self, request: Request) -> Response:
        """Ask one job, or all of an array's, to end."""
        body = await _body(request, CancelBody)
        asked, errors = await self._plane.intake.cancel([request.path_params["id"]], body.user)
        if errors:
            raise errors[0]
        return JSONResponse({"cancelled": [status.id for status in asked], "errors": []})

    async def cancel_many(self, request: Request) -> Response:
        """Ask several jobs to end; those that cannot be asked do not keep the others from it."""
        body = await _body(request, CancelBody)
        asked, errors = await self._plane.intake.cancel(body.jobs, body.user)
        return JSONResponse({"cancelled": [each.id for each in asked], "errors": [to_body(each) for each in errors]})

    async def hold(self, request: Request) -> Response:
        """Keep jobs out of the line until they are released."""
        return await self._keep(request, release=False)

    async def release(self, request: Request) -> Response:
        """Let jobs go on that are held, or whose dependencies did not succeed."""
        return await self._keep(request, release=True)

    async def _keep(self, request: Request, *, release: bool) -> Response:
        body = await _body(request, CancelBody)
        told, errors = await self._plane.intake.keep(body.jobs, body.user, release=release)
        key = "released" if release else "held"
        return JSONResponse({key: [each.id for each in told], "errors": [to_body(each) for each in errors]})

    async def queues(self, request: Request) -> Response:
        """Every queue."""
        await self._present.settled()
        now = self._present.clock()
        return JSONResponse({"as_of_ms": now, "queues": [shapes.queue(each, now) for each in self._model.queues()]})

    async def loans(self, request: Request) -> Response:
        """Every loan that is not long over."""
        now = self._present.clock()
        return JSONResponse({"as_of_ms": now, "loans": [shapes.loan(each, now) for each in self._model.loans()]})

    async def end_loan(self, request: Request) -> Response:
        """End a loan early."""
        body = await _body(request, CancelBody)
        await self._plane.intake.end_loan(request.path_params["id"], body.user)
        return JSONResponse({"id": request.path_params["id"], "ended": True})

    async def nodes(self, request: Request) -> Response:
        """Every node."""
        return JSONResponse({"nodes": [shapes.node(each) for each in self._model.nodes()]})

    async def cordon(self, request: Request) -> Response:
        """Place nothing more on a node, or place there again."""
        body, node = await _body(request, CordonBody), request.path_params["id"]
        await self._plane.intake.cordon(node, body.on)
        return JSONResponse({"id": node, "cordoned": body.on})

    async def services(self, request: Request) -> Response:
        """Every service."""
        return JSONResponse({"services": [shapes.service(each) for each in self._model.services()]})

    async def remove_service(self, request: Request) -> Response:
        """Stop a service and forget it."""
        await self._plane.intake.remove_service(request.path_params["id"])
        return JSONResponse({"id": request.path_params["id"], "removed": True})

    async def pools(self, request: Request) -> Response:
        """Every pool."""
        return JSONResponse({"pools": [shapes.pool(each) for each in self._model.pools()]})

    async def reservations(self, request: Request) -> Response:
        """Every reservation of a queue."""
        await self._present.settled()
        now = self._present.clock()
        found = [shapes.reservation(each, now) for each in self._model.bookings()]
        return JSONResponse({"as_of_ms": now, "reservations": found})

    async def unreserve(self, request: Request) -> Response:
        """Give a reservation up."""
        body, name = await _body(request, CancelBody), request.path_params["id"]
        await self._plane.intake.remove_booking(name, body.user)
        return JSONResponse({"id": name, "removed": True})

    async def policy(self, request: Request) -> Response:
        """The policy that decisions follow, as a manifest with every field written out."""
        return JSONResponse({"policy": document_of(self._model.policy())})

    async def status(self, request: Request) -> Response:
        """What this control plane is, and how far it has come."""
        seq, at, epoch = self._model.published
        return JSONResponse({"epoch": epoch, "seq": seq, "published_ms": at, **self._plane.about()})

    def routes(self) -> list[Route]:
        """Every path."""
        return [
            Route("/v1/apply", self.apply, methods=["POST"]),
            Route("/v1/cancel", self.cancel_many, methods=["POST"]),
            Route("/v1/hold", self.hold, methods=["POST"]),
            Route("/v1/release", self.release, methods=["POST"]),
            Route("/v1/jobs", self.jobs),
            Route("/v1/jobs/{id}", self.job),
            Route("/v1/jobs/{id}/explain", self.explain),
            Route("/v1/jobs/{id}/spec", self.spec),
            Route("/v1/jobs/{id}/logs", self.logs),
            Route("/v1/jobs/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/v1/queues", self.queues),
            Route("/v1/loans", self.loans),
            Route("/v1/loans/{id}/end", self.end_loan, methods=["POST"]),
            Route("/v1/nodes", self.nodes),
            Route("/v1/nodes/{id}/cordon", self.cordon, methods=["POST"]),
            Route("/v1/services", self.services),
            Route("/v1/services/{id}", self.remove_service, methods=["DELETE"]),
            Route("/v1/pools", self.pools),
            Route("/v1/reservations", self.reservations),
            Route("/v1/reservations/{id}", self.unreserve, methods=["DELETE"]),
            Route("/v1/policy", self.policy),
            Route("/v1/status", self.status),
        ]


class Guard:
    """Asks for the token whoever does not come through the local socket, which only its owner can open."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and not self._welcome(scope):
            text = "show the token in the data directory's file `token`: Authorization: Bearer ..."
            error = to_body(FairwayError(text, "Authorization"))
            await JSONResponse({**error, "code": "refused"}, 401)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _welcome(self, scope: Scope) -> bool:
        server = scope.get("server")
        if server is None or server[1] is None:
            return True
        shown = dict(scope["headers"]).get(b"authorization", b"")
        return secrets.compare_digest(shown, f"Bearer {self._token}".encode())


def build(plane: Plane) -> ASGIApp:
    """The ASGI application."""
    app = Starlette(
        routes=Api(plane).routes(),
        exception_handlers={FairwayError: _refused, HTTPException: _no_route, Exception: _broken},  # type: ignore[dict-item]
    )
    return Guard(app, plane.token)


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, FairwayError)
    status = next(code for kind, code in STATUS if isinstance(error, kind))
    return JSONResponse(to_body(error), status)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = to_body(NotFound(f"{request.method} {request.url.path}: {error.detail}", "path"))
    return JSONResponse(body, error.status_code, headers=error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    text = f"{type(error).__name__}: {error}; this is a fault of Fairway's, its log has the details"
    return JSONResponse(to_body(FairwayError(text)), 500)


def _matches(status: JobStatus, asked: Any) -> bool:
    if asked.get("active") and status.phase.ended:
        return False
    phases = asked.getlist("phase")
    if phases and status.phase.value not in phases:
        return False
    queue = asked.get("queue")
    if queue and status.queue != queue and not status.queue.startswith(f"{queue}/"):
        return False
    array = asked.get("array")
    if array and not (status.array and status.id.startswith(f"{array}.")):
        return False
    return all(not asked.get(key) or getattr(status, key) == asked[key] for key in ("user", "name"))


def _number(text: str | None, field: str, default: int) -> int:
    if text is None or text == "":
        return default
    if not text.isdecimal():
        raise InvalidField(field, f"{text!r} is not a whole number")
    return int(text)
