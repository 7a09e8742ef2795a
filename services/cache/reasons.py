"""Why a lookup missed, or an answer was not kept."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """What a caller is told; each word stands in the contract."""

    OK = "OK"
    NOT_FOUND = "NOT_FOUND"
    BELOW_FLOOR = "BELOW_FLOOR"
    NOT_SHARED = "NOT_SHARED"
    FACTS_DIFFER = "FACTS_DIFFER"
    BELOW_TARGET = "BELOW_TARGET"
    NOT_VERIFIED = "NOT_VERIFIED"
    BELOW_QUALITY = "BELOW_QUALITY"
    DOCUMENT_CHANGED = "DOCUMENT_CHANGED"
    WATCH_SILENT = "WATCH_SILENT"
    EXPIRED = "EXPIRED"
    STALE = "STALE"
    PERSONAL = "PERSONAL"
    QUARANTINED = "QUARANTINED"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    TIMED_OUT = "TIMED_OUT"
    DAMAGED = "DAMAGED"
    INCOMPLETE = "INCOMPLETE"
    NOT_TRUSTED = "NOT_TRUSTED"
    BETTER_STORED = "BETTER_STORED"
