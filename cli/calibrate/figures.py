"""How the shipped decision does on labelled sets that nothing was fitted on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cli.calibrate.pairs import Matrix, held_out, read_asked
from cli.pairing import LabelledPair, Outcome
from services.cache.judging.calibration import Calibration
from services.cache.judging.reuse import (
    Opinion,
    Verdict,
    cheap_opinion,
    verified_opinion,
)

_FILES: Final = {
    "CheckList": "checklist_questions/pairs.jsonl",
    "PAWS": "paws_wiki/pairs.jsonl",
    "banking traps": "banking_traps/pairs.jsonl",
}
_KEPT_OUT: Final = Path(__file__).with_name("kept_out.txt")
# Search questions nearer than this that share an answer count as one question.
_NEAR, _NEIGHBOURS = 0.7, 4


def labelled_sets(folder: Path) -> dict[str, list[LabelledPair]]:
    """Return the sets that are nobody's to fit on.

    Raises:
        OSError: one of them is not there.
    """
    return {name: _read(folder / file) for name, file in _FILES.items()}


def natural(folder: Path, vectors: Matrix) -> list[LabelledPair]:
    """Return near pairs of search questions of which one was kept out of all fitting.

    Nobody made them: both were asked by people, and are the same if they share an answer.

    Args:
        folder: of the data.
        vectors: of all search questions, in their order.
    """
    asked = read_asked(folder)
    kept_out = {text for text, _ in held_out(folder)}
    pairs: dict[frozenset[str], LabelledPair] = {}
    for index, (text, answers) in enumerate(asked):
        if text not in kept_out:
            continue
        cosines = vectors @ vectors[index]
        for other in np.argsort(-cosines)[1 : _NEIGHBOURS + 1]:
            twin, its = asked[other]
            if cosines[other] >= _NEAR and twin != text:
                pair = LabelledPair(text, twin, bool(answers & its), "search")
                pairs.setdefault(frozenset((text, twin)), pair)
    return list(pairs.values())


def reworded(folder: Path) -> list[LabelledPair]:
    """Return search questions that no fit has seen, with what was written to each by hand.

    A line of `kept_out.txt` is a question's row in the data, a rewording, and a near-miss.
    """
    asked = [text for text, _ in read_asked(folder)]
    pairs = []
    for line in _KEPT_OUT.read_text("utf-8").splitlines():
        row, rewording, miss = line.split("|")
        pairs.append(LabelledPair(asked[int(row)], rewording, same=True, kind="written"))
        pairs.append(LabelledPair(asked[int(row)], miss, same=False, kind="written"))
    return pairs


def outcomes(
    calibration: Calibration,
    pairs: Sequence[LabelledPair],
    cosines: Iterable[float],
    scores: Iterable[float],
) -> list[Outcome]:
    """Return what the decision makes of pairs, as a replica would.

    Args:
        calibration: what was fitted.
        pairs: labelled.
        cosines: of each pair.
        scores: what the verifier says of each, asked or not.
    """
    rows = zip(pairs, cosines, scores, strict=True)
    return [_outcome(calibration, pair, cosine, score) for pair, cosine, score in rows]


def _outcome(calibration: Calibration, pair: LabelledPair, cosine: float, score: float) -> Outcome:
    target = calibration.target
    opinion: Opinion | None = Opinion(Verdict.BELOW_TARGET)
    if cosine >= calibration.floor:
        opinion = cheap_opinion(calibration, pair.b, pair.a, cosine, target)
    if opinion is None:
        opinion = verified_opinion(calibration, pair.b, pair.a, cosine, target, score)
    hit = opinion.verdict is Verdict.SAME
    return Outcome(pair, hit, opinion.verdict, cosine, opinion.probability)


def _read(path: Path) -> list[LabelledPair]:
    rows = map(json.loads, path.read_text("utf-8").splitlines())
    return [
        LabelledPair(row["a"], row["b"], row["same"], row.get("kind") or row.get("category") or "")
        for row in rows
    ]
