"""Errors between the server, the client and the terminal: one body, ``{code, message, field}``, and all of several."""

from collections.abc import Sequence
from typing import Any

from fairway.model.errors import ERRORS, FairwayError, InvalidField

Body = dict[str, Any]


def several(errors: Sequence[FairwayError]) -> FairwayError:
    """The first of ``errors``, to be raised for all of them: ``errors_of`` gives them back."""
    first = errors[0]
    vars(first)["errors"] = tuple(errors)
    return first


def errors_of(error: FairwayError) -> tuple[FairwayError, ...]:
    """Every error that was raised as this one."""
    return getattr(error, "errors", None) or (error,)


def to_body(error: FairwayError) -> Body:
    """What a server answers: the first error, and under ``errors`` all of them where there are several."""
    every = [_one(each) for each in errors_of(error)]
    return every[0] if len(every) == 1 else {**every[0], "errors": every}


def from_body(body: Body) -> FairwayError:
    """The error that ``to_body`` was made of; an unknown code, of a newer server, is a plain FairwayError."""
    every = [_made(each) for each in body.get("errors") or [body]]
    return every[0] if len(every) == 1 else several(every)


def _one(error: FairwayError) -> Body:
    return {"code": error.code, "message": error.message, "field": error.field}


def _made(body: Body) -> FairwayError:
    kind = ERRORS.get(str(body.get("code")), FairwayError)
    message, field = str(body.get("message", "")), str(body.get("field") or "")
    return InvalidField(field, message) if kind is InvalidField else kind(message, field)
