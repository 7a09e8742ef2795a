"""Which pages of other origins may call (the Fetch standard's CORS protocol)."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware

_SENT = (
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "Traceparent",
    "X-API-Key",
    # What OpenAI's own client for pages says of itself.
    "X-Stainless-Arch",
    "X-Stainless-Helper-Method",
    "X-Stainless-Lang",
    "X-Stainless-OS",
    "X-Stainless-Package-Version",
    "X-Stainless-Poll-Helper",
    "X-Stainless-Retry-Count",
    "X-Stainless-Runtime",
    "X-Stainless-Runtime-Version",
    "X-Stainless-Timeout",
)
_READ = (
    "Age",
    "ETag",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Server-Timing",
    "X-Cache",
    "X-Run-Id",
)
_KNOWN_FOR_S = 600


def allow_origins(app: Starlette, origins: str) -> None:
    """Let pages of these origins, with commas between, call the app; none if it is empty."""
    allowed = origins.replace(",", " ").split()
    if allowed:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=allowed,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=list(_SENT),
            expose_headers=list(_READ),
            max_age=_KNOWN_FOR_S,
        )
