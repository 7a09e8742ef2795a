"""What a provider's failure means to the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from libs.errors import MeshError, ModelInterruptedError, ModelUnavailableError

# Said when the provider does not say when to come back.
_RETRY_AFTER_S = 1.0


def failure(message: str, *, has_text: bool) -> MeshError:
    """Return the error of a model that failed, before or after it had written something."""
    return ModelInterruptedError(message) if has_text else ModelUnavailableError(message)


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds that `Retry-After` asks for, in either of its forms; 1 if it does not."""
    said = headers.get("retry-after", "")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return _RETRY_AFTER_S
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
