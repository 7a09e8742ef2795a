"""What a request to the cache may hold; the contract says the same in its comments."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from libs.errors import InvalidFieldError
from libs.values import CacheLayer, Filter, Quality, Role, Turn
from libs.values.cache import AskedQuestion, Lookup, Provenance
from services.cache.entry import Draft, Entry

SHA256_BYTES = 32
MAX_KEY_CHARACTERS = 64
MAX_VALUES = 32
MAX_VALUE_CHARACTERS = 256
MAX_TURN_CHARACTERS = 8_000
MAX_TAGS = 16
MAX_TAG_CHARACTERS = 64
MAX_ID_CHARACTERS = 128
# Stored questions that one explanation looks at: if nothing is said, and at most.
EXPLAINED = 5
MAX_EXPLAINED = 50
_TEXTS = (
    "entry_id",
    "key",
    "context",
    "question",
    "collection",
    "model",
    "prompt",
    "store_id",
    "embedding_fingerprint",
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_tenant(tenant_id: str) -> None:
    """Refuse `*`: that is many tenants, and answers are always of one.

    Raises:
        InvalidFieldError: the tenant is not one.
    """
    if tenant_id == "*":
        raise InvalidFieldError("tenant_id", "must be one tenant, is all of them")


def check_lookup(lookup: Lookup) -> None:
    """Refuse a lookup whose layer lacks something, or that is outside its limits.

    Raises:
        InvalidFieldError: with the field and its limit.
    """
    check_tenant(lookup.tenant_id)
    if lookup.layer is CacheLayer.NONE:
        raise InvalidFieldError("layer", "must be EXACT, PROMPT or SEMANTIC")
    if lookup.asked is not None:
        check_asked(lookup.asked)
    elif lookup.layer is not CacheLayer.PROMPT:
        raise InvalidFieldError("asked", f"is required for the layer {lookup.layer.name}")
    if lookup.prompt_sha256 or lookup.layer is CacheLayer.PROMPT:
        check_prompt(lookup.prompt_sha256)
    if lookup.layer is CacheLayer.SEMANTIC and not lookup.embedding_fingerprint:
        raise InvalidFieldError("embedding_fingerprint", "is required for the layer SEMANTIC")
    least = lookup.min_similarity
    if least is not None and not 0.0 <= least <= 1.0:
        raise InvalidFieldError("min_similarity", f"must be in [0, 1], is {least:.6g}")
    allowed = lookup.wrong_hit_allowance
    if allowed is not None and not 0.0 < allowed <= 1.0:
        raise InvalidFieldError("wrong_hit_allowance", f"must be in (0, 1], is {allowed:.6g}")
    if len(lookup.policy) > MAX_ID_CHARACTERS:
        problem = f"must be at most {MAX_ID_CHARACTERS} characters, is {len(lookup.policy)}"
        raise InvalidFieldError("policy", problem)


def check_explained(tenant_id: str, question: str, limit: int) -> None:
    """Refuse a question to explain that is outside its limits.

    Raises:
        InvalidFieldError: with the field and its limit.
    """
    check_tenant(tenant_id)
    check_asked(AskedQuestion(question))
    if not 0 <= limit <= MAX_EXPLAINED:
        raise InvalidFieldError("limit", f"must be 1 to {MAX_EXPLAINED}, is {limit}")


def check_fingerprint(fingerprint: str) -> None:
    """Refuse a vector of no model.

    Raises:
        InvalidFieldError: there is no fingerprint.
    """
    if not fingerprint:
        raise InvalidFieldError("embedding_fingerprint", "is required")


def check_draft(draft: Draft, *, max_bytes: int) -> None:
    """Refuse an answer that lacks something or is outside its limits.

    Raises:
        InvalidFieldError: with the field and its limit.
    """
    check_tenant(draft.tenant_id)
    check_asked(draft.asked)
    check_id("entry_id", draft.entry_id)
    if not draft.pages:
        raise InvalidFieldError("events", "must be at least one")
    size = sum(map(len, draft.pages))
    if size > max_bytes:
        raise InvalidFieldError("events", f"must be at most {max_bytes} bytes, are {size}")
    if draft.quality is Quality.UNSPECIFIED:
        raise InvalidFieldError("quality", "is required")
    if bool(draft.refusal) != (draft.quality is Quality.REFUSAL):
        raise InvalidFieldError("refusal", "is required with quality REFUSAL, and only with it")
    if draft.refusal:
        check_id("refusal", draft.refusal)
    if draft.vector and not draft.embedding_fingerprint:
        raise InvalidFieldError("embedding_fingerprint", "is required with embedding")
    if draft.provenance is Provenance.COLLECTION and draft.index_version < 1:
        raise InvalidFieldError("index_version", "is required with PROVENANCE_COLLECTION")
    if draft.made_in_s < 0:
        raise InvalidFieldError("made_in", f"must not be negative, is {draft.made_in_s:g} s")
    _check_count("tags", draft.tags, MAX_TAGS)
    for number, tag in enumerate(draft.tags):
        check_tag(f"tags[{number}]", tag)


def check_entry(entry: Entry, tenant_id: str, *, max_bytes: int) -> None:
    """Refuse an exported answer that this tenant cannot have, or that was never one.

    Raises:
        InvalidFieldError: with what is wrong with its record.
    """
    check_tenant(tenant_id)
    if entry.tenant_id != tenant_id:
        raise InvalidFieldError("record", f"is of another tenant than {tenant_id}")
    for field in _TEXTS:
        if not isinstance(getattr(entry, field), str):
            raise InvalidFieldError("record", f"holds no text as {field}")
    for time_s in (entry.created_at_s, entry.expires_at_s):
        if not (isinstance(time_s, float | int) and math.isfinite(time_s)):
            raise InvalidFieldError("record", f"holds {time_s!r} in place of a time")
    # They become names in the store.
    for name in (entry.key, entry.context, *([entry.prompt] if entry.prompt else [])):
        if not _DIGEST.fullmatch(name):
            raise InvalidFieldError("record", f"holds {name!r} in place of a SHA-256")
    check_id("record.entry_id", entry.entry_id)
    size = sum(map(len, entry.pages))
    if not 1 <= size <= max_bytes:
        raise InvalidFieldError("record", f"must hold 1 to {max_bytes} bytes of events, has {size}")


def check_asked(asked: AskedQuestion) -> None:
    """Refuse a question that is none, or whose parts are outside their limits."""
    if not asked.question.strip():
        raise InvalidFieldError("asked.question", "is required")
    for number, turn in enumerate(asked.history):
        _check_turn(f"asked.history[{number}]", turn)
    for number, condition in enumerate(asked.filters):
        _check_filter(f"asked.filters[{number}]", condition)


def check_prompt(prompt_sha256: bytes) -> None:
    """Refuse what is no SHA-256."""
    if len(prompt_sha256) != SHA256_BYTES:
        problem = f"must be {SHA256_BYTES} bytes, is {len(prompt_sha256)}"
        raise InvalidFieldError("prompt_sha256", problem)


def check_tag(field: str, tag: str) -> None:
    """Refuse an empty label, or one that is too long."""
    _check_length(field, tag, MAX_TAG_CHARACTERS)


def check_id(field: str, name: str) -> None:
    """Refuse an empty name of an entry, or one that is too long."""
    _check_length(field, name, MAX_ID_CHARACTERS)


def _check_turn(field: str, turn: Turn) -> None:
    if turn.role is Role.UNSPECIFIED:
        raise InvalidFieldError(f"{field}.role", "is required")
    if len(turn.text) > MAX_TURN_CHARACTERS:
        problem = f"must be at most {MAX_TURN_CHARACTERS} characters, is {len(turn.text)}"
        raise InvalidFieldError(f"{field}.text", problem)


def _check_filter(field: str, condition: Filter) -> None:
    _check_length(f"{field}.key", condition.key, MAX_KEY_CHARACTERS)
    if not condition.any_of:
        raise InvalidFieldError(f"{field}.any_of", "must be at least one")
    _check_count(f"{field}.any_of", condition.any_of, MAX_VALUES)
    for number, value in enumerate(condition.any_of):
        if len(value) > MAX_VALUE_CHARACTERS:
            problem = f"must be at most {MAX_VALUE_CHARACTERS} characters, is {len(value)}"
            raise InvalidFieldError(f"{field}.any_of[{number}]", problem)


def _check_length(field: str, text: str, most: int) -> None:
    if not 1 <= len(text) <= most:
        raise InvalidFieldError(field, f"must be 1 to {most} characters, is {len(text)}")


def _check_count(field: str, items: Iterable[object], most: int) -> None:
    number = sum(1 for _ in items)
    if number > most:
        raise InvalidFieldError(field, f"must be at most {most}, are {number}")
