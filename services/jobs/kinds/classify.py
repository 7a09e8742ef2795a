"""`classify`: rows into given labels, many in one call of a model, results as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from libs.values import Passage
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.inputs import MOST_ROWS, Instructions, Rows, keyed
from services.jobs.kinds.kind import JobInput, Task, Teller, kind_of
from services.jobs.kinds.labels import (
    Label,
    LabelName,
    reply_schema,
    row_schema,
    system_of,
)
from services.jobs.kinds.likeness import likeness
from services.jobs.kinds.parts import groups
from services.jobs.kinds.replies import read
from services.jobs.kinds.schema import BadOutputError, Form
from services.jobs.kinds.work import Steps, side_by_side
from services.jobs.kinds.writing import Tier, Writer

_MOST_LABELS, _MOST_LABEL_CHARACTERS = 200, 20_000
_MOST_BATCH_CHARACTERS = 16_000
# A row's number, label and reason.
_TOKENS_PER_ROW = 80
_LEAST_TOKENS = 200
_STAGE = "classifying"
_MOST_REASON = 300
NO_LABEL = "none of the labels fits"
NOT_ALIKE = "no model is configured, and no label is clearly nearest to it"


class ClassifyInput(JobInput):
    """Rows and labels.

    Attributes:
        rows: what to classify; a plain text has its place as its id.
        labels: 2 to 200; a plain text is a name without a description.
        multiple: True gives a row as many labels as fit, or none.
        instructions: what else is to be heeded.
        tier: the model.
        batch_rows: rows in one call.
    """

    rows: Rows = Field(min_length=1, max_length=MOST_ROWS)
    labels: tuple[Label | LabelName, ...] = Field(min_length=2, max_length=_MOST_LABELS)
    multiple: bool = False
    instructions: Instructions = ""
    tier: Tier = "fast"
    batch_rows: int = Field(default=20, ge=1, le=50)

    @model_validator(mode="after")
    def _names_differ(self) -> ClassifyInput:
        keyed(self.rows)
        names = [each.name for each in self.described()]
        if len(set(names)) < len(names):
            raise ValueError("labels: two have the same name")
        size = sum(len(each.name) + len(each.description) for each in self.described())
        if size > _MOST_LABEL_CHARACTERS:
            limit = f"{_MOST_LABEL_CHARACTERS:,} characters"
            raise ValueError(f"labels: must have at most {limit} together, have {size:,}")
        return self

    def described(self) -> list[Label]:
        """Return the labels with what they mean."""
        return [Label(name=each) if isinstance(each, str) else each for each in self.labels]


_Value = Mapping[str, Any]


class _Board:
    """Which rows have their label; rows of the same text have the same one."""

    def __init__(self, texts: Mapping[str, str], teller: Teller) -> None:
        self._teller = teller
        self._keys: dict[str, list[str]] = {}
        done = 0
        for key, text in texts.items():
            self._keys.setdefault(text, []).append(key)
            done += key in teller.items
        self._steps = Steps(teller, len(texts), done)

    async def open(self) -> list[str]:
        """Return the texts that are still to be classified; pass on what is known of others."""
        await self._steps.at(_STAGE)
        left = []
        for text, keys in self._keys.items():
            known = next(
                (self._teller.items[key] for key in keys if key in self._teller.items), None
            )
            if known is None:
                left.append(text)
            else:
                await self.settle(text, known)
        return left

    async def settle(self, text: str, value: _Value) -> None:
        """Deliver what has come of a text, once for each of its rows."""
        for key in self._keys[text]:
            if key not in self._teller.items:
                await self._teller.item(key, value)
                await self._steps.done(_STAGE)


class _Batches:
    """Texts classified by a model, many in one call; those that come back wrong, each alone."""

    def __init__(self, given: ClassifyInput, writer: Writer, board: _Board) -> None:
        self._given = given
        self._writer = writer
        self._board = board
        labels = given.described()
        self._system = system_of(labels, given.instructions, multiple=given.multiple)
        row = row_schema([each.name for each in labels], multiple=given.multiple)
        self._row, self._reply = Form(row), Form(reply_schema(row))
        # Of many rows, those that fit are of use whatever the others are.
        self._shape = Form(reply_schema({}))

    async def run(self, texts: Sequence[str]) -> None:
        """Classify texts, a few batches at a time."""
        sizes = [len(text) for text in texts]
        batches = groups(texts, sizes, _MOST_BATCH_CHARACTERS, self._given.batch_rows)
        await side_by_side(batches, self._batch)

    async def _batch(self, texts: Sequence[str]) -> None:
        try:
            values = await self._asked(texts)
        except BadOutputError:
            values = {}
        for text, value in values.items():
            await self._board.settle(text, value)
        for text in texts:
            if text not in values:
                await self._alone(text)

    async def _alone(self, text: str) -> None:
        try:
            values = await self._asked([text], is_strict=True)
        except BadOutputError as error:
            reason = f"the model's answer cannot be used: {error}"
            values = {text: self._shown({"label": None, "reason": reason})}
        await self._board.settle(text, values[text])

    async def _asked(self, texts: Sequence[str], *, is_strict: bool = False) -> dict[str, _Value]:
        """Return what a model says of texts, as far as it fits.

        Raises:
            BadOutputError: nothing fits; or, if it is strict, not everything.
        """
        written = await self._writer.write(
            f"Classify each of the {len(texts)} rows.",
            system=self._system,
            passages=[_passage(number, text) for number, text in enumerate(texts, start=1)],
            output_schema=self._reply.text,
            max_output_tokens=_LEAST_TOKENS + _TOKENS_PER_ROW * len(texts),
        )
        reply = read(self._reply if is_strict else self._shape, written)
        values: dict[str, _Value] = {}
        for row in reply["rows"]:  # type: ignore[index]
            number = self._number(row, len(texts))
            if number and texts[number - 1] not in values:
                values[texts[number - 1]] = self._shown(row)
        if is_strict and not values:
            raise BadOutputError("it is of other rows")
        return values

    def _number(self, row: Any, count: int) -> int:
        """Return which row an entry is of, if it can be used; 0 if not."""
        try:
            self._row.check(row)
        except BadOutputError:
            return 0
        # To a schema, 1.0 is an integer as well.
        number = int(row["row"])
        return number if 1 <= number <= count else 0

    def _shown(self, value: _Value) -> _Value:
        reason = value.get("reason", "")[:_MOST_REASON]
        if self._given.multiple:
            labels = list(dict.fromkeys(value.get("labels", ())))
            return {"labels": labels} | ({} if labels else {"reason": reason or NO_LABEL})
        if value["label"] is None:
            return {"label": None, "reason": reason or NO_LABEL}
        return {"label": value["label"]}


def _passage(number: int, text: str) -> Passage:
    name = f"row {number}"
    return Passage(f"{number:04d}", name, 0, name, "", text, 0, len(text))


async def _by_likeness(
    given: ClassifyInput, texts: Sequence[str], board: _Board, clients: Clients
) -> None:
    """Give each text the label whose name and description are clearly nearest to it."""
    labels = given.described()
    described = [f"{each.name}. {each.description}".strip() for each in labels]
    async for text, place, value in likeness(texts, described, clients.embedding):
        if place is None:
            empty: _Value = {"labels": []} if given.multiple else {"label": None}
            await board.settle(text, {**empty, "reason": NOT_ALIKE})
            continue
        name, similarity = labels[place].name, round(value, 4)
        found: _Value = {"labels": [name]} if given.multiple else {"label": name}
        await board.settle(text, {**found, "similarity": similarity})


async def _run(
    task: Task, given: ClassifyInput, teller: Teller, clients: Clients
) -> Mapping[str, Any]:
    texts = keyed(given.rows)
    board = _Board(texts, teller)
    writer = await Writer.open(task, clients, given.tier)
    left = await board.open()
    if writer.has_model:
        await _Batches(given, writer, board).run(left)
    else:
        await _by_likeness(given, left, board, clients)
    found = [_labels_of(teller.items[key]) for key in texts]
    counts = Counter(label for labels in found for label in labels)
    classified = sum(map(bool, found))
    return {
        "row_count": len(texts),
        "classified_count": classified,
        "unclassified_count": len(texts) - classified,
        "label_counts": {each.name: counts[each.name] for each in given.described()},
        **writer.account(),
    }


def _labels_of(value: _Value) -> Sequence[str]:
    label = value.get("label")
    return [label] if label else value.get("labels", ())


CLASSIFY = kind_of("classify", ClassifyInput, _run)
"""Rows into given labels."""
