"""How much may be uploaded at once, and what each refusal says."""

from __future__ import annotations

from dataclasses import dataclass

from services.edge.problem import Problem, ProblemError

MAX_UPLOAD_BYTES = 11 * 1024 * 1024
"""In base64 they are four thirds, and a job's input has 16 MiB with all that is around them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be uploaded.

    Attributes:
        max_file_bytes: of one file.
        max_upload_bytes: of all files of one request.
        max_files: files of one request.
        max_uploads: requests that are read at once; each is held in memory.
        timeout_s: seconds in which a request must have come.
        max_tenant_uploads: of those that are read at once, one tenant's.
        least_bytes_per_s: how fast a request must come on average; 0 lets it take its time.
    """

    max_file_bytes: int = 8 * 1024 * 1024
    max_upload_bytes: int = MAX_UPLOAD_BYTES
    max_files: int = 64
    max_uploads: int = 4
    timeout_s: float = 60.0
    max_tenant_uploads: int = 3
    least_bytes_per_s: int = 32 * 1024


def file_too_large(field: str, name: str, limit_bytes: int) -> ProblemError:
    """Return the refusal of one file."""
    detail = f"{field}: the file {name!r} has more than {limit_bytes} bytes."
    return ProblemError(Problem(413, "FILE_TOO_LARGE", detail, field))


def upload_too_large(limit_bytes: int) -> ProblemError:
    """Return the refusal of all files together."""
    detail = f"The files of one request must have at most {limit_bytes} bytes in all."
    return ProblemError(Problem(413, "UPLOAD_TOO_LARGE", detail))


def too_many_files(limit: int) -> ProblemError:
    """Return the refusal of so many."""
    detail = f"files: at most {limit} may come in one request."
    return ProblemError(Problem(413, "TOO_MANY_FILES", detail, "files"))
