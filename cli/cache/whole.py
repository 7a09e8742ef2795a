"""A replay through the orchestrator: every question is asked as its users would ask it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cli.cache.asked import Answered, ask, refusal_of
from cli.cache.rows import Row
from cli.cache.tally import Made, Tally, WrongHit
from cli.cache.working import at_once
from libs.clients.answer import AnswerClient
from libs.errors import MeshError
from libs.values import AnswerState, Completed, Question


async def replay_whole(
    client: AnswerClient,
    rows: Sequence[Row],
    asked: Question,
    concurrency: int,
    tally: Tally,
    advance: Callable[[], None],
) -> None:
    """Ask questions, beginning in their order.

    Args:
        client: of the orchestrator.
        rows: the questions.
        asked: how they are asked, where a row says nothing else.
        concurrency: questions under way at a time.
        tally: where they are counted.
        advance: told of each question that has ended.

    Raises:
        MeshError: the mesh cannot be spoken to.
    """

    async def ask_one(row: Row) -> None:
        collection = row.fields.get("collection", asked.collection)
        question = replace(asked, question=row.question, collection=collection)
        answered = await ask(client, question)
        if isinstance(answered, MeshError):
            tally.failed[answered.reason] += 1
        else:
            _count(tally, row, answered)
        advance()

    await at_once(concurrency, rows, ask_one)


def _count(tally: Tally, row: Row, answered: Answered) -> None:
    completed, group = answered.completed, row.fields.get("group")
    hit = completed.cache_hit
    if completed.answer_state is AnswerState.REFUSED:
        tally.refused[refusal_of(completed)] += 1
    elif completed.followed_run_id:
        tally.shared_count += 1
    elif hit is not None:
        seen = WrongHit.of(row.line, row.question, hit.layer, hit.similarity)
        tally.hit(hit.entry_id, group, seen, completed.account.total_s)
    else:
        tally.miss(answered.made_by, _made(group, completed), row.question)


def _made(group: str | None, completed: Completed) -> Made:
    seconds, usage = completed.account.total_s, completed.usage
    # An answer of extracts has a usage of nothing: no model was asked.
    if usage is None or not usage.output_tokens:
        return Made(group, seconds)
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return Made(group, seconds, read, usage.output_tokens)
