"""Policies: how long callers of a kind wait, and what they accept meanwhile."""

from __future__ import annotations

import functools
import hashlib
import json
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from libs.config import ConfigError
from libs.errors import PolicyNotFoundError
from libs.values import Render
from libs.values.cache import Provenance

SYSTEM_PROMPT = (
    "You answer questions from the passages you are given, and from nothing else. "
    "Answer in the language of the question, in at most five sentences, the most important "
    "first. If the passages do not hold the answer, say so in one sentence and stop. "
    "Never invent names, numbers or citations."
)

OUTLINE_PROMPT = (
    "Write the answer in two to four sections, in Markdown. Begin with the list of their "
    "headings, one a line, each with `## ` before it, short and without a full stop. Then "
    "write each section: its heading once more, exactly as in the list, an empty line, and at "
    "most three sentences below it. Where the number of sentences is limited above, that is for "
    "each section. If the passages do not hold the answer, write no heading."
)

NONE, JOB = "none", "job"
FALLBACKS = (NONE, JOB)
"""What becomes of a question that cannot be answered in time."""

COLLECTION = "collection"
PROMPT_CACHES = ("off", "system", "passages", COLLECTION)
PROVENANCES = {
    "sources": Provenance.SOURCES,
    "collection": Provenance.COLLECTION,
    "ttl": Provenance.TTL,
}
"""What a policy may say of the documents behind stored answers."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What each step is expected to take, in seconds: the median, until it is learned.

    What the steps cost where everything runs on one machine; the model's first text is the
    p50 of the latency targets. The 99th percentile is expected at three times the median,
    as it is in those targets.
    """

    exact: float = 0.003
    embedding: float = 0.010
    semantic: float = 0.005
    lexical: float = 0.008
    retrieval: float = 0.012
    prompt: float = 0.003
    extract: float = 0.008
    model_first_text: float = 0.500
    fast_first_text: float = 0.250
    deliver: float = 0.003
    job: float = 0.020


@dataclass(frozen=True, slots=True)
class Losses:
    """What it is worth not to give something up, in late answers: 1 is as bad as being late.

    Attributes:
        lexical: passages found by words alone.
        brief: half of the passages from the start.
        fast: the fast model from the start.
        fast_second: the fast model's text, because the best one's was late.
        second_call: calling the fast model beside the best one, whoever wins.
        extractive: sentences of the passages instead of a model's text.
        crowd: a chance of text in time that is lesser than 1, or than on a quiet mesh, by no
            more than this: then nobody is turned away for what else is under way.
    """

    lexical: float = 0.03
    brief: float = 0.01
    fast: float = 0.03
    fast_second: float = 0.01
    second_call: float = 0.035
    extractive: float = 0.30
    crowd: float = 0.005


@dataclass(frozen=True, slots=True)
class Policy:
    """How questions of one kind are answered.

    Attributes:
        name: what callers say.
        first_text_s: default time to the first text; the p99 of the latency targets.
        end_s: default time to the hard end.
        head_start_s: how long the exact lookup goes alone, about its p95.
        semantic_head_start_s: how long the semantic lookup goes alone, about its p50.
        lookup_limit_s: hard limit of a lookup in the cache.
        passages: passages given to the model, 1 to 100.
        max_output_tokens: tokens an answer may have, 1 to 64,000.
        min_similarity: raises the cache's floor for semantic hits, in [0, 1].
        provenance: which changes of documents make a stored answer unusable: `sources`, those
            it was built from; `collection`, any in its collection; `ttl`, none.
        wrong_hit_allowance: the share of wrong ones among hits by meaning that is tolerated,
            in (0, 1].
        unsupported: True lets a model answer without sources while retrieval is dead.
        accept_stale: False has an answer past its soft end count as none.
        shares_personal: True lets a question that holds personal data be answered by what
            was stored for one of the same meaning, and the other way round.
        replay_words_per_s: pace at which a stored answer is sent; 0 sends it at once.
        system: the instructions a model gets.
        fallback: what becomes of a question that cannot be answered in time: `none`, a
            refusal; `job`, a job that answers it (`ORCHESTRATOR_JOBS_TARGET`).
        outline: what is added to them for an answer in sections.
        prompt_cache: what of a prompt the model's provider is asked to cache: `off`, `system`,
            `passages` (where the same ones came before) or `collection` (a small collection goes
            into the prompt whole, and is cached).
        collection_tokens: how large such a collection may be, in tokens of about four
            characters, 1 to 250,000.
        costs: what the steps are expected to take, before it is known.
        losses: what is given up first.
    """

    name: str
    first_text_s: float = 2.05
    end_s: float = 20.0
    head_start_s: float = 0.006
    semantic_head_start_s: float = 0.004
    lookup_limit_s: float = 0.050
    passages: int = 6
    max_output_tokens: int = 512
    min_similarity: float | None = None
    provenance: str = "sources"
    wrong_hit_allowance: float = 0.01
    unsupported: bool = False
    fallback: str = NONE
    accept_stale: bool = True
    shares_personal: bool = False
    replay_words_per_s: float = 0.0
    system: str = SYSTEM_PROMPT
    outline: str = OUTLINE_PROMPT
    prompt_cache: str = "passages"
    collection_tokens: int = 12_000
    costs: Costs = field(default_factory=Costs)
    losses: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        """Check what no type can say.

        Raises:
            ValueError: a field is outside its limits; the message starts with its name.
        """
        _need(self.first_text_s > 0, "first_text_s", "must be above 0")
        _need(self.end_s >= self.first_text_s, "end_s", "must be at least first_text_s")
        _need(self.head_start_s >= 0, "head_start_s", "must not be negative")
        lead_s = self.semantic_head_start_s
        _need(lead_s >= 0, "semantic_head_start_s", "must not be negative")
        _need(self.lookup_limit_s > 0, "lookup_limit_s", "must be above 0")
        _need(1 <= self.passages <= 100, "passages", "must be 1 to 100")  # noqa: PLR2004
        most = 64_000
        _need(1 <= self.max_output_tokens <= most, "max_output_tokens", f"must be 1 to {most}")
        pace = self.replay_words_per_s
        is_pace = 0 <= pace < float("inf")
        _need(is_pace, "replay_words_per_s", "must be a number that is not negative")
        floor = self.min_similarity
        _need(floor is None or 0 <= floor <= 1, "min_similarity", "must be in [0, 1]")
        kinds = ", ".join(PROMPT_CACHES)
        _need(self.prompt_cache in PROMPT_CACHES, "prompt_cache", f"must be one of {kinds}")
        largest = 250_000
        is_small = 1 <= self.collection_tokens <= largest
        _need(is_small, "collection_tokens", f"must be 1 to {largest}")
        ways = ", ".join(FALLBACKS)
        _need(self.fallback in FALLBACKS, "fallback", f"must be one of {ways}")
        known = ", ".join(PROVENANCES)
        _need(self.provenance in PROVENANCES, "provenance", f"must be one of {known}")
        is_share = 0 < self.wrong_hit_allowance <= 1
        _need(is_share, "wrong_hit_allowance", "must be above 0 and at most 1")
        _need(bool(self.outline.strip()), "outline", "must not be empty")
        for cost in fields(self.costs):
            cost_s = getattr(self.costs, cost.name)
            _need(cost_s > 0, f"costs.{cost.name}", "must be above 0")
            is_within = cost_s <= self.first_text_s
            _need(is_within, f"costs.{cost.name}", f"{cost_s} s is above first_text_s")
        for loss in fields(self.losses):
            is_share = 0 <= getattr(self.losses, loss.name) <= 1
            _need(is_share, f"losses.{loss.name}", "must be in [0, 1]")

    def settings_fingerprint(self, model: str) -> str:
        """Return a digest of everything here that changes the text of an answer."""
        whole = str(self.collection_tokens) if self.reads_collections else ""
        return _digest(
            model, str(self.passages), str(self.max_output_tokens), str(self.unsupported), whole
        )

    @property
    def reads_collections(self) -> bool:
        """True if small collections go into the prompt whole."""
        return self.prompt_cache == COLLECTION

    def instructions(self, render: Render) -> str:
        """Return the system prompt of an answer."""
        return f"{self.system}\n\n{self.outline}" if render is Render.OUTLINE else self.system

    def system_version(self, render: Render) -> str:
        """Return a digest of the system prompt: part of what an answer depends on.

        An outline changes the text; how text is cut into events does not.
        """
        if render is Render.OUTLINE:
            return _digest(self.system, render.name, self.outline)
        return _digest(self.system)


class Policies:
    """The configured policies by name; `BUILT_IN` are always there."""

    def __init__(self, policies: dict[str, Policy]) -> None:
        self._policies = policies

    def reading_collections(self) -> tuple[Policy, ...]:
        """Return those that put small collections into the prompt whole."""
        return tuple(each for each in self._policies.values() if each.reads_collections)

    def named(self, name: str) -> Policy:
        """Return a policy.

        Raises:
            PolicyNotFoundError: none of that name is configured.
        """
        if name not in self._policies:
            known = ", ".join(sorted(self._policies))
            raise PolicyNotFoundError(f"policy: {name!r} is not one of {known}", policy=name)
        return self._policies[name]


BUILT_IN: dict[str, dict[str, float]] = {
    "interactive": {},
    "patient": {"first_text_s": 8.0, "end_s": 60.0},
    "background": {"first_text_s": 120.0, "end_s": 600.0},
}
"""What each policy that is always there changes of the defaults."""


def load_policies(path: Path | None) -> Policies:
    """Read `[name]` tables of a TOML file over the built-in policies.

    Raises:
        ConfigError: the file cannot be read, or a field is unknown, of another type or
            outside its limits; the message names it.
    """
    tables: dict[str, Any] = dict(BUILT_IN)
    if path is not None:
        try:
            tables |= tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"ORCHESTRATOR_POLICIES_FILE={str(path)!r}: {error}") from error
    return Policies({name: _policy(name, table) for name, table in tables.items()})


def _policy(name: str, table: Any) -> Policy:
    if not isinstance(table, dict):
        raise ConfigError(f"policy {name!r}: must be a table")
    try:
        costs = Costs(**_checked(Costs, table.get("costs", {}), "costs."))
        losses = Losses(**_checked(Losses, table.get("losses", {}), "losses."))
        rest = {key: value for key, value in table.items() if key not in ("costs", "losses")}
        return Policy(name, costs=costs, losses=losses, **_checked(Policy, rest, ""))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"policy {name!r}: {error}") from error


def _checked(kind: type[Any], table: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return the table if its keys and types are those of `kind`.

    Raises:
        ValueError: a key is unknown, or its value is of another type.
    """
    types = {each.name: str(each.type) for each in fields(kind)}
    for key, value in table.items():
        if key not in types or key == "name":
            raise ValueError(f"{prefix}{key}: unknown")
        holds = _HOLDS.get(types[key], str)
        if not isinstance(value, holds) or (isinstance(value, bool) and types[key] != "bool"):
            raise ValueError(f"{prefix}{key}: {value!r} is no {types[key]}")
    return table


@functools.lru_cache(maxsize=1024)
def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


# What TOML gives for a field's type; everything else here is text.
_HOLDS: dict[str, Any] = {
    "float": (int, float),
    "float | None": (int, float),
    "int": int,
    "bool": bool,
}


def _need(holds: bool, name: str, problem: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise ValueError(f"{name}: {problem}")
