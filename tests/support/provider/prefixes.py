"""The provider's prompt cache: what of a prompt was read before, and what is to be written.

By the provider's rules: a prompt is read as tools, system, messages; an entry ends at a
breakpoint; from each breakpoint at most twenty blocks are looked back for one; a start below the
model's minimum is not kept; an entry lives five minutes or an hour from when it was last read, and
is readable only once the response that writes it has begun.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

# Blocks that are looked at from a breakpoint, itself the first.
LOOK_BACK = 20
TTLS_S = {"5m": 300.0, "1h": 3600.0}
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class PromptBlock:
    """A block of a prompt: its bytes without the breakpoint, and how long that one keeps."""

    content: bytes
    ttl: str = ""

    @property
    def tokens(self) -> int:
        return max(1, len(self.content) // _CHARS_PER_TOKEN)


def prompt_blocks(request: Mapping[str, Any]) -> list[PromptBlock]:
    """Return the blocks of a prompt in the order in which the provider reads them."""
    blocks = [_block("tool", each) for each in request.get("tools", ())]
    blocks += [_block("system", each) for each in _parts(request.get("system", ()))]
    for message in request["messages"]:
        # Another way to think makes all messages new, tools and system text are kept.
        role = json.dumps([message["role"], request.get("thinking")])
        blocks += [_block(role, each) for each in _parts(message["content"])]
    return blocks


def _parts(content: Any) -> Iterator[Any]:
    yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _block(kind: str, content: Mapping[str, Any]) -> PromptBlock:
    plain = {key: value for key, value in content.items() if key != "cache_control"}
    mark = content.get("cache_control")
    text = json.dumps([kind, plain], ensure_ascii=False)
    return PromptBlock(text.encode(), "" if mark is None else mark.get("ttl", "5m"))


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one prompt, by what is paid for them.

    Attributes:
        uncached: read at full price.
        read: read from the cache, at a tenth.
        written_5m: written for five minutes, at 1.25 times the price.
        written_1h: written for an hour, at twice the price.
    """

    uncached: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def written(self) -> int:
        return self.written_5m + self.written_1h

    @property
    def tokens(self) -> int:
        return self.uncached + self.read + self.written

    @property
    def paid(self) -> float:
        """What they cost, in tokens at full price."""
        return self.uncached + 0.1 * self.read + 1.25 * self.written_5m + 2 * self.written_1h

    def members(self) -> dict[str, Any]:
        """Return them as a response states them."""
        return {
            "input_tokens": self.uncached,
            "cache_creation_input_tokens": self.written,
            "cache_read_input_tokens": self.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.written_5m,
                "ephemeral_1h_input_tokens": self.written_1h,
            },
        }


@dataclass(slots=True)
class _Entry:
    ttl_s: float
    ends_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What the cache does for one prompt; `writes` become readable by `PrefixCache.began`."""

    usage: Usage
    writes: tuple[tuple[bytes, float], ...] = ()


@dataclass(slots=True)
class PrefixCache:
    """The entries of one account, by model and digest of the start.

    Attributes:
        clock: seconds that only go forward.
        minimum_tokens: the shortest start that is kept, by model; 0 for others.
    """

    clock: Callable[[], float]
    minimum_tokens: Callable[[str], int]
    _entries: dict[bytes, _Entry] = field(default_factory=dict)

    def read(self, request: Mapping[str, Any]) -> Reading:
        """Look a prompt up; what is found lives on from now."""
        blocks = prompt_blocks(request)
        names = list(_chain(request["model"], blocks))
        ends = list(accumulate(block.tokens for block in blocks))
        marks = [index for index, block in enumerate(blocks) if block.ttl]
        marks = [each for each in marks if ends[each] >= self.minimum_tokens(request["model"])]
        found = max((self._found(names, mark) for mark in marks), default=-1)
        read = self._refresh(names[found], ends[found]) if found >= 0 else 0
        written = {"5m": 0, "1h": 0}
        done, writes = read, []
        for mark in (each for each in marks if each > found):
            written[blocks[mark].ttl] += ends[mark] - done
            done = ends[mark]
            writes.append((names[mark], TTLS_S[blocks[mark].ttl]))
        total = ends[-1] if ends else 0
        usage = Usage(total - done, read, written["5m"], written["1h"])
        return Reading(usage, tuple(writes))

    def began(self, reading: Reading) -> None:
        """Make readable what a prompt writes: the response to it has begun."""
        now_s = self.clock()
        for name, ttl_s in reading.writes:
            self._entries[name] = _Entry(ttl_s, now_s + ttl_s)

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()

    def _found(self, names: list[bytes], mark: int) -> int:
        """Return the last block of the longest entry seen from a breakpoint; -1 if none is."""
        for index in range(mark, max(-1, mark - LOOK_BACK), -1):
            entry = self._entries.get(names[index])
            if entry is not None and entry.ends_s > self.clock():
                return index
        return -1

    def _refresh(self, name: bytes, tokens: int) -> int:
        entry = self._entries[name]
        entry.ends_s = self.clock() + entry.ttl_s
        return tokens


def _chain(model: str, blocks: list[PromptBlock]) -> Iterator[bytes]:
    """Yield the digest of everything up to each block; another model reads nothing of it."""
    digest = model.encode()
    for block in blocks:
        digest = hashlib.sha256(digest + hashlib.sha256(block.content).digest()).digest()
        yield digest


# The grain of a cache that works by itself, and the shortest start that it keeps.
GRAIN_TOKENS = 128
AUTOMATIC_MINIMUM_TOKENS = 1024


@dataclass(slots=True)
class AutomaticCache:
    """A cache of starts that nobody marks, as OpenAI has it: in steps of 128 tokens from 1,024 on.

    Attributes:
        clock: seconds that only go forward.
        ttl_s: how long a start is kept after it was last read.
    """

    clock: Callable[[], float]
    ttl_s: float = TTLS_S["5m"]
    _ends_s: dict[bytes, float] = field(default_factory=dict)

    def read(self, request: Mapping[str, Any]) -> Reading:
        """Look a prompt up; a start is known by the digest of each of its steps."""
        text = json.dumps([request["model"], request["messages"]], ensure_ascii=False).encode()
        steps = list(self._steps(text))
        known = next(
            (index for index, name in enumerate(steps) if not self._is_kept(name)), len(steps)
        )
        read = known * GRAIN_TOKENS
        read = read if read >= AUTOMATIC_MINIMUM_TOKENS else 0
        total = len(text) // _CHARS_PER_TOKEN
        return Reading(Usage(total - read, read), tuple((name, self.ttl_s) for name in steps))

    def began(self, reading: Reading) -> None:
        """Make readable what was read: the response to it has begun."""
        for name, ttl_s in reading.writes:
            self._ends_s[name] = self.clock() + ttl_s

    def _is_kept(self, name: bytes) -> bool:
        return self._ends_s.get(name, 0.0) > self.clock()

    def _steps(self, text: bytes) -> Iterator[bytes]:
        size = GRAIN_TOKENS * _CHARS_PER_TOKEN
        digest = hashlib.sha256()
        for start in range(0, len(text) - size + 1, size):
            digest.update(text[start : start + size])
            yield digest.digest()


def miss_reason(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return why a prompt does not go on from one before; empty if it does."""
    for name in ("model", "tools", "system"):
        if _plain(before.get(name)) != _plain(now.get(name)):
            return f"{name}_changed"
    old, new = _plain(before["messages"]), _plain(now["messages"])
    return "" if new[: len(old)] == old else "messages_changed"


def _plain(value: Any) -> Any:
    """Return a part of a request without its breakpoints."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if key != "cache_control"}
    return [_plain(each) for each in value] if isinstance(value, list) else value
