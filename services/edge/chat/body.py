"""The body of a chat completion, and the question that it comes to.

What an OpenAI client may send falls into three: what is understood, what would change the
answer and cannot be had (refused, naming the field), and the rest, which is left unused and
listed in the answer.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.edge.answers.body import MOST_BUDGET_MS, AskBody, FilterBody
from services.edge.problem import Problem, ProblemError
from services.edge.web.body import Strict

MODEL = "hasten"
_MOST_NAMED = 32


class _Loose(BaseModel):
    # OpenAI's clients and what is built on them send fields that come and go.
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


class PartBody(_Loose):
    """A part of a message."""

    type: str
    text: str | None = None


class MessageBody(_Loose):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | tuple[PartBody, ...] | None = None


class NamedSchema(_Loose):
    """A schema with its name."""

    name: str = ""
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class FormatBody(_Loose):
    """Which form the text is to have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class StreamOptions(_Loose):
    """What a stream has besides text."""

    include_usage: bool | None = None


class Extension(Strict):
    """What only hasten knows; as the fields of the same names of `POST /v1/answers`."""

    collection: str = "default"
    filters: tuple[FilterBody, ...] = ()
    scope: str = ""
    budget_ms: float | None = Field(default=None, gt=0, le=MOST_BUDGET_MS)
    deadline_ms: float | None = Field(default=None, gt=0)
    minimum_quality: str | None = None
    cache_control: str = "default"


class ChatBody(_Loose):
    """A chat completion as OpenAI's clients ask for it."""

    model: str
    messages: tuple[MessageBody, ...] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: FormatBody | None = None
    n: int | None = None
    stop: str | tuple[str, ...] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tool_choice: Any = None
    function_call: Any = None
    modalities: tuple[str, ...] | None = None
    hasten: Extension = Extension()

    @property
    def wants_usage(self) -> bool:
        """True if a stream is to end with what it used."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def asked(self) -> AskBody:
        """Return the question.

        Raises:
            ProblemError: something is asked for that cannot be had; the problem names it.
        """
        self._check()
        *earlier, last = [
            {"role": each.role, "text": _text(each, f"messages[{at}]")}
            for at, each in enumerate(self.messages)
            if each.role in ("user", "assistant")
        ] or [{"role": ""}]
        if last["role"] != "user":
            raise _refused("messages", "the last one must be the user's")
        members = {
            "question": last["text"],
            "history": earlier,
            "policy": policy_of(self.model),
            "output_schema": self._output_schema(),
            **self.hasten.model_dump(exclude_unset=True, mode="json"),
        }
        return _ask_body({name: value for name, value in members.items() if value is not None})

    def unused(self) -> list[str]:
        """Return the names of what was sent and had no effect."""
        messages = (
            f"messages[{at}]"
            for at, each in enumerate(self.messages)
            if each.role in ("system", "developer")
        )
        fields = (name for name, value in (self.model_extra or {}).items() if value is not None)
        choices = [name for name in ("tool_choice", "function_call") if getattr(self, name)]
        return [*messages, *choices, *fields][:_MOST_NAMED]

    def _check(self) -> None:
        if self.n not in (None, 1):
            raise _refused("n", "there is one answer")
        if self.stop:
            raise _refused("stop", "an answer ends by itself")
        if self.logprobs or self.top_logprobs:
            raise _refused("logprobs", "they are not known")
        if self.modalities and set(self.modalities) != {"text"}:
            raise _refused("modalities", "an answer is text")
        for name in ("tool_choice", "function_call"):
            if getattr(self, name) not in (None, "auto", "none"):
                raise _refused(name, "no tool is ever called")
        for at, each in enumerate(self.messages):
            if each.role in ("tool", "function"):
                raise _refused(f"messages[{at}].role", "no tool is ever called")

    def _output_schema(self) -> dict[str, Any] | None:
        form = self.response_format
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return {"type": "object"}
        if form.json_schema is None or form.json_schema.schema_ is None:
            raise _refused("response_format.json_schema.schema", "must be given")
        return form.json_schema.schema_


def policy_of(model: str) -> str:
    """Return the policy that a model's name stands for.

    Raises:
        ProblemError: it is no name of ours.
    """
    name, separator, policy = model.partition(":")
    if name != MODEL or (separator and not policy):
        detail = f"The model {model!r} does not exist; there is {MODEL}, and {MODEL}:<policy>."
        raise ProblemError(Problem(404, "MODEL_NOT_FOUND", detail, "model"))
    return policy or "interactive"


def _text(message: MessageBody, field: str) -> str:
    if isinstance(message.content, str):
        return message.content
    if message.content is None:
        raise _refused(f"{field}.content", "must be text")
    texts = []
    for at, part in enumerate(message.content):
        if part.type != "text" or part.text is None:
            raise _refused(f"{field}.content[{at}]", "must be a part of type text")
        texts.append(part.text)
    return "".join(texts)


def _ask_body(members: dict[str, Any]) -> AskBody:
    try:
        return AskBody.model_validate_json(json.dumps(members, allow_nan=False))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        raise _refused(name, first["msg"]) from error
    except ValueError as error:  # a number that is not finite, or has thousands of digits
        raise _refused("output_schema", "must hold only numbers that JSON has") from error


def _refused(field: str, says: str) -> ProblemError:
    return ProblemError(Problem(400, "INVALID_FIELD", f"{field}: {says}", field))
