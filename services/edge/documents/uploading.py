"""`POST /v1/documents`: files become a job that stores them."""

from __future__ import annotations

import math

from starlette.responses import Response

from libs.values.jobs import Submission
from services.edge.documents.body import UploadBody, input_of
from services.edge.documents.form import MEDIA_TYPE, Form
from services.edge.documents.limits import Limits, upload_too_large
from services.edge.documents.places import Places
from services.edge.jobs.body import IDEMPOTENCY_KEY, INGEST, key_of
from services.edge.jobs.desk import Desk
from services.edge.jobs.operations import ACCEPTED, KNOWN, submit
from services.edge.problem import Problem, ProblemError
from services.edge.web.arrival import Patience, arriving
from services.edge.web.exchange import Exchange
from services.edge.web.operation import Operation
from services.edge.web.origin import check_origin
from services.edge.web.query import refused
from services.edge.web.request import JSON

PATH = "/v1/documents"
# What is around the files of a body: boundaries, headers, and escapes of JSON.
_AROUND_BYTES = 1024 * 1024
# A caller that is still sending would not see the refusal; so much more is read and dropped.
_DISCARDED_BYTES = 32 * 1024 * 1024
_FORM_SCHEMA = {
    "type": "object",
    "required": ["files"],
    "additionalProperties": False,
    "properties": {
        "files": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "format": "binary"},
        },
        "collection": {"type": "string", "default": "default"},
        "scope": {"type": "string"},
        "result_ttl_s": {"type": "number", "exclusiveMinimum": 0},
    },
}


class Uploading:
    """Takes files in, and hands them over to be stored.

    Args:
        desk: the jobs service.
        limits: how much may come at once.
        origins: the sites whose pages may send files; `*` is any.
    """

    def __init__(self, desk: Desk, limits: Limits, origins: frozenset[str]) -> None:
        self._desk = desk
        self._limits = limits
        self._origins = origins
        self._places = Places(limits.max_uploads, limits.max_tenant_uploads)

    def operation(self) -> Operation:
        """Return what this can do."""
        return Operation(
            "POST",
            PATH,
            "uploadDocuments",
            "Store files as documents; a job does it.",
            self._upload,
            right="documents.write",
            replies={202: ACCEPTED, 200: KNOWN},
            body=UploadBody,
            content={MEDIA_TYPE: _FORM_SCHEMA},
            parameters=(IDEMPOTENCY_KEY,),
            # In base64, a third more.
            max_body_bytes=self._limits.max_upload_bytes * 4 // 3 + _AROUND_BYTES,
            refusals=(409,),
        )

    async def _upload(self, exchange: Exchange) -> Response:
        _ = self._desk.client  # before long files are read for nothing
        check_origin(exchange.request.headers, self._origins)
        with self._places.one(exchange.caller.tenant_id):
            given, scope, ttl_s = await self._read(exchange)
            submission = Submission(
                exchange.caller.tenant_id, INGEST, given, key_of(exchange.request), scope, ttl_s
            )
            return await submit(self._desk, exchange, submission)

    async def _read(self, exchange: Exchange) -> tuple[bytes, str, float | None]:
        """Return the input of the job, its scope and how long it is kept."""
        kind = exchange.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        exchange.patience = Patience(self._limits.timeout_s, self._limits.least_bytes_per_s)
        if kind == JSON:
            body = await exchange.json(UploadBody)
            body.check(self._limits)
            return body.input(), body.scope, body.result_ttl_s
        if kind != MEDIA_TYPE:
            detail = f"Documents come as {MEDIA_TYPE} or as {JSON}."
            raise ProblemError(Problem(415, "NOT_DOCUMENTS", detail))
        form = await self._form(exchange)
        return input_of(form), form.texts.get("scope", ""), _ttl_s(form.texts)

    async def _form(self, exchange: Exchange) -> Form:
        request = exchange.request
        form = Form(request.headers["content-type"], self._limits)
        await self._fill(form, exchange)
        form.end()
        return form

    async def _fill(self, form: Form, exchange: Exchange) -> None:
        """Read the body; what comes behind a mistake is read and dropped."""
        total_bytes, problem = 0, None
        async for chunk in arriving(exchange.request, exchange.patience):
            total_bytes += len(chunk)
            if problem is None:
                try:
                    form.feed(chunk)
                    if total_bytes > exchange.max_body_bytes:
                        raise upload_too_large(self._limits.max_upload_bytes)
                except ProblemError as error:
                    problem = error
            if problem is not None and total_bytes > _DISCARDED_BYTES:
                break
        if problem is not None:
            raise problem


def _ttl_s(texts: dict[str, str]) -> float | None:
    said = texts.get("result_ttl_s")
    if said is None:
        return None
    try:
        ttl_s = float(said)
    except ValueError:
        ttl_s = 0.0
    if not 0 < ttl_s < math.inf:
        raise refused("result_ttl_s", "must be a number of seconds greater than 0")
    return ttl_s
