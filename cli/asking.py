"""`hasten ask`: asks one question and shows the answer as it comes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from cli.clients import connected
from cli.home import Place
from cli.waterfall import account_waterfall
from libs.clients.answer import AnswerClient
from libs.values import Completed, Outline, Passage, Question, Revised, SectionText, TextDelta
from libs.values.answer_json import WholeAnswer

_SHOWN_SOURCES = 3


async def ask(place: Place, question: Question, deadline_s: float | None) -> WholeAnswer:
    """Ask a question and return its whole answer.

    Raises:
        MeshError: it was refused, or the mesh failed.
    """
    return await ask_aloud(place, question, deadline_s, None)


async def ask_aloud(
    place: Place, question: Question, deadline_s: float | None, console: Console | None
) -> WholeAnswer:
    """Ask a question, print the text as it comes, and return the whole answer.

    Raises:
        MeshError: it was refused, or the mesh failed.
    """
    answer, shown = WholeAnswer(), _Shown(console)
    async with connected(place, "orchestrator") as connection:
        client = AnswerClient(connection)
        async with client.ask(question, limit_s=deadline_s) as events:
            async for numbered in events:
                answer.add(numbered.event)
                shown.add(numbered.event)
    if console is not None:
        console.print()
    return answer


class _Shown:
    """What a console shows of an answer while it comes."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._titles: dict[str, str] = {}
        self._section = ""

    def add(self, event: object) -> None:
        """Show the next event."""
        if self._console is None:
            return
        match event:
            case TextDelta(text):
                self._print(text)
            case Outline(sections):
                self._titles = {each.section_id: each.title for each in sections}
            case SectionText(section_id, text):
                self._go_to(section_id)
                self._print(text)
            case Revised(reason):
                self._titles, self._section = {}, ""
                self._console.print(f"\n[dim]withdrawn ({escape(reason)}), once more:[/dim]")

    def _go_to(self, section_id: str) -> None:
        if section_id != self._section:
            gap = "\n\n" if self._section else ""
            self._print(f"{gap}## {self._titles.get(section_id, section_id)}\n\n")
            self._section = section_id

    def _print(self, text: str) -> None:
        if self._console is not None:
            self._console.print(Text(text), end="", soft_wrap=True)


def show_ending(console: Console, answer: WholeAnswer, *, explain: bool) -> None:
    """Print where an answer came from and, if asked to explain, where its time went."""
    completed, plan = answer.completed, answer.plan
    if completed is None or plan is None:
        return
    if answer.sources is not None:
        _show_sources(console, answer.sources.passages)
    console.print(_verdict(completed), highlight=False)
    if explain:
        console.print(account_waterfall(completed.account, budget_s=plan.first_text_by_s))


def _show_sources(console: Console, passages: Sequence[Passage]) -> None:
    for passage in passages[:_SHOWN_SOURCES]:
        place = passage.uri or passage.document_id
        heading = f" · {passage.heading}" if passage.heading else ""
        console.print(
            Text(f"  from {place}{heading}", style="dim"), overflow="ellipsis", no_wrap=True
        )


def _verdict(completed: Completed) -> Text:
    account = completed.account
    first_ms = (account.first_text_s or 0.0) * 1e3
    parts = [
        layer_of(completed),
        f"quality {completed.quality.name.lower()}",
        f"first text {first_ms:.1f} ms",
        f"whole {account.total_s * 1e3:.1f} ms",
    ]
    lost = ", ".join(f"{each.hop} {each.reason}" for each in completed.degradations)
    if lost:
        parts.append(f"without: {lost}")
    return Text("  " + " · ".join(parts), style="bold")


def layer_of(completed: Completed) -> str:
    """Return where an answer came from, in words."""
    hit = completed.cache_hit
    if completed.followed_run_id:
        return f"shared with run {completed.followed_run_id[:8]}"
    if hit is None:
        return f"cache miss, by {completed.model}" if completed.model else "cache miss"
    is_stale = ", stale" if hit.stale else ""
    layer = hit.layer.name.lower()
    return f"{layer} hit, {hit.similarity:.3f} similar, {hit.age_s:.1f} s old{is_stale}"


def as_json(answer: WholeAnswer) -> str:
    """Return an answer as the one JSON object that scripts read."""
    if answer.completed is None:
        return "{}"
    return json.dumps(answer.members(answer.completed), ensure_ascii=False)
