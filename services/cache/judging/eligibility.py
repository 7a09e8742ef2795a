"""Questions whose answer is nobody else's: of the moment, to be done, or to be made up."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final

_MOMENT: Final = re.compile(
    r"\b(right now|at the moment|at this (?:time|moment)|as of (?:today|now|this)|so far today"
    r"|today'?s?|tonight|yesterday|tomorrow|just now|real[- ]time|live (?:score|price|rate)s?"
    r"|this (?:week|morning|afternoon|evening|hour|minute)|(?:latest|up[- ]to[- ]date|breaking) \w+)\b"
)
_WISH: Final = (
    r"(?:please |kindly |hi |hello |hey |go ahead and |can you |could you |would you |will you "
    r"|i want you to |i need you to |i'd like you to |i'd like to |i want to |i need to |let's )*"
)
_DEED: Final = re.compile(
    rf"^{_WISH}(transfer|send|move|wire|pay|withdraw|deposit|cancel|book|order|buy|purchase|sell|delete|remove|close|open an?"
    r"|freeze|unfreeze|block|unblock|activate|deactivate|schedule|remind|set (?:an?|the|my|up)|turn|call|text|email|update|change my"
    r"|reset|raise|lower|increase|decrease|enrol|enroll|sign me|submit|approve|reject|dispute|refund|replace|report my|redeem|add|start|stop"
    r"|pause|resume|play|skip|share|upgrade|downgrade|switch|lock|unlock|renew|apply|make a (?:payment|transfer|reservation|booking))\b"
)  # fmt: skip
_MADE_UP: Final = re.compile(
    rf"^{_WISH}((?:write|compose|draft|create|invent|make up|generate|brainstorm|imagine|sing|rap|improvise)\b"
    r"|tell (?:me )?(?:a|an|another|some) \w*\s?(?:joke|story|poem|riddle|fact)|(?:flip|toss) a coin|roll (?:a|the|some) di(?:e|ce)"
    r"|(?:pick|give me|choose) (?:a|an) (?:random|number))"
)
# "How do I cancel" asks; "cancel it" wants it done.
_ASKS: Final = re.compile(r"\b(how|what|why|when|where|who|which|is it possible|am i able|can i|could i|may i)\b")  # fmt: skip


class Unshared(StrEnum):
    """Why a question's answer is not shared by meaning."""

    FRESH = "fresh"
    ACTION = "action"
    CREATIVE = "creative"


@lru_cache(maxsize=4096)
def unshared(question: str) -> Unshared | None:
    """Return why the answer to a question serves no other; None if it may.

    What is said of a question is remembered: it is asked again with each candidate.
    """
    text = " ".join(question.lower().split())
    if _MOMENT.search(text):
        return Unshared.FRESH
    if _MADE_UP.match(text):
        return Unshared.CREATIVE
    if _DEED.match(text) and not _ASKS.search(text):
        return Unshared.ACTION
    return None
