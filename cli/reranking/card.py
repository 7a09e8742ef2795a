"""The card that goes with the weights."""

from __future__ import annotations

from collections.abc import Sequence

from cli.reranking.fitting import RIDGE, Fold
from cli.reranking.gathering import Case
from services.retrieval.reranking.features import NAMES

_HEAD = """\
# The order of passages

Written by `python -m cli.reranking`; do not edit.

**What it is.** `data/rerank.json` holds one weight for each feature of `features.py`; the passage
with the largest weighted sum comes first. A feature can count in one direction only.

**What it was fitted on.** The English questions of XQuAD (48 articles, 240 paragraphs, each kept in
one passage, without titles), as the retrieval service finds them with the encoder that ships
(int8). A conditional logit with a ridge of {ridge:g}. What ships is fitted on all articles.

**How it was judged.** Each article's questions were put in order by weights that were fitted on
the other articles only.

**What was not blind.** Which features there are, and the ridge, were chosen with these same
leave-one-article-out figures in view, among some fifty sets of features and seven ridges whose
figures lay between 2.5 and 4.0 points. Expect a little less of documents of your own.

**Limits.** English: the words that ask, the endings, the stop words. One kind of text
(Wikipedia). Titles and headings count as the passage's first words; no weight of their own was
fitted, as the data has none. What needs a synonym is left to the cosine. Questions about a
whole subject ("these protests") stay hard.

"""


def card(cases: Sequence[Case], folds: Sequence[Fold], weights: Sequence[float]) -> str:
    """Return the card: what it is, and how often the right passage is first."""
    count = len(cases)
    first = {
        "by words": sum(case.first_by_words for case in cases),
        "by meaning": sum(case.first_by_meaning for case in cases),
        "fused": sum(fold.fused for fold in folds),
        "reranked, leave-one-article-out": sum(fold.reranked for fold in folds),
    }
    lines = ["| list | recall@1 | of 1,190 |".replace("1,190", f"{count:,}"), "|---|---|---|"]
    lines += [f"| {name} | {hits / count:.4f} | {hits:,} |" for name, hits in first.items()]
    gain = (first["reranked, leave-one-article-out"] - first["fused"]) / count * 100
    mrr = sum(fold.reciprocal_ranks for fold in folds) / count
    lines += ["", f"Reranked over fused: {gain:+.2f} points; mean reciprocal rank {mrr:.4f}.", ""]
    return _HEAD.format(ridge=RIDGE) + "\n".join([*lines, *_weights(weights), *_folds(folds), ""])


def _weights(weights: Sequence[float]) -> list[str]:
    rows = [f"| `{name}` | {weight:.3f} |" for name, weight in zip(NAMES, weights, strict=True)]
    return ["| feature | weight |", "|---|---|", *rows, ""]


def _folds(folds: Sequence[Fold]) -> list[str]:
    rows = [
        f"| {each.article} | {each.question_count} | {each.fused} | {each.reranked} |"
        for each in folds
    ]
    return [
        "| article left out | questions | fused first | reranked first |",
        "|---|---|---|---|",
        *rows,
    ]
