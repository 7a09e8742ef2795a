"""One tree of errors; a leaf is a kind of failure that a caller can act on."""

from __future__ import annotations

from typing import ClassVar

import grpc


class MeshError(Exception):
    """A failure the caller can act on.

    Attributes:
        code: the gRPC status the error becomes on the wire.
        reason: the `ErrorInfo.reason` of AIP-193, one per kind of error.
        metadata: every value the message names, for machines to read.
        retry_after_s: seconds after which another try makes sense; None says nothing.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, **metadata: object
    ) -> None:
        super().__init__(message)
        self.metadata = {key: str(value) for key, value in metadata.items()}
        self.retry_after_s = retry_after_s


class InternalError(MeshError):
    """Something that should not happen did; the message holds only an id to look it up."""


class InvalidFieldError(MeshError):
    """A field of the request is outside its limits.

    The message starts with the field's name and says the limit.
    """

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_FIELD"

    def __init__(self, field: str, problem: str, **metadata: object) -> None:
        super().__init__(f"{field}: {problem}", retry_after_s=None, field=field, **metadata)
        self.field = field
        self.problem = problem


class DimensionMismatchError(MeshError):
    """A vector is not of the length the index was built with."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "DIMENSION_MISMATCH"


class FingerprintMismatchError(MeshError):
    """A vector was made by another model than those it would be compared with."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FINGERPRINT_MISMATCH"


class UnauthenticatedError(MeshError):
    """The caller did not say who it is, or is not known."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class TenantNotAllowedError(MeshError):
    """The caller's identity may not speak for the tenant it names."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "TENANT_NOT_ALLOWED"


class MethodNotAllowedError(MeshError):
    """The caller's identity may not call the method."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "METHOD_NOT_ALLOWED"


class CollectionNotFoundError(MeshError):
    """The tenant has no collection of that name."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "COLLECTION_NOT_FOUND"


class DocumentNotFoundError(MeshError):
    """The collection has no document of that id."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "DOCUMENT_NOT_FOUND"


class PolicyNotFoundError(MeshError):
    """No policy of that name is configured."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "POLICY_NOT_FOUND"


class RunNotFoundError(MeshError):
    """The run does not exist, has expired, or belongs to another tenant or scope."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "RUN_NOT_FOUND"


class JobNotFoundError(MeshError):
    """The job does not exist, has expired or belongs to another tenant."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "JOB_NOT_FOUND"


class IdempotencyKeyReusedError(MeshError):
    """The key was given before, for something else."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "IDEMPOTENCY_KEY_REUSED"


class NotADeadLetterError(MeshError):
    """Only a job that has failed for good can be tried again."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "NOT_A_DEAD_LETTER"


class TraceNotFoundError(MeshError):
    """No stored trace has that id."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "TRACE_NOT_FOUND"


class ScorerNotFoundError(MeshError):
    """The embedding service has scorers, but none of that name."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "SCORER_NOT_FOUND"


class NoScorerError(MeshError):
    """The embedding service's model was built without any scorer."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "NO_SCORER"


class BudgetExhaustedError(MeshError):
    """Less time is left than the next step needs."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "BUDGET_EXHAUSTED"


class OverloadedError(MeshError):
    """The server has as many calls as it can serve."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"


class JobsFullError(MeshError):
    """The tenant's jobs hold as many bytes as they may; there is room when results expire."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "JOBS_FULL"


class UnreachableError(MeshError):
    """A server of the mesh cannot be reached or broke the connection."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNREACHABLE"


class BreakerOpenError(UnreachableError):
    """Calls to a server that failed of late are not made for a moment."""

    reason = "BREAKER_OPEN"


class DependencyUnavailableError(MeshError):
    """Something the server needs for this call does not answer."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "DEPENDENCY_UNAVAILABLE"


class EventLogUnavailableError(MeshError):
    """The event log cannot be read or written now."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "EVENT_LOG_UNAVAILABLE"


class FencedError(MeshError):
    """Another writer has taken over the log; nothing more may be appended."""

    code = grpc.StatusCode.ABORTED
    reason = "FENCED"


class ModelUnavailableError(MeshError):
    """The model provider cannot be reached or refuses to serve."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "MODEL_UNAVAILABLE"


class ModelOverloadedError(MeshError):
    """The model provider has no capacity or our quota is spent."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "MODEL_OVERLOADED"


class ModelInterruptedError(MeshError):
    """The model broke off in the middle of its text, or fell silent."""

    code = grpc.StatusCode.ABORTED
    reason = "MODEL_INTERRUPTED"
