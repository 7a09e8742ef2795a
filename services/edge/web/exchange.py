"""One request on its way: who sent it, what is known of it so far, and how its body is read."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.responses import Response

from libs.screening import BadFormError, NotJsonError, screen
from services.edge.access.caller import Caller
from services.edge.problem import Problem, ProblemError
from services.edge.web.arrival import Patience
from services.edge.web.presence import while_present
from services.edge.web.request import JSON, check_content_type, read_body
from services.edge.web.sse import EventStream

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")
_REASONS = {"json_invalid": "INVALID_JSON", "extra_forbidden": "UNKNOWN_FIELD"}


@dataclass(slots=True)
class Exchange:
    """One request, from its arrival to the end of its answer.

    Attributes:
        request: what came.
        stream: the response as it may grow, event by event.
        arrived_s: when it came, in seconds of the edge's clock.
        max_body_bytes: the longest body that is read.
        patience: how long the body is waited for.
        caller: who sent it.
        form: media type of the answer.
        status: HTTP status, as far as it is known.
    """

    request: Request
    stream: EventStream
    arrived_s: float
    max_body_bytes: int
    patience: Patience
    caller: Caller
    form: str = JSON
    status: int = 200

    def path(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.request.path_params[name])

    async def json(self, model: type[Body]) -> Body:
        """Return the body, read as `model`.

        Raises:
            ProblemError: it is not JSON, too long, too slow or not of that form.
            CallerLeftError: the caller hung up instead.
        """
        return validated(model, await self.body())

    async def body(self) -> bytes:
        """Return the body, which is said to be JSON.

        Raises:
            ProblemError: it is said to be something else, too long or too slow.
            CallerLeftError: the caller hung up instead.
        """
        check_content_type(self.request)
        return await read_body(self.request, max_bytes=self.max_body_bytes, patience=self.patience)

    async def while_here(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work, and cancel it at once if the caller hangs up; the body must be read.

        Raises:
            CallerLeftError: nobody waits any more; the work has ended.
        """
        return await while_present(self.request.receive, work)


def validated(model: type[Body], raw: bytes) -> Body:
    """Return a JSON text, read as `model`.

    Raises:
        ProblemError: it is not JSON, or not of that form; the problem names the field.
    """
    try:
        screen(model, raw)
        return model.model_validate_json(raw)
    except NotJsonError as error:
        raise ProblemError(Problem(400, "INVALID_JSON", f"The body: {error}.")) from error
    except BadFormError as error:
        raise ProblemError(_bad_form(error)) from error
    except ValidationError as error:
        raise ProblemError(_problem(error.errors(include_input=False)[0])) from error


def json_response(
    members: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response of JSON that no cache on the way keeps."""
    body = json.dumps(members, ensure_ascii=False).encode()
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, JSON)


def _bad_form(error: BadFormError) -> Problem:
    reason = "UNKNOWN_FIELD" if error.is_unknown else "INVALID_FIELD"
    detail = f"{error.field}: {error}" if error.field else str(error)
    return Problem(400, reason, detail, error.field)


def _problem(error: ErrorDetails) -> Problem:
    reason = _REASONS.get(error["type"], "INVALID_FIELD")
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    field = field.removeprefix(".")
    detail = "the field is not known" if reason == "UNKNOWN_FIELD" else error["msg"]
    return Problem(400, reason, f"{field}: {detail}" if field else detail, field)
