"""`python -m cli.reranking`: fits the weights of the reranker anew.

Reads a file in SQuAD's form; writes the weights and their card into the package. It comes to
the same each time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from cli.reranking.card import card
from cli.reranking.fitting import fitted, leave_one_out
from cli.reranking.gathering import gathered
from cli.squad import read_squad
from services.retrieval.reranking.features import NAMES

_PACKAGE = Path(__file__).parents[2] / "services/retrieval/reranking"
_DIGITS = 5


def main() -> int:
    """Fit, write, and say how good it is."""
    options = _options()
    if not options.data:
        sys.stderr.write("HASTEN_EVAL_DATA is not set: there is nothing to fit on\n")
        return 1
    squad = read_squad(Path(options.data) / "xquad_en" / "xquad.en.json")
    with tempfile.TemporaryDirectory() as folder:
        cases = asyncio.run(gathered(squad, options.model_dir, Path(folder)))
    folds = leave_one_out(cases)
    weights = [round(float(each), _DIGITS) for each in fitted(cases)]
    text = card(cases, folds, weights)
    sys.stdout.write(text)
    if not options.dry_run:
        data = json.dumps({"features": list(NAMES), "weights": weights}, indent=1)
        (_PACKAGE / "data" / "rerank.json").write_text(f"{data}\n", "utf-8")
        (_PACKAGE / "CARD.md").write_text(text, "utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("HASTEN_EVAL_DATA", ""))
    parser.add_argument("--model-dir", type=Path, default=Path(".hasten/model"))
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
