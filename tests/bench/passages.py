"""Five thousand real passages that are on every machine: what modules say of themselves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Iterator
from itertools import islice
from types import ModuleType

from libs.values.retrieval import Document

_PACKAGES = (
    *("numpy", "redis", "rich", "starlette", "anyio", "pydantic", "onnx", "httpx2", "faiss"),
    *("typer", "click", "asyncio", "email", "http", "logging", "unittest", "urllib", "xml"),
    *("concurrent", "json", "sqlite3", "ssl", "typing", "tarfile", "zipfile", "argparse"),
    *("datetime", "decimal", "fractions", "statistics", "subprocess", "threading", "socket"),
)
_LEAST_CHARACTERS = 150
_CHARACTERS = 850


def passages(count: int) -> list[Document]:
    """Return `count` documents of one passage each, the same ones each time.

    Raises:
        ValueError: the installed packages do not hold that many.
    """
    found = [
        Document(f"doc-{number}", text, unsplit=True)
        for number, text in enumerate(islice(_texts(), count))
    ]
    if len(found) < count:
        msg = f"only {len(found)} passages are to be had here, {count} are needed"
        raise ValueError(msg)
    return found


def _texts() -> Iterator[str]:
    seen: set[str] = set()
    for text in _docstrings():
        for start in range(0, len(text), _CHARACTERS):
            piece = text[start : start + _CHARACTERS]
            if len(piece) >= _LEAST_CHARACTERS and piece not in seen:
                seen.add(piece)
                yield piece


def _docstrings() -> Iterator[str]:
    for module in _modules():
        for name, member in sorted(vars(module).items()):
            if getattr(member, "__module__", None) != module.__name__:
                continue
            yield f"{name}: {inspect.getdoc(member) or ''}"
            if inspect.isclass(member):
                for inner, method in sorted(vars(member).items()):
                    yield f"{name}.{inner}: {(callable(method) and inspect.getdoc(method)) or ''}"


def _modules() -> Iterator[ModuleType]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in _PACKAGES:
            module = importlib.import_module(package)
            yield module
            paths = getattr(module, "__path__", [])
            for found in pkgutil.walk_packages(paths, f"{package}.", onerror=lambda _: None):
                if "test" not in found.name and "__main__" not in found.name:
                    yield from _imported(found.name)


def _imported(name: str) -> Iterator[ModuleType]:
    try:
        yield importlib.import_module(name)
    except (ImportError, AttributeError, RuntimeError, OSError):
        # A module for another system or for a package that is not installed.
        return
