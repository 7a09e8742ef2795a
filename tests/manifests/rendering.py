"""Kustomizations as the objects that they make."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2] / "k8s"
OVERLAYS = tuple(sorted(path.name for path in (ROOT / "overlays").iterdir()))
NO_RENDERER = "neither kustomize nor kubectl is on the path"


@dataclass(frozen=True)
class Rendered:
    """The objects of one overlay."""

    name: str
    text: str
    objects: list[dict[str, Any]]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the objects of these kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """Return one object; a KeyError says which is missing."""
        for each in self.of(kind):
            if each["metadata"]["name"] == name:
                return each
        raise KeyError(f"{kind} {name}")


def renderer() -> list[str] | None:
    """Return the command that renders a folder; None if there is none here."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def render(overlay: str) -> Rendered:
    """Render one overlay."""
    command = renderer()
    if command is None:
        raise FileNotFoundError(NO_RENDERER)
    done = subprocess.run(
        [*command, str(ROOT / "overlays" / overlay)], capture_output=True, text=True, check=True
    )
    return parsed(overlay, done.stdout)


def parsed(name: str, text: str) -> Rendered:
    """Return the objects of a rendered text."""
    return Rendered(name, text, [each for each in yaml.safe_load_all(text) if each])
