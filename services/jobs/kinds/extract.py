"""`extract`: what rows or documents say, as values of a schema that the caller gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from libs.values import Passage, Quality
from libs.values.retrieval import StoredDocument
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.inputs import (
    MOST_ROWS,
    DocumentChoice,
    Instructions,
    Rows,
    has_choice,
    keyed,
)
from services.jobs.kinds.kind import Task, Teller, kind_of
from services.jobs.kinds.library import Library
from services.jobs.kinds.parts import passages_of
from services.jobs.kinds.replies import written_to
from services.jobs.kinds.schema import BadOutputError, Form, checked_schema
from services.jobs.kinds.walk import walk
from services.jobs.kinds.work import Steps, side_by_side
from services.jobs.kinds.writing import DATA_RULE, Tier, Writer

NO_MODEL = "no model is configured"
# What a model reads at once for one value: about 40,000 tokens of English.
_MOST_CHARACTERS = 160_000
_MOST_TOKENS = 4_096
_STAGE = "extracting"
_QUESTION = "Extract what the schema asks for from the text."


class ExtractInput(DocumentChoice):
    """Rows, or documents if there are none, and the schema of what is to be found in each.

    Attributes:
        rows: what to read; a plain text has its place as its id.
        output_schema: a JSON Schema (2020-12), at most 16,384 bytes.
        instructions: what else is to be heeded.
        tier: the model.
    """

    rows: Rows = Field(default=(), max_length=MOST_ROWS)
    output_schema: Annotated[dict[str, Any], AfterValidator(checked_schema)]
    instructions: Instructions = ""
    tier: Tier = "best"

    @model_validator(mode="after")
    def _rows_or_documents(self) -> ExtractInput:
        keyed(self.rows)
        if self.rows and has_choice(self):
            raise ValueError("rows: cannot be given together with a choice of documents")
        return self


@dataclass(frozen=True, slots=True)
class _Extractor:
    """Reads one text at a time."""

    writer: Writer
    form: Form
    instructions: str

    async def value(self, passages: list[Passage]) -> dict[str, Any]:
        """Return the item of a text: its value, or why there is none."""
        if not self.writer.has_model:
            return {"reason": NO_MODEL}
        size = sum(len(each.text) for each in passages)
        if size > _MOST_CHARACTERS:
            return {"reason": f"has {size} characters, more than {_MOST_CHARACTERS}"}
        try:
            value = await written_to(
                self.form,
                self.writer,
                _QUESTION,
                system=self._system(),
                passages=passages,
                max_output_tokens=_MOST_TOKENS,
            )
        except BadOutputError as error:
            return {"reason": f"the model's answer cannot be used: {error}"}
        return {"value": value}

    def _system(self) -> str:
        rule = (
            "You read a text and write down what a JSON Schema asks for, and nothing that the text "
            "does not say. What it does not say is null or left out, as the schema allows. "
            f"{DATA_RULE}"
        )
        schema = f"The schema:\n{self.form.text}"
        return "\n\n".join(filter(None, (rule, schema, self.instructions)))


async def _rows(given: ExtractInput, extractor: _Extractor, teller: Teller) -> list[str]:
    """Extract from each row, identical ones once, and return the keys of all."""
    texts = keyed(given.rows)
    same: dict[str, list[str]] = {}
    for key, text in texts.items():
        same.setdefault(text, []).append(key)
    steps = Steps(teller, len(texts), sum(key in teller.items for key in texts))
    await steps.at(_STAGE)

    async def extract(text: str) -> None:
        keys = same[text]
        value: Mapping[str, Any] | None = next(
            (teller.items[key] for key in keys if key in teller.items), None
        )
        if value is None:
            value = await extractor.value([_passage(text)])
        for key in keys:
            if key not in teller.items:
                await teller.item(key, value)
                await steps.done(_STAGE)

    await side_by_side(same, extract)
    return list(texts)


async def _documents(
    task: Task, given: ExtractInput, extractor: _Extractor, teller: Teller, clients: Clients
) -> tuple[list[str], bool]:
    """Extract from each document; return the keys of all, and whether there were more."""

    async def item(stored: StoredDocument) -> Mapping[str, Any]:
        return await extractor.value(passages_of(stored))

    library = Library.of(task, clients, given)
    walked = await walk(library, given, teller, item, stage=_STAGE)
    unread = [each["document_id"] for each in walked.unread]
    return list(dict.fromkeys([*walked.items, *unread])), walked.is_cut


def _passage(text: str) -> Passage:
    return Passage("row", "row", 0, "", "", text, 0, len(text))


async def _run(
    task: Task, given: ExtractInput, teller: Teller, clients: Clients
) -> Mapping[str, Any]:
    writer = await Writer.open(task, clients, given.tier)
    extractor = _Extractor(writer, Form(given.output_schema), given.instructions)
    if given.rows:
        keys, is_cut = await _rows(given, extractor, teller), False
    else:
        keys, is_cut = await _documents(task, given, extractor, teller, clients)
    extracted = sum("value" in teller.items[key] for key in keys)
    return {
        "item_count": len(keys),
        "extracted_count": extracted,
        "failed_count": len(keys) - extracted,
        "is_cut": is_cut,
        **writer.account(None if extracted else Quality.REFUSAL),
    }


EXTRACT = kind_of("extract", ExtractInput, _run)
"""Values of a schema, from rows or documents."""
