"""The card that goes with what was fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cli.pairing import COSINES, Outcome, Rates, at_cosine, rates
from services.cache.judging.calibration import Calibration

_HEAD = """\
# The decision on reuse

Written by `make calibrate`; do not edit.

**What it is.** `reuse.json` holds two logistic regressions over cheap features of two questions
(cosine, shared words, numbers, names, opposites, negation, order ...): one by these alone, which
refuses what is plainly another question, and one with the log odds of the verifier, the
cross-encoder that `services/embedding/adapters/same_answer.safetensors` makes of the sentence
encoder.

**What it was fitted on.** Pairs made by seeded rules from real texts: search questions of
Natural Questions (four of five; the fifth is kept out), customers' questions of Banking77,
requests of CLINC150, questions and sentences of XQuAD; minimal edits that change the answer, and
rewordings that do not; near neighbours among real questions; and rewordings written by hand
(`cli/calibrate/written.py`). No pair of CheckList, PAWS or the banking traps was read by any fit.

**What was not blind.** All these sets were looked at while the work went on. With their figures in
view were set: the one target, the caution for longer texts (PAWS), the rule that "available" and
"unavailable" are opposed (banking traps), those on roles and persons (CheckList), and the topics
of the written rewordings (after the banking traps had been read). The rules' passives and crossed
pronouns are forms that CheckList also has. Figures on traffic of your own may be worse: `hasten
cache eval` tells. "Rewordings by hand" are of search questions that no fit has seen, written before
any of the fits was seen, by the hand that wrote the others; "search questions" are pairs that people asked, the same if their short
answers share one: there the decision finds more than cosine 0.92 and also reuses more wrongly.

**The adapter that ships** was trained in the three rounds of `cli/calibrate/mixture.py`, the first
two by earlier forms of the rules; a new fit comes near to it, not to the same bits.

**Limits.** English. Short questions. What two people mean by the same words, it cannot know.
Questions of the moment, deeds and inventions are not shared at all, by rules. It belongs to the
embedding models and scorers whose fingerprints `reuse.json` names; for others the plain floor
applies. The target is a probability by the mixture of the
fit, whose pairs are harder than traffic: it is no share of wrong hits.

"""


_POINT = (
    "Operating point: P >= {0.target:g}, candidates from cosine {0.floor:g}, verifier asked above "
    "{0.low:.3g}; {0.caution:g} off the log odds over {0.short_words} words."
)


def card(calibration: Calibration, sets: Mapping[str, Sequence[Outcome]]) -> str:
    """Return the card: what it is, and recall / false reuse on each set."""
    lines = [
        _POINT.format(calibration),
        "",
        "| set | pairs | recall / false reuse | "
        + " | ".join(f"cosine {floor}" for floor in COSINES)
        + " |",
        "| --- | --- | --- |" + " --- |" * len(COSINES),
    ]
    for name, outcomes in sets.items():
        shown = [rates(outcomes, lambda each: each.hit)]
        shown += [rates(outcomes, at_cosine(floor)) for floor in COSINES]
        lines.append(f"| {name} | {len(outcomes)} | " + " | ".join(map(_both, shown)) + " |")
    lines += ["", "By kind:", "", "| kind | same | pairs | reused |", "| --- | --- | --- | --- |"]
    for outcomes in sets.values():
        lines += _kinds(outcomes)
    return _HEAD + "\n".join(lines) + "\n"


def _kinds(outcomes: Sequence[Outcome]) -> list[str]:
    kinds = sorted({(each.pair.kind, each.pair.same) for each in outcomes if each.pair.kind})
    lines = []
    for kind, same in kinds:
        hits = [e.hit for e in outcomes if (e.pair.kind, e.pair.same) == (kind, same)]
        share = sum(hits) / len(hits)
        lines.append(f"| {kind} | {'yes' if same else 'no'} | {len(hits)} | {share:.1%} |")
    return lines


def _both(found: Rates) -> str:
    recall = "-" if found.recall is None else f"{found.recall:.2f}"
    false_reuse = "-" if found.false_reuse is None else f"{found.false_reuse:.3f}"
    return f"{recall} / {false_reuse}"
