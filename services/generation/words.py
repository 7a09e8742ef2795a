"""Words of a text, brought to a form in which kin are alike."""

from __future__ import annotations

import re
from functools import lru_cache

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
# Scripts without spaces give a word for each character.
_WORD = re.compile(rf"\d[\d.,]*\d|[{_CJK}]|[^\W_{_CJK}]+")
# Where links lead to, and tags: written for machines.
_MARKUP = re.compile(r"(?<=\])\([^()\s]*\)|<[^<>]*>|https?://\S+")
_SUFFIXES = ("ingly", "edly", "ings", "ies", "ing", "ied", "ed", "es", "ly", "s", "e")
_STEM_CHARS = 7
_MIN_STEM_CHARS = 3
# What is longer is no word; cut, so that what is remembered stays small.
_MAX_WORD_CHARS = 24
_STOPWORDS = frozenset(
    # One line of words reads better than a hundred lines of one.
    """
    about also and are been being between but can could describe did does explain for from had has
    have having her here him his how into its many may might much must not our over shall she should
    so tell than that the their them then there these they this those under was were what when where
    which who whom whose why will with would you your please
    """.split()  # noqa: SIM905
)


def without_markup(text: str) -> str:
    """Return a text without its tags and without the targets of its links."""
    return _MARKUP.sub(" ", text)


def stems(text: str) -> list[str]:
    """Return the stems of all words, in order."""
    return [_stem(word[:_MAX_WORD_CHARS]) for word in _WORD.findall(text.lower())]


def content_stems(question: str) -> set[str]:
    """Return the stems of the words that say what is asked, without those that only join them."""
    return {
        _stem(word.lower()[:_MAX_WORD_CHARS])
        for word in _WORD.findall(question)
        if _has_content(word)
    }


def _has_content(word: str) -> bool:
    if len(word) < _MIN_STEM_CHARS:
        # The short ones are function words, in many languages, unless they are names or numbers.
        return not word.islower()
    return word.lower() not in _STOPWORDS


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    """Return a word without its commonest endings, cut to its first characters."""
    if word[0].isdigit():
        return word.replace(",", "")
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _MIN_STEM_CHARS:
            word = word.removesuffix(suffix)
            break
    return word[:_STEM_CHARS]
