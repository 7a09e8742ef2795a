"""A job's way through the documents that it reads: an item for each, and what is left of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from libs.values.retrieval import StoredDocument
from services.jobs.kinds.inputs import DocumentChoice
from services.jobs.kinds.kind import Teller
from services.jobs.kinds.library import NOT_FOUND, Library
from services.jobs.kinds.work import Steps, side_by_side

Work = Callable[[StoredDocument], Awaitable[Mapping[str, Any]]]
"""Makes the item of a document; one without a value has a `reason`."""


@dataclass(frozen=True, slots=True)
class Walked:
    """What has come of the documents.

    Attributes:
        items: those of the documents that were chosen, in their order, by id.
        unread: the others, and those that came to nothing, with their reasons.
        is_cut: True if there were more documents than may be read.
        steps: how far the job is.
    """

    items: Mapping[str, Mapping[str, Any]]
    unread: list[dict[str, Any]]
    is_cut: bool
    steps: Steps


async def walk(
    library: Library,
    choice: DocumentChoice,
    teller: Teller,
    work: Work,
    *,
    stage: str,
    steps_after: int = 0,
) -> Walked:
    """Make the item of each document that is chosen, a few at a time; those that are there stay.

    Args:
        library: where the documents are.
        choice: which are meant.
        teller: told of each item.
        work: makes an item.
        stage: what this is called.
        steps_after: what is to be done after it.
    """
    chosen = await library.choose(choice)
    keys = [each.document_id for each in chosen.documents]
    everything = [*keys, *chosen.missing]
    done = sum(key in teller.items for key in everything)
    steps = Steps(teller, len(everything) + steps_after, done)
    await steps.at(stage)

    async def visit(key: str) -> None:
        if key in teller.items:
            return
        missing = chosen.missing.get(key)
        stored = None if missing else await library.document(key)
        made = {"reason": missing or NOT_FOUND} if stored is None else await work(stored)
        await teller.item(key, {"document_id": key, **made})
        await steps.done(stage, key)

    await side_by_side(everything, visit)
    items = {key: teller.items[key] for key in everything}
    unread = [
        {"document_id": key, "reason": each["reason"]}
        for key, each in items.items()
        if "reason" in each
    ]
    return Walked({key: items[key] for key in keys}, unread, chosen.is_cut, steps)
