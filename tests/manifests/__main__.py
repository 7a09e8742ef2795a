"""`make manifests`: renders every overlay into build/manifests, and says what is wrong with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.manifests.invariants import INVARIANTS
from tests.manifests.rendering import NO_RENDERER, OVERLAYS, ROOT, Rendered, render, renderer
from tests.manifests.validating import VERSIONS, problems_of

_OUT = Path("build/manifests")


def main() -> int:
    """Return 0 if all is well, 1 if not, 2 if nothing here can render."""
    if renderer() is None:
        print(f"manifests: {NO_RENDERER}", file=sys.stderr)
        return 2
    _OUT.mkdir(parents=True, exist_ok=True)
    problems = [f"{name}: {problem}" for name in OVERLAYS for problem in _problems(name)]
    print("\n".join(problems) or f"all {len(OVERLAYS)} overlays are well")
    return 1 if problems else 0


def _problems(name: str) -> Iterator[str]:
    rendered = render(name)
    path = _OUT / f"{name}.yaml"
    path.write_text(rendered.text, "utf-8")
    print(f"{path}: {len(rendered.objects)} objects")
    for version in VERSIONS:
        for problem in problems_of(rendered, version):
            yield f"{problem} (Kubernetes {version})"
    for invariant in INVARIANTS:
        yield from invariant(rendered)
    yield from _checkov(rendered, path)


def _checkov(rendered: Rendered, path: Path) -> Iterator[str]:
    """Run checkov, which has an environment of its own: what it needs would not fit ours."""
    command = shutil.which("checkov", path=str(Path(".venv-checkov/bin").resolve()))
    if command is None:
        print(f"{rendered.name}: checkov is not here, `make manifests` brings it")
        return
    config = str(ROOT / "checkov.yaml")
    done = subprocess.run(
        [command, "--config-file", config, "-f", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        yield f"checkov:\n{done.stdout}{done.stderr}"


if __name__ == "__main__":
    sys.exit(main())
