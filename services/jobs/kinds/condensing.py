"""Many texts made into one: those that do not fit together are first made into fewer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from services.jobs.kinds.parts import MOST_PASSAGES, PART_CHARACTERS, groups
from services.jobs.kinds.work import side_by_side

Condense = Callable[[Sequence[str]], Awaitable[str]]
"""Makes one shorter text of some."""


async def condensed(texts: Sequence[str], condense: Condense) -> list[str]:
    """Return texts that fit into one prompt together, made of those given if they do not.

    Neighbours are put together, as many as fit, and each such group is made into one text, until
    all fit. It ends: a group is at least two texts, and a text that came of one is cut to what
    lets many of them fit.
    """
    texts = list(texts)
    while len(texts) > 1 and not _fit(texts):
        texts = await _level(texts, condense)
    return texts


def _fit(texts: Sequence[str]) -> bool:
    return sum(map(len, texts)) <= PART_CHARACTERS and len(texts) <= MOST_PASSAGES


async def _level(texts: Sequence[str], condense: Condense) -> list[str]:
    shorter = [text[: PART_CHARACTERS // 2] for text in texts]
    gathered = groups(shorter, [len(each) for each in shorter], PART_CHARACTERS, MOST_PASSAGES)
    made: dict[int, str] = {}

    async def one(place: int) -> None:
        group = gathered[place]
        made[place] = (
            (await condense(group))[: PART_CHARACTERS // 4] if len(group) > 1 else group[0]
        )

    await side_by_side(range(len(gathered)), one)
    return [made[place] for place in sorted(made)]
