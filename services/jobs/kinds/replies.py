"""What a model writes to a schema, with one more try for what does not fit."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from libs.values import FinishReason, Passage, Role, Turn
from services.jobs.kinds.schema import BadOutputError, Form
from services.jobs.kinds.writing import Writer, Written

_MOST_REPEATED = 6_000
_REFUSED = "the model refused"


async def written_to(
    form: Form,
    writer: Writer,
    question: str,
    *,
    system: str,
    passages: Sequence[Passage],
    max_output_tokens: int,
) -> object:
    """Return what a model writes to a schema; it is asked once more, told what was wrong.

    Raises:
        BadOutputError: the second answer does not satisfy it either.
        MeshError: the model failed.
    """
    ask = functools.partial(
        writer.write,
        system=system,
        passages=passages,
        output_schema=form.text,
        max_output_tokens=max_output_tokens,
    )
    written = await ask(question)
    try:
        return read(form, written)
    except BadOutputError as error:
        said = written.text[:_MOST_REPEATED] or "(nothing)"
        turns = (Turn(Role.USER, question), Turn(Role.ASSISTANT, said))
        asked = f"That does not satisfy the schema: {error}. Reply with the corrected JSON alone."
    return read(form, await ask(asked, history=turns))


def read(form: Form, written: Written) -> object:
    """Return the value that was written.

    Raises:
        BadOutputError: it is none, is cut off, or does not satisfy the schema.
    """
    if written.finish_reason is FinishReason.REFUSAL:
        raise BadOutputError(_REFUSED)
    if written.finish_reason is FinishReason.MAX_TOKENS:
        raise BadOutputError("it is longer than it may be")
    return form.read(written.text)
