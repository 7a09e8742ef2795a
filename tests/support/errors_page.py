"""The page that lists every error, written from the errors themselves.

`python -m tests.support.errors_page > docs/reference/errors.md`
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from libs import errors
from libs.errors import MeshError
from services.edge.problem import Problem

_HEAD = """\
# Errors

Written by `python -m tests.support.errors_page`; do not edit.

Over gRPC an error is a status with `google.rpc.ErrorInfo`: the reason, the domain `hasten` and
every value that the message names. `INVALID_FIELD` has a `BadRequest` with the field as well, and
what may be tried again later a `RetryInfo`. Over HTTP it is a problem (RFC 9457) with the same
reason; what the edge itself refuses, such as `QUOTA_EXHAUSTED`, is in [HTTP](http.md) and in
[How to let callers in](../how-to/let-callers-in.md).

| reason | gRPC status | HTTP | when |
|---|---|---|---|
"""


def errors_page() -> str:
    """Return the page."""
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in sorted(_rows()))


def _rows() -> Iterator[tuple[str, str, str, str]]:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    for kind in kinds:
        if issubclass(kind, MeshError) and kind is not MeshError:
            status = Problem.of(_example(kind)).status
            first = (kind.__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " ")
            yield f"`{kind.reason}`", f"`{kind.code.name}`", str(status), first


def _example(kind: type[MeshError]) -> MeshError:
    made = kind.__new__(kind)
    MeshError.__init__(made, "")
    made.field = ""  # type: ignore[attr-defined]
    return made


if __name__ == "__main__":
    sys.stdout.write(errors_page())
