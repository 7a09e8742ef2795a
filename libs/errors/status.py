"""Errors to statuses and back: the one place that translates them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from libs.errors import errors

DOMAIN = "hasten"

Trailers = tuple[tuple[str, str | bytes], ...]

_BY_REASON: dict[str, type[errors.MeshError]] = {
    kind.reason: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.MeshError)
}


@dataclass(frozen=True, slots=True)
class _Status(grpc.Status):
    """What `abort_with_status` takes."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: Trailers


def to_status(error: errors.MeshError, trailers: Trailers = ()) -> grpc.Status:
    """Return `error` as the status AIP-193 asks for: code, message, typed details.

    Args:
        error: what was raised.
        trailers: other trailing metadata; what a status brings along replaces all that
            was set before it.
    """
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    ]
    if isinstance(error, errors.InvalidFieldError):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field, description=error.problem)
        details.append(bad)
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(retry)
    code = error.code.value[0]
    status = status_pb2.Status(code=code, message=str(error), details=map(_packed, details))
    made = rpc_status.to_status(status)
    return _Status(made.code, made.details, (*made.trailing_metadata, *trailers))


def from_rpc_error(error: aio.AioRpcError) -> errors.MeshError:
    """Return the error that the server raised, or the nearest that the status tells.

    A status without our details is that of the transport: unreachable, out of time,
    or a server that is not ours.
    """
    try:
        # The sync twin: the one under `aio` refuses an AioRpcError.
        status = rpc_status.from_call(cast("Any", error))
    except (ValueError, DecodeError):
        status = None
    details = list(status.details) if status is not None else []
    info = _unpacked(details, error_details_pb2.ErrorInfo)
    if info is None or info.domain != DOMAIN or info.reason not in _BY_REASON:
        return _from_code(error)
    retry = _unpacked(details, error_details_pb2.RetryInfo)
    known = _BY_REASON[info.reason]
    raised = known.__new__(known)
    errors.MeshError.__init__(
        raised,
        error.details() or info.reason,
        retry_after_s=None if retry is None else retry.retry_delay.ToNanoseconds() / 1e9,
        **info.metadata,
    )
    if isinstance(raised, errors.InvalidFieldError):
        raised.field = info.metadata.get("field", "")
        raised.problem = str(raised).removeprefix(f"{raised.field}: ")
    return raised


def _from_code(error: aio.AioRpcError) -> errors.MeshError:
    by_code: dict[grpc.StatusCode, type[errors.MeshError]] = {
        grpc.StatusCode.DEADLINE_EXCEEDED: errors.BudgetExhaustedError,
        grpc.StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
        grpc.StatusCode.UNAVAILABLE: errors.UnreachableError,
        grpc.StatusCode.CANCELLED: errors.UnreachableError,
    }
    kind = by_code.get(error.code(), errors.InternalError)
    return kind(error.details() or error.code().name)


def _packed(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _unpacked(details: list[any_pb2.Any], kind: type[Any]) -> Any:
    for detail in details:
        found = kind()
        if detail.Is(kind.DESCRIPTOR) and detail.Unpack(found):
            return found
    return None
