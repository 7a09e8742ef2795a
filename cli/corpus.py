"""Real documents that are on every machine: this project's own, and those of its libraries."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from libs.values.retrieval import Document, TextFormat

_MOST_CHARACTERS = 16_000
_LEAST_CHARACTERS = 400
_MODULES = (
    "anyio",
    "faiss.class_wrappers",
    "grpc",
    "grpc.aio",
    "httpx2",
    "redis.asyncio.client",
    "rich.console",
    "rich.progress",
    "starlette.requests",
    "starlette.responses",
    "tokenizers",
    "typer",
)


def corpus(project: Path) -> list[Document]:
    """Return the documents of a project's folder and of the libraries that hasten runs on."""
    return [*_own(project), *_readmes(), *_docstrings()]


def _own(project: Path) -> Iterator[Document]:
    for path in sorted([*project.glob("*.md"), *project.glob("docs/**/*.md")]):
        name = path.relative_to(project).as_posix()
        text = path.read_text("utf-8")
        yield Document(f"project/{name}", text, TextFormat.MARKDOWN, name, uri=name)


def _readmes() -> Iterator[Document]:
    """Yield the description that each library was published with."""
    for name in sorted(_libraries()):
        found = metadata.metadata(name).json
        text = str(found.get("description", ""))
        if len(text) >= _LEAST_CHARACTERS:
            kind = str(found.get("description_content_type", ""))
            is_markdown = kind.startswith("text/markdown")
            how = TextFormat.MARKDOWN if is_markdown else TextFormat.PLAIN
            cut = text[:_MOST_CHARACTERS]
            yield Document(f"readme/{name}", cut, how, name, uri=f"{name} README")


def _libraries() -> set[str]:
    """Return every library that hasten runs on, theirs included, by its normalised name."""
    found: set[str] = set()
    to_see = [Requirement("hasten[all]")]
    seen: set[str] = set()
    while to_see:
        wanted = to_see.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        try:
            needed = map(Requirement, metadata.requires(wanted.name) or [])
        except metadata.PackageNotFoundError:
            continue
        found.add(canonicalize_name(wanted.name))
        to_see += [each for each in needed if _applies(each, wanted.extras)]
    return found - {"hasten"}


def _applies(needed: Requirement, extras: set[str]) -> bool:
    if needed.marker is None:
        return True
    return any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _docstrings() -> Iterator[Document]:
    """Yield what some modules say of themselves, a document each."""
    for name in _MODULES:
        text = "\n\n".join(_described(name))
        if len(text) >= _LEAST_CHARACTERS:
            cut = text[:_MOST_CHARACTERS]
            where = f"docstrings of {name}"
            yield Document(f"docstrings/{name}", cut, TextFormat.PLAIN, name, uri=where)


def _described(module_name: str) -> Iterator[str]:
    module = importlib.import_module(module_name)
    for name, member in sorted(vars(module).items()):
        is_public = not name.startswith("_") and (inspect.isclass(member) or callable(member))
        text = inspect.getdoc(member) if is_public else None
        if text and len(text) >= _LEAST_CHARACTERS // 4:
            yield f"{name}: {text}"
