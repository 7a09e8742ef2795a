"""The steps of the Dockerfile, taken one by one in folders of this machine instead of in images.

It knows the instructions that the Dockerfile has. An absolute path of a step is one below the
stage's own folder; `pip` and `python` are those of an empty virtual environment of the stage.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
# Paths that steps speak of; what a shell has of its own is left alone.
_OURS = re.compile(r"(?<![\w/.-])/(src|wheel|app|model)\b")


@dataclass
class Stage:
    """A stage: what it begins with, and its instructions in order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def read_stages(text: str) -> dict[str, Stage]:
    """Return the stages of a Dockerfile, by name, in their order."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for keyword, rest in _instructions(text):
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = stages.setdefault(name or "final", Stage(name or "final", base))
        elif stage is not None:
            stage.steps.append((keyword, rest))
    return stages


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        if line.strip():
            keyword, _, rest = line.partition(" ")
            yield keyword, rest.strip()


class Kitchen:
    """Takes the steps of stages, each once, in folders below `folder`."""

    def __init__(self, folder: Path, stages: dict[str, Stage], args: dict[str, str]) -> None:
        self._folder = folder
        self._stages = stages
        self._args = args

    def root(self, name: str) -> Path:
        """Return the folder that stands for the root of a stage's image."""
        return self._folder / name

    def build(self, name: str) -> Path:
        """Take all steps of a stage, those of the stages that it needs first."""
        root = self.root(name)
        if root.exists():
            return root
        stage = self._stages[name]
        if stage.base in self._stages:
            shutil.copytree(self.build(stage.base), root, symlinks=True)
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(root / "tools")], check=True)
        env = {key: os.environ[key] for key in os.environ if not key.startswith("PYTHON")}
        env["PATH"] = f"{root / 'tools/bin'}:{env['PATH']}"
        for keyword, rest in stage.steps:
            self._take(keyword, self._filled(rest), root, env)
        return root

    def _take(self, keyword: str, rest: str, root: Path, env: dict[str, str]) -> None:
        here = root / "src"
        here.mkdir(exist_ok=True)
        if keyword == "ENV":
            env.update(pair.split("=", 1) for pair in rest.split())
        elif keyword == "RUN":
            command = _OURS.sub(lambda found: f"{root}/{found[1]}", rest)
            subprocess.run(["bash", "-euc", command], cwd=here, env=env, check=True)
        elif keyword == "COPY":
            self._copy(rest, root, here)
        elif keyword not in ("ARG", "WORKDIR"):
            raise ValueError(f"{keyword} {rest}: no such step is known")

    def _copy(self, rest: str, root: Path, here: Path) -> None:
        *sources, target = rest.split()
        source_root = ROOT
        if sources[0].startswith("--from="):
            source_root = self.build(sources.pop(0).removeprefix("--from="))
        to = root / target.lstrip("/") if target.startswith("/") else here / target
        for source in sources:
            origin = source_root / source.lstrip("/")
            into = to / origin.name if target.endswith("/") else to
            if origin.is_dir():
                shutil.copytree(origin, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(origin, into)

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda found: self._args[found[1]], text)
