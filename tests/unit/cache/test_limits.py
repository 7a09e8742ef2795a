from __future__ import annotations

from dataclasses import replace

import pytest

from libs.errors import InvalidFieldError
from libs.values import CacheLayer, Filter, Quality, Role, Turn
from libs.values.cache import AskedQuestion, Lookup
from services.cache.entry import Draft
from services.cache.limits import check_draft, check_lookup
from tests.unit.cache.parts import draft, exact, prompted, semantic

MANY = "x" * 10_000


def asking(**more: object) -> Lookup:
    return exact(asked=replace(AskedQuestion("Why?"), **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lookup", "message"),
    [
        (exact(tenant_id="*"), "tenant_id: must be one tenant, is all of them"),
        (Lookup("acme", CacheLayer.NONE), "layer: must be EXACT, PROMPT or SEMANTIC"),
        (Lookup("acme", CacheLayer.EXACT), "asked: is required for the layer EXACT"),
        (Lookup("acme", CacheLayer.SEMANTIC), "asked: is required for the layer SEMANTIC"),
        (asking(question=" \n"), "asked.question: is required"),
        (prompted(b""), "prompt_sha256: must be 32 bytes, is 0"),
        (prompted(b"x" * 31), "prompt_sha256: must be 32 bytes, is 31"),
        (
            semantic(embedding_fingerprint=""),
            "embedding_fingerprint: is required for the layer SEMANTIC",
        ),
        (semantic(min_similarity=1.01), "min_similarity: must be in [0, 1], is 1.01"),
        (semantic(min_similarity=-0.01), "min_similarity: must be in [0, 1], is -0.01"),
        (semantic(min_similarity=float("nan")), "min_similarity: must be in [0, 1], is nan"),
        (semantic(wrong_hit_allowance=0.0), "wrong_hit_allowance: must be in (0, 1], is 0"),
        (semantic(wrong_hit_allowance=1.01), "wrong_hit_allowance: must be in (0, 1], is 1.01"),
        (
            semantic(wrong_hit_allowance=float("nan")),
            "wrong_hit_allowance: must be in (0, 1], is nan",
        ),
        (semantic(policy="x" * 129), "policy: must be at most 128 characters, is 129"),
        (
            asking(history=(Turn(Role.UNSPECIFIED, ""),)),
            "asked.history[0].role: is required",
        ),
        (
            asking(history=(Turn(Role.USER, MANY),)),
            "asked.history[0].text: must be at most 8000 characters, is 10000",
        ),
        (
            asking(filters=(Filter("", ("a",)),)),
            "asked.filters[0].key: must be 1 to 64 characters, is 0",
        ),
        (
            asking(filters=(Filter("k", ()),)),
            "asked.filters[0].any_of: must be at least one",
        ),
        (
            asking(filters=(Filter("k", ("a",) * 33),)),
            "asked.filters[0].any_of: must be at most 32, are 33",
        ),
        (
            asking(filters=(Filter("k", ("a", "x" * 257)),)),
            "asked.filters[0].any_of[1]: must be at most 256 characters, is 257",
        ),
    ],
)
def test_a_lookup_outside_its_limits_is_refused(lookup: Lookup, message: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        check_lookup(lookup)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "lookup",
    [
        exact(),
        semantic(min_similarity=0.0),
        semantic(min_similarity=1.0),
        semantic(wrong_hit_allowance=1.0, policy="x" * 128),
        prompted(b"x" * 32),
        asking(history=(Turn(Role.USER, "x" * 8_000),), filters=(Filter("k", ("",) * 32),)),
    ],
)
def test_a_lookup_at_its_limits_is_taken(lookup: Lookup) -> None:
    check_lookup(lookup)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (draft(tenant_id="*"), "tenant_id: must be one tenant, is all of them"),
        (draft(""), "asked.question: is required"),
        (draft(entry_id=""), "entry_id: must be 1 to 128 characters, is 0"),
        (draft(entry_id="x" * 129), "entry_id: must be 1 to 128 characters, is 129"),
        (draft(pages=()), "events: must be at least one"),
        (draft(pages=(b"x" * 60, b"x" * 41)), "events: must be at most 100 bytes, are 101"),
        (draft(quality=Quality.UNSPECIFIED), "quality: is required"),
        (draft(embedding_fingerprint=""), "embedding_fingerprint: is required with embedding"),
        (draft(tags=("x",) * 17), "tags: must be at most 16, are 17"),
        (draft(tags=("x", "")), "tags[1]: must be 1 to 64 characters, is 0"),
        (draft(tags=("x" * 65,)), "tags[0]: must be 1 to 64 characters, is 65"),
    ],
)
def test_an_answer_outside_its_limits_is_refused(wrong: Draft, message: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        check_draft(wrong, max_bytes=100)
    assert str(caught.value) == message


def test_an_answer_at_its_limits_is_taken() -> None:
    tags = ("x" * 64,) * 16
    check_draft(draft(entry_id="x" * 128, tags=tags, pages=(b"x" * 100,)), max_bytes=100)
