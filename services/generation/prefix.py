"""The starts of prompts that a provider caches: which are marked, and who reads one first.

A start is written at a surcharge and read at a tenth of the price, and it can be read only once
the response that writes it has begun. So a mark stands where the same start is likely to come
again, and of several requests with the same cold start one goes ahead.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from libs.telemetry import metrics
from libs.values import Usage
from libs.values.generation import Prompt, PromptCache
from services.generation.marks import TTLS_S, Marks, PrefixSettings

# Of the price of what is not cached (prices of the Anthropic API).
_WRITE = {"5m": 1.25, "1h": 2.0}
# The usual length of a token of English text.
_CHARS_PER_TOKEN = 4
# The target of a model's first text, until some were seen; and how fast those count.
_FIRST_TEXT_S = 0.5
_NEWEST_WEIGHT = 0.2
# Starts that are remembered; each takes some hundred bytes.
_MOST_STARTS = 4096
_LONG_AGO = float("-inf")


@dataclass(slots=True, eq=False)
class _Start:
    """What is known of one start.

    Attributes:
        warm_until_s: when the provider forgets it; in seconds of the clock.
        asked_s: when it was last asked for.
        is_short: True if the provider neither read nor wrote it.
        message_id: the last answer that began with it.
        reading: set when the request that goes ahead has begun or failed.
    """

    warm_until_s: float = _LONG_AGO
    asked_s: float = _LONG_AGO
    is_short: bool = False
    message_id: str = ""
    reading: asyncio.Event | None = None


class Prefixes:
    """The starts of one model's prompts."""

    def __init__(
        self, model: str, settings: PrefixSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._model = model
        self._settings = settings
        self._clock = clock
        self._ttl_s = TTLS_S[settings.ttl]
        self._starts: OrderedDict[bytes, _Start] = OrderedDict()
        self._first_text_s = _FIRST_TEXT_S

    def marks(self, prompt: Prompt) -> Marks:
        """Return where the start of a prompt is marked; asking counts as seeing it."""
        kind = prompt.prompt_cache
        if not self._settings.enabled or kind is PromptCache.OFF:
            return Marks.none()
        ttl = self._settings.ttl
        if kind is PromptCache.SYSTEM:
            return Marks(ttl, sources=False)
        if prompt.documents:
            return Marks(ttl, history=bool(prompt.history))
        return Marks(ttl, sources=self._comes_again(prompt))

    def _comes_again(self, prompt: Prompt) -> bool:
        """Tell whether these passages were seen before, so that a third time is likely.

        What is never read again is then never written at the surcharge.
        """
        if not prompt.passages:
            return False
        start = self._start(_name(prompt, Marks()))
        was_s, start.asked_s = start.asked_s, self._clock()
        return start.asked_s - was_s < self._ttl_s

    @asynccontextmanager
    async def entered(self, prompt: Prompt, marks: Marks) -> AsyncIterator[Entered]:
        """Wait for whoever is having the same start cached, and then be the next who may.

        Never longer than leaves the time that a first text takes.
        """
        tokens = _chars(prompt, marks) // _CHARS_PER_TOKEN
        start = self._start(_name(prompt, marks)) if marks.any else None
        if start is not None and tokens >= self._settings.minimum_tokens:
            await self._admitted(start, self._limit_s(prompt))
        entered = Entered(self, start)
        try:
            yield entered
        finally:
            entered.leave()

    def _limit_s(self, prompt: Prompt) -> float:
        if prompt.first_text_limit_s is None:
            return 0.0
        spare_s = prompt.first_text_limit_s - 2 * self._first_text_s
        return max(0.0, min(self._settings.gate_limit_s, spare_s))

    async def _admitted(self, start: _Start, limit_s: float) -> None:
        until_s = self._clock() + limit_s
        while start.reading is not None and not start.is_short:
            left_s = until_s - self._clock()
            if left_s <= 0:
                return
            waiting = asyncio.ensure_future(start.reading.wait())
            try:
                await asyncio.wait({waiting}, timeout=left_s)
            finally:
                waiting.cancel()

    def _start(self, name: bytes) -> _Start:
        start = self._starts.pop(name, None) or _Start()
        self._starts[name] = start
        if len(self._starts) > _MOST_STARTS:
            self._starts.popitem(last=False)
        return start

    @property
    def diagnoses(self) -> bool:
        """True if the provider is asked why nothing was read."""
        return self._settings.diagnoses

    def is_warm(self, start: _Start) -> bool:
        """Tell whether the provider should still have a start."""
        return self._clock() < start.warm_until_s

    def now_s(self) -> float:
        """Return the clock's seconds."""
        return self._clock()

    def took(self, seconds: float) -> None:
        """Learn what it takes until a response begins of whose prompt nothing was cached."""
        self._first_text_s += _NEWEST_WEIGHT * (seconds - self._first_text_s)

    def began(self, start: _Start) -> None:
        """Note that a start can be read from now on."""
        start.warm_until_s = self._clock() + self._ttl_s

    def count(self, start: _Start | None, usage: Usage, reason: str) -> None:
        """Count a prompt's tokens, its cost and its miss, and learn what the provider does."""
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        metrics.count_prompt(self._model, usage.input_tokens, read, written)
        if price := self._settings.dollars_per_million / 1e6:
            cached = self._settings.read_share * read + _WRITE[self._settings.ttl] * written
            whole = usage.input_tokens + read + written
            metrics.count_prompt_cost(
                self._model, (usage.input_tokens + cached) * price, whole * price
            )
        if start is None:
            return
        start.is_short = not (read or written or self._settings.is_automatic)
        if not read:
            metrics.count_prompt_miss(self._model, "below_minimum" if start.is_short else reason)

    def reason(self, start: _Start) -> str:
        """Return why nothing is read of a start, should it be so, as far as that is known here."""
        if start.warm_until_s == _LONG_AGO:
            return "cold"
        return "unexplained" if self.is_warm(start) else "expired"


class Entered:
    """One request on its way, with the start that it shares."""

    def __init__(self, prefixes: Prefixes, start: _Start | None) -> None:
        self._prefixes = prefixes
        self._start = start
        self._since_s = prefixes.now_s()
        self._took_s = 0.0
        self._leads: asyncio.Event | None = None
        self._reason = "" if start is None else prefixes.reason(start)
        is_cold = start is not None and not start.is_short and not prefixes.is_warm(start)
        if start is not None and is_cold and start.reading is None:
            start.reading = self._leads = asyncio.Event()

    @property
    def previous_message_id(self) -> str | None:
        """The answer that the provider is to compare with; None if there is none."""
        return None if self._start is None else self._start.message_id or None

    def began(self, usage: Usage, message_id: str = "", reason: str = "") -> None:
        """Note that the response has begun, with what was read and written.

        Args:
            usage: the tokens.
            message_id: the answer's id.
            reason: why nothing was read, if the provider says.
        """
        self._took_s = self._prefixes.now_s() - self._since_s
        self.counted(usage, reason)
        if self._start is not None:
            self._start.message_id = message_id
            if not self._start.is_short:
                self._prefixes.began(self._start)
        self.leave()

    def answers(self) -> None:
        """Note that the response has begun; what was read is `counted` once it is said."""
        self._took_s = self._prefixes.now_s() - self._since_s
        if self._start is not None:
            self._prefixes.began(self._start)
        self.leave()

    def counted(self, usage: Usage, reason: str = "") -> None:
        """Count what was read and written, once the response has begun."""
        if not usage.cache_read_tokens:
            self._prefixes.took(self._took_s)
        self._prefixes.count(self._start, usage, reason or self._reason)

    def leave(self) -> None:
        """Let others go ahead; idempotent."""
        if self._leads is not None and self._start is not None:
            self._leads.set()
            self._start.reading = self._leads = None


def _name(prompt: Prompt, marks: Marks) -> bytes:
    """Return a digest of the start of a prompt up to its last mark before the conversation."""
    sha = hashlib.sha256()
    for part in _parts(prompt, marks):
        data = part.encode()
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.digest()


def _chars(prompt: Prompt, marks: Marks) -> int:
    return sum(map(len, _parts(prompt, marks)))


def _parts(prompt: Prompt, marks: Marks) -> list[str]:
    parts = [prompt.system]
    if marks.sources:
        # As they are sent: cited or not, and in an order of their own.
        parts.append(str(bool(prompt.output_schema)))
        for each in prompt.documents or sorted(prompt.passages, key=lambda one: one.passage_id):
            parts += [each.uri or each.document_id, each.title, each.heading, each.text]
    return parts
