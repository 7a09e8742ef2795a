"""What makes two questions the same question, as digests.

Every field is written with its length before it, so that no two different questions are
the same bytes, and in a fixed order, so that the same question is the same bytes in every
process.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from libs.values import Filter, Turn
from libs.values.cache import AskedQuestion

# Part of every key: a new number leaves all answers stored under another encoding behind.
KEY_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class QuestionKey:
    """The names under which an answer is found; SHA-256 in hex digits.

    Attributes:
        exact: everything that was asked.
        context: the same without the question; only answers of one context are compared
            by meaning.
    """

    exact: str
    context: str


def question_key(tenant_id: str, asked: AskedQuestion) -> QuestionKey:
    """Return the key of what one tenant asks."""
    digest = hashlib.sha256(_context(tenant_id, asked))
    context = digest.hexdigest()
    digest.update(_text(normalised(asked.question)))
    return QuestionKey(digest.hexdigest(), context)


def normalised(question: str) -> str:
    """Return a question without what does not count: form, white space, the first case.

    Unicode forms are made one by NFC. Lower case is taken of the first letter only: of
    the others it can carry meaning ("US" and "us").
    """
    words = " ".join(unicodedata.normalize("NFC", question).split())
    for place, letter in enumerate(words):
        if letter.isalpha():
            lowered = words[:place] + letter.lower() + words[place + 1 :]
            return unicodedata.normalize("NFC", lowered)
    return words


def _context(tenant_id: str, asked: AskedQuestion) -> bytes:
    return _list(
        (
            str(KEY_SCHEMA_VERSION).encode(),
            _text(tenant_id),
            _text(asked.scope),
            _text(asked.collection),
            _filters(asked.filters),
            _text(asked.settings_fingerprint),
            _text(str(int(asked.model_tier))),
            _text(asked.system_version),
            _text(asked.output_schema),
            _list(map(_turn, asked.history)),
        )
    )


def _filters(filters: Iterable[Filter]) -> bytes:
    # Sets, because neither the order nor a repetition changes which documents they allow.
    return _list(sorted({_filter(each) for each in filters}))


def _filter(each: Filter) -> bytes:
    return _list((_text(each.key), *sorted({_text(value) for value in each.any_of})))


def _turn(turn: Turn) -> bytes:
    return _list((_text(str(int(turn.role))), _text(turn.text)))


def _text(text: str) -> bytes:
    return _sized(text.encode())


def _list(items: Iterable[bytes]) -> bytes:
    sized = [_sized(item) for item in items]
    return len(sized).to_bytes(8, "big") + b"".join(sized)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data
