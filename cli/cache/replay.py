"""`hasten cache replay`: what the cache would have done for traffic that is on file."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.cache.alone import AloneReplay, StandIn
from cli.cache.progress import advancing
from cli.cache.rows import Check, Row, as_name, as_text, read_rows
from cli.cache.tally import Prices, Tally, share
from cli.cache.whole import replay_whole
from cli.clients import connected
from cli.home import Home, Place
from cli.options import Collection, Json, SlipError, seconds_of
from libs.clients.answer import AnswerClient
from libs.clients.cache import CacheClient
from libs.clients.embedding import EmbeddingClient
from libs.values import Question

# What a row may say beside its question.
FIELDS: dict[str, Check] = {"group": as_name, "collection": as_text}
# Of its own, so that stand-ins never count for a tenant with users.
_ALONE_TENANT = "cache-replay"
_SHOWN_WRONG = 10


@dataclass(frozen=True, slots=True)
class Order:
    """How traffic is to be replayed.

    Attributes:
        asked: how questions are asked, where a row says nothing else.
        concurrency: questions under way at a time.
        stand_in: None asks the orchestrator; else the cache alone is asked, and this is
            what an answer is taken to cost.
        min_similarity: raises the cache's floor, in [0, 1]; of the cache alone.
    """

    asked: Question
    concurrency: int = 1
    stand_in: StandIn | None = None
    min_similarity: float | None = None


def replay(  # noqa: PLR0913, PLR0917 - each argument is an option of the command
    traffic: Annotated[
        Path, typer.Argument(help="Questions, one a line, as text or JSON objects.")
    ],
    collection: Collection = "default",
    tenant: Annotated[
        str | None,
        typer.Option(help="On whose behalf; default `default`, with --cache-only one of its own."),
    ] = None,
    policy: Annotated[str, typer.Option(help="Name of the policy.")] = "interactive",
    concurrency: Annotated[
        int, typer.Option("--at-once", min=1, max=64, help="Questions under way at a time.")
    ] = 1,
    input_price: Annotated[
        float, typer.Option(min=0, help="Dollars a million tokens that the model reads.")
    ] = 3.0,
    output_price: Annotated[
        float, typer.Option(min=0, help="Dollars a million tokens that it writes.")
    ] = 15.0,
    answer_time: Annotated[
        str, typer.Option(help="With --cache-only: what making an answer takes.")
    ] = "2s",
    input_tokens: Annotated[
        int, typer.Option(min=0, help="With --cache-only: tokens that an answer reads.")
    ] = 1_500,
    output_tokens: Annotated[
        int, typer.Option(min=0, help="With --cache-only: tokens that an answer has.")
    ] = 250,
    min_similarity: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --cache-only: raises the floor of the cache."),
    ] = None,
    *,
    cache_only: Annotated[
        bool, typer.Option("--cache-only", help="Ask the cache and the encoder alone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask the questions of a file in their order: hits by layer, what they saved, wrong ones.

    A hit is wrong if its answer was made for a question of another `group`.
    """
    if cache_only and concurrency > 1:
        raise SlipError("--at-once: --cache-only asks one question after another")
    if min_similarity is not None and not cache_only:
        raise SlipError("--min-similarity: is for --cache-only; a policy raises the mesh's floor")
    rows = read_rows(traffic, FIELDS)
    stand_in = None
    if cache_only:
        seconds = seconds_of(answer_time, "--answer-time")
        stand_in = StandIn(seconds, input_tokens, output_tokens)
    whose = tenant or (_ALONE_TENANT if cache_only else "default")
    asked = Question(whose, "", collection=collection, policy=policy)
    order = Order(asked, concurrency, stand_in, min_similarity)
    prices = Prices(input_price, output_price)
    console = Console(stderr=True, highlight=False)
    tally = asyncio.run(carry_out(Home().find(), rows, order, console))
    if as_json:
        typer.echo(json.dumps(members(tally, prices, order), ensure_ascii=False))
    else:
        show(Console(highlight=False), tally, prices, order)


async def carry_out(place: Place, rows: Sequence[Row], order: Order, console: Console) -> Tally:
    """Replay traffic, with a progress bar.

    Raises:
        MeshError: the mesh cannot be spoken to.
    """
    with advancing(console, "replaying", len(rows)) as advance:
        if order.stand_in is None:
            async with connected(place, "orchestrator") as connection:
                client, tally = AnswerClient(connection), Tally()
                at_once = order.concurrency
                await replay_whole(client, rows, order.asked, at_once, tally, advance)
                return tally
        return await _alone(place, rows, order, order.stand_in, advance)


async def _alone(
    place: Place,
    rows: Sequence[Row],
    order: Order,
    stand_in: StandIn,
    advance: Callable[[], None],
) -> Tally:
    async with connected(place, "cache") as cache, connected(place, "embedding") as encoder:
        replaying = AloneReplay(
            CacheClient(cache),
            EmbeddingClient(encoder),
            order.asked.tenant_id,
            stand_in,
            order.asked.collection,
            order.min_similarity,
        )
        return await replaying.run(rows, advance)


def members(tally: Tally, prices: Prices, order: Order) -> dict[str, Any]:
    """Return what came of a replay, and on what terms, as one JSON object."""
    terms: dict[str, Any] = {"prices_usd_per_million_tokens": asdict(prices)}
    if order.stand_in is not None:
        terms["taken_for_an_answer"] = asdict(order.stand_in)
    wrong = [asdict(each) for each in tally.wrong]
    return {**tally.members(prices), "terms": terms, "wrong": wrong}


def show(console: Console, tally: Tally, prices: Prices, order: Order) -> None:
    """Print what came of a replay."""
    console.print(_layers(tally))
    for name, value in _facts(tally, prices, order):
        console.print(Text(f"{name:<12} {value}"), soft_wrap=True)
    for each in tally.wrong[:_SHOWN_WRONG]:
        told = f"wrong: line {each.line}, {each.layer}, {each.similarity:.3f} similar"
        told += f"\n  asked    {each.question}\n  made for {each.answered}"
        console.print(Text(told), soft_wrap=True)
    if len(tally.wrong) > _SHOWN_WRONG:
        left = len(tally.wrong) - _SHOWN_WRONG
        console.print(f"and {left:,} more wrong hits; --json names all of them")


def _layers(tally: Tally) -> Table:
    """Return the table of who answered: each layer, and those who had to."""
    table = Table(box=None, pad_edge=False)
    table.add_column("answered by")
    for name in ("questions", "share", "judged", "wrong"):
        table.add_column(name, justify="right")
    for layer, count in tally.hits.most_common():
        judged = f"{tally.judged[layer]:,}", f"{tally.wrong_by_layer[layer]:,}"
        table.add_row(f"{layer} hit", *_cells(tally, count), *judged)
    if tally.shared_count:
        table.add_row("shared in flight", *_cells(tally, tally.shared_count), "", "")
    table.add_row("made", *_cells(tally, len(tally.made)), "", "")
    return table


def _cells(tally: Tally, count: int) -> tuple[str, str]:
    return f"{count:,}", f"{share(count, tally.answered_count):.1%}"


def _facts(tally: Tally, prices: Prices, order: Order) -> list[tuple[str, str]]:
    facts = [
        ("hit rate", f"{tally.hit_rate:.1%} of {tally.answered_count:,} answered questions"),
        ("calls saved", f"{tally.calls_saved:.1%} of the answers did not have to be made"),
    ]
    judged = tally.judged.total()
    if judged:
        told = f"{len(tally.wrong):,} of {judged:,} judged, {tally.wrong_rate:.2%}"
        facts.append(("wrong hits", told))
    facts += [("time saved", _time(tally, order)), ("money saved", _money(tally, prices))]
    reasons = {
        "missed": tally.missed,
        "not stored": tally.unstored,
        "refused": tally.refused,
        "failed": tally.failed,
    }
    return facts + [(name, _counted(counts)) for name, counts in reasons.items() if counts]


def _time(tally: Tally, order: Order) -> str:
    if not tally.knows_times:
        return "not known: every answer was there before"
    return f"{_duration(tally.saved_s())}{_taken(order)}"


def _money(tally: Tally, prices: Prices) -> str:
    if not tally.knows_tokens:
        return "not known: no model said what its answers took"
    usd = prices.usd(*tally.saved_tokens())
    each = f"${prices.input_usd:g} in and ${prices.output_usd:g} out a million tokens"
    return f"${usd:,.2f} at {each}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common())


def _taken(order: Order) -> str:
    if order.stand_in is None:
        return ""
    stand_in = order.stand_in
    return (
        f", if an answer takes {stand_in.seconds:g} s, {stand_in.input_tokens:,} tokens in "
        f"and {stand_in.output_tokens:,} out"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:.0f} h {minutes:.0f} min"
    return f"{minutes:.0f} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
