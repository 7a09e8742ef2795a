"""`hasten.common.v1` to values and back."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TypeVar

from google.protobuf import duration_pb2

from hasten.common.v1 import common_pb2 as pb
from libs.errors import InvalidFieldError
from libs.values import Citation, Filter, Passage, Role, Timing, Turn, Usage

_NANOS = 1_000_000_000
EnumValue = TypeVar("EnumValue", bound=IntEnum)


def enumeration(
    kind: type[EnumValue], number: int, field: str, *, required: bool = False
) -> EnumValue:
    """Return the enum value of a request's number.

    Raises:
        InvalidFieldError: this version knows no such value, or none was given where one
            is required.
    """
    try:
        value = kind(number)
    except ValueError as error:
        raise InvalidFieldError(field, f"{number} is no known value") from error
    if required and not value:
        raise InvalidFieldError(field, "must be set")
    return value


def duration(seconds_: float) -> duration_pb2.Duration:
    """Return seconds as a `Duration`, to the nanosecond."""
    whole, rest = divmod(round(seconds_ * _NANOS), _NANOS)
    if whole < 0 and rest:
        # A Duration's two parts have one sign.
        whole, rest = whole + 1, rest - _NANOS
    return duration_pb2.Duration(seconds=whole, nanos=rest)


def seconds(message: duration_pb2.Duration) -> float:
    """Return a `Duration` in seconds."""
    return message.seconds + message.nanos / _NANOS


def timing_to(timing: Timing) -> pb.Timing:
    """Return the message of a timing."""
    message = pb.Timing(
        queue=duration(timing.queue_s),
        compute=duration(timing.compute_s),
        batch_size=timing.batch_size,
    )
    if timing.model_s:
        message.model.CopyFrom(duration(timing.model_s))
    return message


def timing_from(message: pb.Timing) -> Timing:
    """Return the timing of a message."""
    return Timing(
        seconds(message.queue),
        seconds(message.compute),
        seconds(message.model),
        message.batch_size,
    )


def filters_to(filters: Iterable[Filter]) -> list[pb.Filter]:
    """Return the messages of conditions."""
    return [pb.Filter(key=each.key, any_of=each.any_of) for each in filters]


def filters_from(messages: Iterable[pb.Filter]) -> tuple[Filter, ...]:
    """Return the conditions of messages."""
    return tuple(Filter(each.key, tuple(each.any_of)) for each in messages)


def turns_to(turns: Iterable[Turn]) -> list[pb.Turn]:
    """Return the messages of a conversation."""
    return [pb.Turn(role=int(each.role), text=each.text) for each in turns]  # type: ignore[arg-type]


def turns_from(messages: Iterable[pb.Turn]) -> tuple[Turn, ...]:
    """Return the conversation of messages.

    Raises:
        InvalidFieldError: somebody spoke whom this version does not know.
    """
    return tuple(
        Turn(enumeration(Role, each.role, f"history[{index}].role"), each.text)
        for index, each in enumerate(messages)
    )


def passage_to(passage: Passage) -> pb.Passage:
    """Return the message of a passage."""
    return pb.Passage(
        passage_id=passage.passage_id,
        document_id=passage.document_id,
        document_version=passage.document_version,
        title=passage.title,
        heading=passage.heading,
        text=passage.text,
        start_offset=passage.start_offset,
        end_offset=passage.end_offset,
        uri=passage.uri,
        score=passage.score,
    )


def passage_from(message: pb.Passage) -> Passage:
    """Return the passage of a message."""
    return Passage(
        message.passage_id,
        message.document_id,
        message.document_version,
        message.title,
        message.heading,
        message.text,
        message.start_offset,
        message.end_offset,
        message.uri,
        message.score,
    )


def citation_to(citation: Citation) -> pb.Citation:
    """Return the message of a citation."""
    return pb.Citation(
        source_index=citation.source_index,
        document_id=citation.document_id,
        cited_text=citation.cited_text,
        start_offset=citation.start_offset,
        end_offset=citation.end_offset,
        answer_offset=citation.answer_offset,
        section_id=citation.section_id,
    )


def citation_from(message: pb.Citation) -> Citation:
    """Return the citation of a message."""
    return Citation(
        message.source_index,
        message.document_id,
        message.cited_text,
        message.start_offset,
        message.end_offset,
        message.answer_offset,
        message.section_id,
    )


def usage_to(usage: Usage) -> pb.Usage:
    """Return the message of a token count."""
    return pb.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )


def usage_from(message: pb.Usage) -> Usage:
    """Return the token count of a message."""
    return Usage(
        message.input_tokens,
        message.output_tokens,
        message.cache_read_tokens,
        message.cache_write_tokens,
    )
