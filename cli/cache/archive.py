"""Files of exported answers: JSON lines that show a person what they hold.

The first line says what the file is and whose answers it holds, the last one how many, so
that a file that was cut off is noticed. Between them each answer has a line: what a person
wants to know of it, and its record in base64 with a checksum.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cli.options import SlipError
from libs.values.cache import ExportedAnswer

_FORMAT = "hasten-answers"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer of a file, whole.

    Attributes:
        line: its line, from 1.
    """

    line: int
    entry_id: str
    question: str
    record: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """A line of a file that cannot be used, and why."""

    line: int
    problem: str


class ArchiveWriter:
    """Writes a file of answers, that is there as a whole or not at all.

    Only its owner may read it: it holds what a tenant was told.
    """

    def __init__(self, path: Path, tenant_id: str) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._tenant_id = tenant_id
        self.count = 0

    def __enter__(self) -> Self:
        self._part.unlink(missing_ok=True)
        self._part.touch(mode=0o600)
        self._file = self._part.open("w", encoding="utf-8")
        head = {"format": _FORMAT, "version": _VERSION, "tenant": self._tenant_id}
        self._write(head)
        return self

    def add(self, answer: ExportedAnswer) -> None:
        """Write one more answer."""
        self.count += 1
        self._write(
            {
                "entry_id": answer.entry_id,
                "question": answer.question,
                "created": _when(answer.create_time_s),
                "expires": _when(answer.expire_time_s),
                "quality": answer.quality.name.lower(),
                "model": answer.model,
                "sha256": hashlib.sha256(answer.record).hexdigest(),
                "record": base64.b64encode(answer.record).decode(),
            }
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write({"count": self.count})
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)

    def _write(self, members: dict[str, Any]) -> None:
        self._file.write(json.dumps(members, ensure_ascii=False) + "\n")


class Archive:
    """A file of answers, read line by line.

    Attributes:
        tenant_id: whose answers it holds.
    """

    def __init__(self, path: Path) -> None:
        """Look at the first line.

        Raises:
            OSError: the file cannot be read.
            SlipError: it is no file of answers, or one of another version.
        """
        self._path = path
        with path.open("rb") as file:
            head = _members(file.readline()) or {}
        if head.get("format") != _FORMAT:
            raise SlipError(f"{path}:1: is no file that `hasten cache export` wrote")
        if head.get("version") != _VERSION:
            version = head.get("version")
            raise SlipError(f"{path}:1: version: must be {_VERSION}, is {version!r}")
        self.tenant_id = str(head.get("tenant", ""))

    def answers(self) -> Iterator[Kept | Broken]:
        """Yield each answer, and each line that is none; at the end, if it came too early."""
        seen, number, told = 0, 1, None
        with self._path.open("rb") as file:
            next(file)
            for number, line in enumerate(file, 2):
                members = _members(line)
                if members is not None and members.keys() == {"count"}:
                    told = members["count"]
                    continue
                seen += 1
                yield _answer(number, members)
        if told is None:
            yield Broken(number, "is not the last line of an export: the file was cut off")
        elif told != seen:
            yield Broken(number, f"count: {told} answers were written, {seen} are here")


def _answer(number: int, members: dict[str, Any] | None) -> Kept | Broken:
    if members is None:
        return Broken(number, "is not a JSON object")
    for name in ("entry_id", "question", "sha256", "record"):
        if not isinstance(members.get(name), str):
            return Broken(number, f"{name}: must be text, is missing or something else")
    try:
        record = base64.b64decode(members["record"], validate=True)
    except binascii.Error as error:
        return Broken(number, f"record: is not base64: {error}")
    if hashlib.sha256(record).hexdigest() != members["sha256"]:
        return Broken(number, "record: is not what was exported: its SHA-256 is another")
    return Kept(number, members["entry_id"], members["question"], record)


def _members(line: bytes) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
