"""What `make model` built: which model, which files, and the digests that prove both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
# The files as they were published, for the engine that builds its own graph.
SOURCE = "source"


class Precision(StrEnum):
    """How the graph's weights are kept."""

    FP32 = "fp32"
    INT8 = "int8"


class ModelFilesError(Exception):
    """The folder holds no model, or not the one its manifest promises."""


@dataclass(frozen=True, slots=True)
class BuiltScorer:
    """The description of one built scorer.

    Attributes:
        graph_version: version of the code that wrote its graphs.
        adapter: SHA-256 of the adapter file that it was built with.
        max_tokens: tokens it reads of a pair.
        fingerprints: fingerprint of the scores, by precision.
    """

    graph_version: int
    adapter: str
    max_tokens: int
    fingerprints: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of one built model, written when all else is on disk.

    Attributes:
        name: the model's name.
        dimensions: length of a vector.
        max_tokens: tokens it reads of a text.
        languages: languages it knows, as BCP 47 tags.
        graph_version: version of the code that wrote the graphs.
        files: SHA-256 of each file, by its path below the folder.
        fingerprints: fingerprint of the vectors, by precision.
        scorers: the scorers built with it, by name.
    """

    name: str
    dimensions: int
    max_tokens: int
    languages: tuple[str, ...]
    graph_version: int
    files: Mapping[str, str]
    fingerprints: Mapping[str, str]
    scorers: Mapping[str, BuiltScorer] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of `folder`.

        Raises:
            ModelFilesError: there is none, or it cannot be understood.
        """
        path = folder / MANIFEST
        try:
            found = cls(**json.loads(path.read_text("utf-8")))
            scorers = {name: BuiltScorer(**each) for name, each in found.scorers.items()}  # type: ignore[arg-type]
        except FileNotFoundError as error:
            raise ModelFilesError(f"{path} does not exist; {_remedy(folder)}") from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ModelFilesError(f"{path} cannot be read: {error}") from error
        return replace(found, languages=tuple(found.languages), scorers=scorers)

    def text(self) -> str:
        """Return the manifest as it stands on disk."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def content(self, folder: Path, name: str) -> bytes:
        """Return a file's bytes, once they are known to be the promised ones.

        Raises:
            ModelFilesError: the file is missing or damaged.
        """
        path = folder / name
        try:
            found = path.read_bytes()
        except OSError as error:
            raise ModelFilesError(f"{path} cannot be read; {_remedy(folder)}") from error
        if hashlib.sha256(found).hexdigest() != self.files.get(name):
            raise ModelFilesError(f"{path} is damaged; {_remedy(folder)}")
        return found

    def is_intact(self, folder: Path) -> bool:
        """Return whether every file is there, and is what was built."""
        try:
            for name in self.files:
                self.content(folder, name)
        except ModelFilesError:
            return False
        return True


def graph_file(precision: str) -> str:
    """Return the name of the graph's file."""
    return f"encoder-{precision}.onnx"


def scorer_file(name: str, precision: str) -> str:
    """Return the name of a scorer's graph file."""
    return f"scorer-{name}-{precision}.onnx"


def fingerprint(*parts: str) -> str:
    """Return a short digest of all that decides what a vector or a score is."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def digest_of(folder: Path) -> str:
    """Return a digest over every file of a published model, names included."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        found.update(f"{path.relative_to(folder)} {content}\n".encode())
    return found.hexdigest()


def _remedy(folder: Path) -> str:
    return f"`python -m services.embedding.build --out {folder}` builds it"
