"""A small collection in the prompt, whole: what a provider has cached is read, and still true."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from blockbuster import BlockBuster

from cli.squad import Squad, read_squad
from libs.values import CacheControl, Question
from libs.values.retrieval import Document
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh, Setting, Told, open_mesh
from tests.support.mesh import ask as asked_of
from tests.support.provider import Call, Provider
from tests.support.provider.prefixes import Usage
from tests.support.waiting import until

QUESTIONS = 200
IN_PARALLEL = 4
# Paragraphs with their questions; together about 8,000 tokens.
DOCUMENTS = 40
DATES = 20


def policy(name: str, *lines: str) -> str:
    """A policy with all the time in the world, whatever else the machine does."""
    costs = "\n".join(f"{hop} = 1.0" for hop in ("embedding", "semantic", "lexical", "retrieval"))
    times = ("first_text_s = 60.0", "end_s = 120.0", "lookup_limit_s = 5.0")
    return "\n".join([f"[{name}]", *times, *lines, f"[{name}.costs]", costs, ""])


COLLECTION = 'prompt_cache = "collection"'
POLICIES = "\n".join(
    [
        policy("collected", "passages = 2", COLLECTION),
        policy("tiny", "passages = 2", COLLECTION, "collection_tokens = 10"),
        policy("whole", COLLECTION),
        policy("found", 'prompt_cache = "passages"'),
        *(
            policy(f"dated{minute}", COLLECTION, f'system = "It is 10:{minute:02}. Be brief."')
            for minute in range(DATES)
        ),
    ]
)


class Open(Protocol):
    def __call__(self, **generation: Any) -> AbstractAsyncContextManager[Mesh]: ...


@pytest.fixture
def opened(
    redis_url: str, model_dir: Path, tmp_path: Path, provider: Provider, no_blocking: BlockBuster
) -> Open:
    file = tmp_path / "collections.toml"
    file.write_text(POLICIES)
    homes = iter([tmp_path / f"mesh{number}" for number in range(4)])
    for number in range(4):
        (tmp_path / f"mesh{number}").mkdir()

    @asynccontextmanager
    async def mesh(**generation: Any) -> AsyncIterator[Mesh]:
        home = next(homes)
        settings = {
            "generation": {"best_min_prefix_tokens": 0, "reply_reserve_s": 0.2, **generation},
            # Else a question that was answered a moment ago is answered by that run.
            "orchestrator": {"policies_file": file, "flights": False},
            "early": {"policies_file": file, "prompt_warm": f"{TENANT}/default"},
            "eager": {"policies_file": file, "prompt_warm_after_s": 0.2},
        }
        setting = Setting(redis_url, model_dir, home, provider_url=provider.url, settings=settings)
        async with open_mesh(setting, no_blocking) as made:
            yield made

    return mesh


@pytest.fixture
async def mesh(opened: Open) -> AsyncIterator[Mesh]:
    async with opened() as made:
        yield made


def collected(number: int, **more: Any) -> Question:
    fact = FACTS[number % len(FACTS)]
    fields: dict[str, Any] = {"policy": "collected", "cache_control": CacheControl.BYPASS, **more}
    return Question(TENANT, f"Note {number}: {fact.question}", **fields)


async def ask(mesh: Mesh, question: Question) -> Told:
    return await mesh.ask(question, limit_s=None)


async def warmed(provider: Provider, after: int = 0) -> Call:
    """Wait until the provider has read the collection for nobody's question."""
    number = after
    while True:
        number += 1
        call = await provider.until_asked(number)
        if not call.request["max_tokens"]:
            return await provider.until(number, "complete")


def sent(call: Call) -> list[str]:
    """The sources of a prompt, by title."""
    content = call.request["messages"][0]["content"]
    return [] if isinstance(content, str) else [each["title"] for each in content]


def usage_of(call: Call) -> Usage:
    assert call.usage is not None
    return call.usage


async def ready(mesh: Mesh, provider: Provider) -> None:
    """Ask once, so that the collection is fetched and read."""
    await ask(mesh, collected(0))
    await warmed(provider)


# What is sent


async def test_the_whole_collection_is_read_from_the_cache(mesh: Mesh, provider: Provider) -> None:
    await ready(mesh, provider)
    for number in (1, 2, 3):
        await ask(mesh, collected(number))
        call = provider.calls[-1]
        assert len(sent(call)) == len(FACTS)
        assert usage_of(call).written == 0
        assert usage_of(call).read > usage_of(call).uncached


async def test_what_is_read_reaches_the_caller(mesh: Mesh, provider: Provider) -> None:
    await ready(mesh, provider)
    told = await ask(mesh, collected(1))
    usage = told.completed.usage
    assert usage is not None
    assert usage.cache_read_tokens == usage_of(provider.calls[-1]).read > 0


async def test_neither_the_question_nor_the_user_nor_their_order_changes_the_start(
    mesh: Mesh, provider: Provider
) -> None:
    await ready(mesh, provider)
    for number in (5, 1, 3, 2):
        await ask(mesh, collected(number, scope=f"user-{number}"))
    asked = [call.request for call in provider.calls[-4:]]
    assert len({str((each["system"], each["messages"][:-1])) for each in asked}) == 1
    assert len({str(each["messages"][-1]) for each in asked}) == 4


async def test_a_place_outside_the_passages_is_a_source_once_it_is_cited(
    mesh: Mesh, provider: Provider
) -> None:
    texts = {fact.name: fact.text for fact in FACTS}
    await ready(mesh, provider)
    provider.behave(cites=len(FACTS), words=200)
    told = await ask(mesh, collected(1))
    sources = told.whole.sources
    assert sources is not None
    citations = told.whole.citations
    assert {each.document_id for each in citations} == set(texts)
    assert len(sources.passages) == len(FACTS)
    for each in citations:
        cut = texts[each.document_id][each.start_offset : each.end_offset]
        source = sources.passages[each.source_index]
        assert cut == each.cited_text
        assert source.document_id == each.document_id
        assert each.cited_text in source.text


async def test_a_kept_answer_has_all_its_sources(mesh: Mesh, provider: Provider) -> None:
    await ready(mesh, provider)
    provider.behave(cites=len(FACTS), words=200)
    first = await ask(mesh, collected(1, cache_control=CacheControl.DEFAULT))

    question = collected(1, cache_control=CacheControl.DEFAULT)

    async def is_kept() -> bool:
        return (await ask(mesh, question)).layer != ""

    await until(is_kept)
    again = await ask(mesh, question)
    assert again.whole.citations == first.whole.citations
    assert again.whole.sources == first.whole.sources


async def test_an_answer_to_the_same_prompt_has_all_its_sources(
    mesh: Mesh, provider: Provider
) -> None:
    await ready(mesh, provider)
    provider.behave(cites=len(FACTS), words=200)
    question = collected(1, cache_control=CacheControl.DEFAULT)
    first = await ask(mesh, question)

    async def is_kept() -> bool:
        return (await ask(mesh, question)).layer != ""

    await until(is_kept)
    moved = replace(FACTS[0].document, metadata={"shelf": "moved, and word for word the same"})
    await mesh.retrieval.upsert(TENANT, "default", [moved])

    async def is_whole() -> bool:
        await ask(mesh, collected(2))
        return len(sent(provider.calls[-1])) == len(FACTS)

    await until(is_whole)
    again = await ask(mesh, question)
    assert again.layer == "PROMPT"
    cited, sources = again.whole.citations, again.whole.sources
    assert sources is not None
    assert len(cited) == len(first.whole.citations)
    for each in cited:
        assert sources.passages[each.source_index].document_id == each.document_id


async def test_a_changed_document_is_in_the_next_prompt(mesh: Mesh, provider: Provider) -> None:
    await ready(mesh, provider)
    for number in range(3):
        text = f"A violin has {number + 5} strings."
        changed = Document("violin", text, title="Violin")
        await mesh.retrieval.upsert(TENANT, "default", [changed])
        await ask(mesh, collected(3))
        assert text in provider.calls[-1].body.decode()
        assert "four strings, tuned" not in provider.calls[-1].body.decode()


async def test_a_new_document_comes_last_and_costs_itself_alone(
    mesh: Mesh, provider: Provider
) -> None:
    await ready(mesh, provider)
    seen = len(provider.calls)
    new = Document("aaa", "The well of Aal is nine fathoms deep. " * 5, title="Aaa")
    await mesh.retrieval.upsert(TENANT, "default", [new])
    await ask(mesh, collected(1))
    call = await warmed(provider, seen)
    assert sent(call)[-1] == "Aaa"
    assert 0 < usage_of(call).written < usage_of(call).read


async def test_what_another_may_see_is_not_in_the_prompt(mesh: Mesh, provider: Provider) -> None:
    secret = Document("pay", "The pay of the director is a secret.", title="Pay", scope="board")
    await mesh.retrieval.upsert(TENANT, "default", [secret])
    await ready(mesh, provider)
    await ask(mesh, collected(1))
    assert "Pay" not in sent(provider.calls[-1])
    assert len(sent(provider.calls[-1])) == len(FACTS)
    await ask(mesh, collected(1, scope="board"))
    assert "Pay" in sent(provider.calls[-1])


async def test_a_collection_that_is_too_large_is_read_by_passages(
    mesh: Mesh, provider: Provider
) -> None:
    await ready(mesh, provider)
    await ask(mesh, collected(1, policy="tiny"))
    assert len(sent(provider.calls[-1])) == 2


async def test_a_collection_that_is_named_is_read_before_anybody_asks(
    mesh: Mesh, provider: Provider
) -> None:
    await mesh.add_orchestrator("early")
    assert len(sent(await warmed(provider))) == len(FACTS)


async def test_a_collection_is_read_again_before_the_provider_forgets(
    mesh: Mesh, provider: Provider
) -> None:
    client = await mesh.add_orchestrator("eager")
    await asked_of(client, collected(0), limit_s=None)
    first = await warmed(provider)
    second = await warmed(provider, first.number)
    assert usage_of(second).read == usage_of(first).tokens > 0


async def test_of_cold_questions_at_once_one_pays(opened: Open, provider: Provider) -> None:
    provider.behave(read_per_1k=0.5)
    async with opened() as mesh:
        await ready(mesh, provider)
        provider.prefixes.clear()
        changed = Document("new", "The bridge of Aal has nine arches. " * 3)
        await mesh.retrieval.upsert(TENANT, "default", [changed])
        seen = len(provider.calls)
        await asyncio.gather(*(ask(mesh, collected(number)) for number in range(5)))
        await warmed(provider, seen)
    whole = [call for call in provider.calls[seen:] if len(sent(call)) > len(FACTS)]
    assert sum(usage_of(call).written > 0 for call in whole) == 1


async def test_a_server_that_caches_by_itself_says_what_it_read(
    opened: Open, provider: Provider
) -> None:
    """OpenAI's `cached_tokens` reach the caller."""
    url = f"{provider.url}/v1"
    text = "The river is long and its banks are green. " * 20
    documents = [Document(f"doc{n}", f"{text}Its name is {n}.") for n in range(8)]
    async with opened(
        engine="openai",
        openai_base_url=url,
        openai_best_model="a-model",
        openai_api_key="a-key",
    ) as mesh:
        await mesh.retrieval.create_collection(TENANT, "rivers")
        await mesh.retrieval.upsert(TENANT, "rivers", documents)
        number = iter(range(100))

        async def is_cached() -> bool:
            told = await ask(mesh, collected(next(number), collection="rivers"))
            usage = told.completed.usage
            assert told.completed.model == "a-model"
            assert usage is not None
            assert usage.cache_read_tokens == usage_of(provider.calls[-1]).read
            return usage.cache_read_tokens > usage.input_tokens

        await until(is_cached)


# What it costs


@dataclass(frozen=True)
class Measured:
    """Some questions, by what the provider says of all its calls.

    Attributes:
        read_share: of all tokens of prompts, those read from the cache.
        paid_tokens: what they cost, in tokens at full price, for each question.
        first_text_ms: median from a question's call to its first text at the provider.
    """

    read_share: float
    paid_tokens: float
    first_text_ms: float


async def measured(
    mesh: Mesh, provider: Provider, policies: Sequence[str], squad: Squad, count: int
) -> Measured:
    """Ask questions in a random order, for several users, a few at a time."""
    documents = squad.documents[:DOCUMENTS]
    await mesh.retrieval.create_collection(TENANT, "squad")
    await mesh.retrieval.upsert(TENANT, "squad", documents)
    names = {each.document_id for each in documents}
    asked = [each.question for each in squad.questions if each.document_id in names][:count]
    random.Random(7).shuffle(asked)  # noqa: S311 - reproducible, not secret
    assert len(asked) == count
    since = len(provider.calls)
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            question = Question(
                TENANT,
                asked[number],
                collection="squad",
                policy=policies[number % len(policies)],
                scope=f"user-{number % 5}",
                cache_control=CacheControl.BYPASS,
            )
            told = await ask(mesh, question)
            assert told.whole.citations
            assert "generation" not in told.lost

    await asyncio.gather(*(worker() for _ in range(IN_PARALLEL)))
    calls = provider.calls[since:]
    usages = [usage_of(call) for call in calls]
    waits_s = [call.first_text_s - call.arrived_s for call in calls if call.first_text_s]
    return Measured(
        sum(each.read for each in usages) / sum(each.tokens for each in usages),
        sum(each.paid for each in usages) / count,
        statistics.median(waits_s) * 1e3,
    )


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_most_of_what_is_read_was_cached(
    opened: Open, provider: Provider, eval_data: Path
) -> None:
    """Real paragraphs and questions; a first word takes 150 ms, and 100 ms a thousand new tokens.

    What is cached is read at a twentieth of that time. These are figures for a provider, not
    of one: they say how much of a prompt is read anew, and what follows from that.
    """
    squad = await asyncio.to_thread(read_squad, eval_data / "xquad_en" / "xquad.en.json")
    provider.behave(first_text="0.15", read_per_1k=0.1, reread_per_1k=0.005, minimum_prefix="1024")
    dated = [f"dated{number}" for number in range(DATES)]
    async with opened() as mesh:
        cached = await measured(mesh, provider, ["whole"], squad, QUESTIONS)
    async with opened(prompt_cache=False) as mesh:
        uncached = await measured(mesh, provider, ["whole"], squad, QUESTIONS)
        assert uncached.read_share == 0
    async with opened() as mesh:
        passages = await measured(mesh, provider, ["found"], squad, QUESTIONS)
    provider.prefixes.clear()
    async with opened() as mesh:
        control = await measured(mesh, provider, dated, squad, DATES)
    print()
    for name, each in (
        ("collection, cached", cached),
        ("collection, not cached", uncached),
        ("passages alone", passages),
        ("a date in the system text", control),
    ):
        print(
            f"{name:28} {each.read_share:6.1%} read, {each.paid_tokens:7.0f} tokens paid a"
            f" question, first text p50 {each.first_text_ms:5.0f} ms"
        )
    print(f"cost {1 - cached.paid_tokens / uncached.paid_tokens:.1%} less than not cached,")
    print(f"first text {1 - cached.first_text_ms / uncached.first_text_ms:.1%} sooner")
    assert cached.read_share >= 0.85
    assert cached.paid_tokens < passages.paid_tokens
    assert control.read_share < 0.2
