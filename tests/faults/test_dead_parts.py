"""Any part of a mesh may be dead: answers get lesser and say so, and get well with it again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from libs.errors import EventLogUnavailableError
from libs.values import AnswerState, CacheControl, FinishReason, Quality, Question, Revised
from tests.support.blocking import blocking
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.provider import Provider
from tests.support.valkey import Valkey
from tests.support.waiting import until

# The longest pause before a broken connection is tried again is 1 s; twice that, and some.
RECOVERED_WITHIN_S = 5.0
# What an answer may take while a part is dead; the default budget of a first text is 2.05 s.
SLOWER_S = 2.5
FACT = FACTS[0]
STALL_S = 0.3


def fresh(policy: str = "interactive", **changes: Any) -> Question:
    """Return a question that no stored answer may serve."""
    return Question(
        TENANT, FACT.question, policy=policy, cache_control=CacheControl.BYPASS, **changes
    )


async def recovered(holds: Callable[[], Awaitable[bool]]) -> float:
    """Wait until all is well again, and return the seconds that took."""
    return await until(holds, within_s=RECOVERED_WITHIN_S, every_s=0.05)


def recovers(mesh: Mesh, question: Question, quality: Quality) -> Callable[[], Awaitable[bool]]:
    async def is_well() -> bool:
        told = await mesh.ask(question)
        return told.completed.quality is quality and not told.lost

    return is_well


@pytest.fixture
async def lonely_mesh(
    valkey: Valkey, model_dir: Path, tmp_path: Path, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    """A mesh with a Redis of its own."""
    setting = Setting(valkey.url, model_dir, tmp_path, is_patient=False)
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


@pytest.fixture
async def model_mesh(
    redis_url: str, model_dir: Path, tmp_path: Path, provider: Provider, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    """A mesh with a model that counts as stalled soon."""
    settings = {"generation": {"stall_limit_s": STALL_S}}
    setting = Setting(redis_url, model_dir, tmp_path, provider_url=provider.url, settings=settings)
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_without_redis_answers_are_slower_and_no_errors(
    lonely_mesh: Mesh, valkey: Valkey, no_blocking: BlockBuster, fault: str
) -> None:
    await recovered(lambda: is_hit(lonely_mesh))
    with blocking(no_blocking):
        valkey.freeze() if fault == "frozen" else valkey.kill()
    for fact in FACTS:
        told = await lonely_mesh.ask(fact.question)
        assert fact.answer in told.text
        assert told.completed.answer_state is AnswerState.COMPLETE
        assert told.completed.account.total_s < SLOWER_S
    with pytest.raises(EventLogUnavailableError):
        await watch(lonely_mesh, "0" * 32)
    with blocking(no_blocking):
        valkey.thaw() if fault == "frozen" else valkey.start()
    took_s = await recovered(lambda: is_hit(lonely_mesh))
    print(f"dead parts: {fault} Redis: hits again {took_s:.2f} s after it was back")


async def is_hit(mesh: Mesh) -> bool:
    return (await mesh.ask(FACT.question)).layer == "EXACT"


async def watch(mesh: Mesh, run_id: str) -> None:
    async with mesh.answers.watch(TENANT, run_id, limit_s=10) as events:
        async for _ in events:
            pass


async def test_without_embedding_passages_are_found_by_their_words(
    mesh: Mesh,
) -> None:
    await mesh.rooms["embedding"].close()
    told = await mesh.ask(fresh())
    assert FACT.answer in told.text
    assert told.completed.quality is Quality.EXTRACTIVE_LEXICAL
    assert told.lost == {"embedding": "UNREACHABLE"}
    await mesh.reopen("embedding")
    took_s = await recovered(recovers(mesh, fresh(), Quality.EXTRACTIVE))
    print(f"dead parts: embedding: whole again {took_s:.2f} s after it was back")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"status": 500}, "MODEL_UNAVAILABLE"),
        ({"overload_rate": 1.0}, "MODEL_OVERLOADED"),
        ({"overload_rate": 1.0, "overload_in_stream": True}, "MODEL_OVERLOADED"),
        ({"headers": "60"}, "TIMED_OUT"),
        ({"first_text": "60"}, "TIMED_OUT"),
    ],
)
async def test_a_model_that_does_not_write_is_replaced_by_the_passages(
    model_mesh: Mesh, provider: Provider, behaviour: dict[str, Any], reason: str
) -> None:
    provider.behave(**behaviour)
    told = await model_mesh.ask(fresh(first_text_by_s=3.0))
    assert FACT.answer in told.text
    assert told.completed.quality is Quality.EXTRACTIVE
    assert told.completed.model == "extractive"
    assert told.lost == {"generation": reason}
    assert told.of(Revised) == []
    provider.behave(status=0, overload_rate=0.0, headers="0", first_text="0")
    await recovered(recovers(model_mesh, fresh(), Quality.FULL))


@pytest.mark.parametrize(
    "behaviour", [{"error_after": 4}, {"drop_after": 4}, {"end_after": 4}, {"stall_after": 4}]
)
async def test_a_text_that_breaks_off_is_withdrawn_and_taken_from_the_passages(
    model_mesh: Mesh, provider: Provider, behaviour: dict[str, Any]
) -> None:
    provider.next_behave(**behaviour)
    told = await model_mesh.ask(fresh())
    assert [each.reason for each in told.of(Revised)] == ["MODEL_INTERRUPTED"]
    assert told.text.startswith("The lighthouse of Arran was built")
    assert told.completed.quality is Quality.EXTRACTIVE
    assert told.completed.answer_state is AnswerState.COMPLETE
    assert told.lost == {"generation": "MODEL_INTERRUPTED"}
    assert (await model_mesh.ask(fresh())).completed.quality is Quality.FULL


async def test_a_provider_that_is_not_there_is_replaced_by_the_passages(
    redis_url: str, model_dir: Path, tmp_path: Path, no_blocking: BlockBuster
) -> None:
    setting = Setting(redis_url, model_dir, tmp_path, provider_url="http://127.0.0.1:1")
    async with open_mesh(setting, no_blocking) as mesh:
        told = await mesh.ask(fresh())
    assert FACT.answer in told.text
    assert told.completed.quality is Quality.EXTRACTIVE
    assert told.lost == {"generation": "MODEL_UNAVAILABLE"}


async def test_without_retrieval_there_is_an_honest_refusal(
    mesh: Mesh,
) -> None:
    await mesh.rooms["retrieval"].close()
    for policy in ("interactive", "unsupported"):
        told = await mesh.ask(fresh(policy))
        assert told.completed.answer_state is AnswerState.REFUSED
        assert told.completed.finish_reason is FinishReason.NO_ANSWER
        assert told.lost["retrieval"] == "UNREACHABLE"
        assert told.text.startswith("No answer:")
    await mesh.reopen("retrieval")
    took_s = await recovered(recovers(mesh, fresh(), Quality.EXTRACTIVE))
    print(f"dead parts: retrieval: whole again {took_s:.2f} s after it was back")


async def test_without_retrieval_a_policy_may_take_an_answer_without_support(
    model_mesh: Mesh,
) -> None:
    await model_mesh.rooms["retrieval"].close()
    told = await model_mesh.ask(fresh("unsupported"))
    assert told.completed.answer_state is AnswerState.UNSUPPORTED
    assert told.completed.quality is Quality.UNSUPPORTED
    assert told.lost == {"retrieval": "UNREACHABLE"}
    refused = await model_mesh.ask(fresh("interactive"))
    assert refused.completed.answer_state is AnswerState.REFUSED


async def test_an_answer_without_support_is_never_stored(model_mesh: Mesh) -> None:
    await model_mesh.rooms["retrieval"].close()
    question = Question(TENANT, FACT.question, policy="unsupported")
    for _ in range(2):
        told = await model_mesh.ask(question)
        assert told.layer == ""
        assert told.completed.answer_state is AnswerState.UNSUPPORTED


async def test_without_the_cache_every_answer_is_made_anew(
    mesh: Mesh,
) -> None:
    await mesh.ask(FACT.question)
    await mesh.rooms["cache"].close()
    told = await mesh.ask(FACT.question)
    assert FACT.answer in told.text
    assert told.completed.quality is Quality.EXTRACTIVE
    assert told.layer == ""
    await mesh.reopen("cache")
    took_s = await recovered(lambda: is_hit(mesh))
    print(f"dead parts: cache: hits again {took_s:.2f} s after it was back")


async def test_without_generation_there_is_an_honest_refusal(
    mesh: Mesh,
) -> None:
    await mesh.rooms["generation"].close()
    told = await mesh.ask(fresh())
    assert told.completed.answer_state is AnswerState.REFUSED
    assert told.lost["generation"] == "UNREACHABLE"
    await mesh.reopen("generation")
    took_s = await recovered(recovers(mesh, fresh(), Quality.EXTRACTIVE))
    print(f"dead parts: generation: whole again {took_s:.2f} s after it was back")


async def test_a_stored_answer_serves_while_generation_is_dead(mesh: Mesh) -> None:
    told = await mesh.ask(FACT.question)
    await recovered(lambda: is_hit(mesh))
    await mesh.rooms["generation"].close()
    again = await mesh.ask(FACT.question)
    assert (again.layer, again.text) == ("EXACT", told.text)
