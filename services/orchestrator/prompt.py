"""What a model is asked, and the digest that names it."""

from __future__ import annotations

import hashlib

from libs.values import ModelTier, Passage, Question
from libs.values.cache import AskedQuestion
from libs.values.embedding import Embeddings
from libs.values.generation import Model, Prompt, PromptCache
from libs.values.retrieval import SearchQuery
from services.orchestrator.policy import COLLECTION, Policy

_PROMPT_CACHES = {
    "off": PromptCache.OFF,
    "system": PromptCache.SYSTEM,
    "passages": PromptCache.PASSAGES,
    COLLECTION: PromptCache.PASSAGES,
}


def asked_of(question: Question, policy: Policy, model: Model) -> AskedQuestion:
    """Return everything that was asked: what names the answer in the cache.

    The tier is the one that should answer, not the one that happens to: what was achieved
    is kept with the entry.
    """
    return AskedQuestion(
        question=question.question,
        history=question.history,
        scope=question.scope,
        collection=question.collection,
        filters=question.filters,
        settings_fingerprint=policy.settings_fingerprint(model.name),
        model_tier=model.tier,
        system_version=policy.system_version(question.render),
        output_schema=question.output_schema,
    )


def query_of(question: Question, policy: Policy, vector: Embeddings | None) -> SearchQuery:
    """Return what retrieval is asked; by words alone if there is no vector."""
    return SearchQuery(
        tenant_id=question.tenant_id,
        collection=question.collection,
        question=question.question,
        embedding=b"" if vector is None else vector[0],
        embedding_fingerprint="" if vector is None else vector.fingerprint,
        filters=question.filters,
        limit=policy.passages,
        scope=question.scope,
    )


def prompt_of(
    question: Question,
    policy: Policy,
    tier: ModelTier,
    passages: tuple[Passage, ...],
    documents: tuple[Passage, ...] = (),
) -> Prompt:
    """Return the full prompt; `documents` are all of the collection, if it goes along whole."""
    return Prompt(
        tenant_id=question.tenant_id,
        question=question.question,
        tier=tier,
        system=policy.instructions(question.render),
        passages=passages,
        history=question.history,
        max_output_tokens=policy.max_output_tokens,
        output_schema=question.output_schema,
        prompt_cache=_PROMPT_CACHES[policy.prompt_cache],
        documents=documents,
    )


def start_of(
    policy: Policy, tier: ModelTier, tenant_id: str, documents: tuple[Passage, ...]
) -> Prompt:
    """Return a prompt that begins as those of all questions to a collection do."""
    return Prompt(tenant_id, "", tier, policy.system, documents=documents)


def digest(prompt: Prompt, model: str, scope: str) -> bytes:
    """Return the SHA-256 of a full prompt: model, system, passages, history, question.

    The access scope counts as well, although no model reads it: answers are never shared
    between scopes, not even where both see the same passages.

    Passages count by their words and their place and not by their document's version, so
    that an answer is found again when a document changed and what was read of it did not,
    and its citations still point at the words. Each part is preceded by its length, so
    that no two prompts run into one.
    """
    parts = [prompt.tenant_id, scope, model, prompt.system, str(prompt.max_output_tokens)]
    parts += [prompt.output_schema, prompt.question]
    for turn in prompt.history:
        parts += [turn.role.name, turn.text]
    # A document that was stored anew with the same words has moved to the end: no matter.
    documents = sorted(prompt.documents, key=lambda each: each.document_id)
    for passage in (*prompt.passages, *documents):
        parts += [passage.document_id, passage.title, passage.heading, passage.text]
        parts.append(str(passage.start_offset))
    # How many turns and passages there are, so that one is never read as the other.
    parts += [str(len(prompt.history)), str(len(prompt.passages)), str(len(prompt.documents))]
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode()
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.digest()
