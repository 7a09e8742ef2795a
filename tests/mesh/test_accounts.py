"""One question, one trace, one account; and the account says what the spans say."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.clients.answer import AnswerClient
from libs.clients.traces import TracesClient
from libs.errors import TraceNotFoundError
from libs.values import Account, CacheControl, Quality, Question
from libs.values.account_json import account_to_json
from libs.values.traces import ACCOUNT_ATTRIBUTE, Span
from tests.support.corpus import FACTS, TENANT, other
from tests.support.mesh import Told, ask
from tests.support.replicas import Replicas, running_replicas

ROOT = "hasten.answer.v1.AnswerService/StreamAnswer"
PARTITION_S = 0.001
UNATTRIBUTED = 0.02
# A hop's time and its client span are taken a few lines apart; between them the loop may turn
# to another question.
SPAN_TOLERANCE_S = 0.005
METHODS = {
    "embedding": "EmbedTexts",
    "cache.exact": "FindAnswer",
    "cache.semantic": "FindAnswer",
    "cache.prompt": "FindAnswer",
    "retrieval": "SearchPassages",
    "generation": "GenerateText",
    "flight": "none: it is asked of Redis",
}


@pytest.fixture
async def replicas(
    tmp_path: Path, model_dir: Path, no_blocking: BlockBuster
) -> AsyncIterator[Replicas]:
    """A mesh of processes, one of each."""
    async with running_replicas(tmp_path, model_dir, no_blocking) as running:
        yield running


def questions(count: int) -> list[Question]:
    """Return questions of all kinds: new, asked before, paraphrased, hurried, refused."""
    kinds = [
        lambda number: Question(TENANT, other(number)),
        lambda number: Question(TENANT, FACTS[number % len(FACTS)].question),
        lambda number: Question(TENANT, FACTS[number % len(FACTS)].paraphrase),
        lambda number: Question(TENANT, other(number), first_text_by_s=0.025),
        lambda number: Question(
            TENANT, f"Who is number {number}?", cache_control=CacheControl.ONLY_IF_CACHED
        ),
        lambda number: Question(TENANT, other(number), minimum_quality=Quality.FULL),
    ]
    return [kinds[number % len(kinds)](number) for number in range(count)]


def check_partition(account: Account) -> None:
    """Check that the pieces cut the whole, without gap or overlap."""
    at_s = 0.0
    for piece in account.pieces:
        assert abs(piece.start_s - at_s) <= PARTITION_S
        assert piece.length_s >= 0
        at_s = piece.start_s + piece.length_s
    whole_s = sum(piece.length_s for piece in account.pieces)
    assert abs(whole_s - account.total_s) <= PARTITION_S
    assert account.unattributed_s <= UNATTRIBUTED * account.total_s


def check_trace(spans: Sequence[Span]) -> Span:
    """Check that a trace is one tree, and return its root."""
    roots = [span for span in spans if not span.parent_span_id]
    assert [span.name for span in roots] == [ROOT]
    ids = {span.span_id for span in spans}
    orphans = [span for span in spans if span.parent_span_id and span.parent_span_id not in ids]
    assert orphans == []
    return roots[0]


@dataclass(frozen=True)
class Honesty:
    """How far an account is from the spans of its trace, in seconds.

    Attributes:
        before_s: between the start of the root span and that of the account.
        after_s: between the last event, which holds the account, and the root span's end.
        hops_s: between each hop's time and the span of its call.
        servers_s: by how much each hop's server claims more than its own span lasted.
    """

    before_s: float
    after_s: float
    hops_s: list[float]
    servers_s: list[float]


def honesty(account: Account, spans: Sequence[Span]) -> Honesty:
    root = check_trace(spans)
    calls = [
        span for span in spans if span.parent_span_id == root.span_id and span.kind == "CLIENT"
    ]
    before_s = 0.0
    hops_s: list[float] = []
    servers_s: list[float] = []
    for hop in account.hops:
        began_ns = root.start_ns + round(hop.start_s * 1e9)
        same = [call for call in calls if call.name.endswith(f"/{METHODS[hop.hop]}")]
        if hop.skipped or not same:
            continue
        call = min(same, key=lambda span: abs(span.start_ns - began_ns))
        if not hops_s:
            before_s = (call.start_ns - root.start_ns) / 1e9 - hop.start_s
        hops_s.append(abs(hop.used_s - call.duration_ns / 1e9))
        served = next((span for span in spans if span.parent_span_id == call.span_id), None)
        if served is not None:
            servers_s.append(hop.compute_s + hop.model_s - served.duration_ns / 1e9)
    after_s = root.duration_ns / 1e9 - before_s - account.total_s
    return Honesty(before_s, after_s, hops_s, servers_s)


async def spans_of(traces: TracesClient, told: Told, within_s: float = 10) -> Sequence[Span]:
    """Return the spans of a question's trace; if it stays incomplete, as they are at the end."""
    plan = told.whole.plan
    assert plan is not None
    end_s = time.monotonic() + within_s
    spans: Sequence[Span] = ()
    while time.monotonic() < end_s:
        try:
            spans = await traces.get(TENANT, plan.trace_id)
        except TraceNotFoundError:
            spans = ()
        if is_complete(spans):
            break
        await asyncio.sleep(0.05)
    return spans


def is_complete(spans: Sequence[Span]) -> bool:
    """Return whether no span is missing that another one names."""
    ids = {span.span_id for span in spans}
    return bool(ids) and all(span.parent_span_id in {*ids, ""} for span in spans)


async def prove(replicas: Replicas, count: int, *, looser: float = 1.0) -> None:
    """Check the accounts of `count` questions; so many times looser on a busy machine."""
    async with replicas.answers() as answers, replicas.traces() as traces:
        told = await ask_all(answers, questions(count))
        # Every process sends its spans every 200 ms.
        await asyncio.sleep(1.0)
        found = [await spans_of(traces, each) for each in told]
        roots = await traces.list(TENANT, limit=1000, root_name=ROOT)
    accounts = [each.completed.account for each in told]
    for account in accounts:
        check_partition(account)
    assert len({spans[0].trace_id for spans in found}) == len(roots) == count
    measured = [honesty(*each) for each in zip(accounts, found, strict=True)]
    for account, spans in zip(accounts, found, strict=True):
        assert check_trace(spans).attributes[ACCOUNT_ATTRIBUTE] is not None
        assert json.loads(account_to_json(account))
    hops_s = [value for each in measured for value in each.hops_s]
    servers_s = [value for each in measured for value in each.servers_s]
    unseen = [
        (each.before_s + account.unattributed_s) / (each.before_s + account.total_s)
        for each, account in zip(measured, accounts, strict=True)
    ]
    after_s = [each.after_s for each in measured]
    kinds = Counter(each.layer or each.completed.finish_reason.name for each in told)
    print(
        f"accounts: {count} questions {dict(kinds)}, {sum(map(len, found))} spans, one root each;"
        f" hop against span: p50 {statistics.median(hops_s) * 1e3:.2f} ms,"
        f" p99 {quantile(hops_s, 0.99) * 1e3:.2f} ms; server's claim beyond its span:"
        f" p99 {quantile(servers_s, 0.99) * 1e3:.2f} ms; of the root span up to the last event"
        f" unattributed: p50 {statistics.median(unseen):.2%}, p95 {quantile(unseen, 0.95):.2%};"
        f" the last event's own delivery: p50 {statistics.median(after_s) * 1e3:.2f} ms"
    )
    assert statistics.median(unseen) <= looser * UNATTRIBUTED
    assert quantile(hops_s, 0.95) <= looser * SPAN_TOLERANCE_S
    assert quantile(servers_s, 0.99) <= looser * PARTITION_S


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def ask_all(answers: AnswerClient, asked: Sequence[Question]) -> list[Told]:
    return [await ask(answers, question) for question in asked]


async def test_every_question_is_one_trace_with_an_honest_account(replicas: Replicas) -> None:
    await prove(replicas, 30, looser=5)


@pytest.mark.prove
async def test_two_hundred_questions_are_two_hundred_honest_accounts(replicas: Replicas) -> None:
    await prove(replicas, 200)
