"""Traffic as a service sees it: some questions often, most rarely, many in other words.

Made from questions of banking77, clinc150 and nq_open, which are read where
`HASTEN_EVAL_DATA` says and not copied. `group` names the question a row was made from, not
its intent: an intent is broader than one answer. Two questions of the data may well mean
the same, so hits that are counted as wrong by these groups are too many rather than too few.

    python -m tests.support.zipf traffic.jsonl
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random

from tests.support.rewording import reworded


@dataclass(frozen=True, slots=True)
class Shape:
    """What traffic is like.

    Attributes:
        count: rows.
        distinct: questions that rows are made from, as many from each set.
        exponent: of Zipf's law: the question of rank r comes in proportion to r to the
            minus this.
        exact_share: of the rows that repeat a question word for word, in [0, 1].
        seed: the same seed makes the same rows.
    """

    count: int = 20_000
    distinct: int = 6_000
    exponent: float = 1.0
    exact_share: float = 0.5
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Request:
    """One row: a question, and the id of the question that it was made from."""

    question: str
    group: str


def requests(data: Path, shape: Shape) -> Iterator[Request]:
    """Yield the rows of some traffic.

    Args:
        data: the folder of evaluation data.
        shape: what the traffic is like.
    """
    random = Random(shape.seed)  # noqa: S311 - the same traffic each time
    bases = base_questions(data, random, shape.distinct)
    weights = list(accumulate(rank**-shape.exponent for rank in range(1, len(bases) + 1)))
    for base in random.choices(bases, cum_weights=weights, k=shape.count):
        is_exact = random.random() < shape.exact_share
        text = base.question if is_exact else reworded(random, base.question)
        yield Request(text, base.group)


def base_questions(data: Path, random: Random, count: int) -> list[Request]:
    """Return distinct questions in the order of their popularity, a third from each set."""
    sets = (_banking(data), _clinc(data), _nq_open(data))
    chosen: list[Request] = []
    seen: set[str] = set()
    for found in sets:
        rows = list({_bare(each.question): each for each in found}.items())
        random.shuffle(rows)
        fresh = [(bare, each) for bare, each in rows if bare not in seen][: count // len(sets)]
        seen.update(bare for bare, _ in fresh)
        chosen += [each for _, each in fresh]
    random.shuffle(chosen)
    return chosen


def _banking(data: Path) -> Iterator[Request]:
    for part in ("train", "test"):
        with (data / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file)):
                yield Request(" ".join(row["text"].split()), f"banking77-{part}-{number}")


def _clinc(data: Path) -> Iterator[Request]:
    splits = json.loads((data / "clinc150" / "data_full.json").read_text("utf-8"))
    for split, rows in splits.items():
        for number, (text, _) in enumerate(rows):
            yield Request(text, f"clinc150-{split}-{number}")


def _nq_open(data: Path) -> Iterator[Request]:
    with (data / "nq_open" / "dev.jsonl").open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            yield Request(json.loads(line)["question"], f"nq_open-{number}")


def _bare(question: str) -> str:
    return re.sub(r"\W+", " ", question.lower()).strip()


def write(path: Path, data: Path, shape: Shape) -> None:
    """Write traffic as `hasten cache replay` reads it."""
    with path.open("w", encoding="utf-8") as file:
        for each in requests(data, shape):
            row = {"question": each.question, "group": each.group}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> None:
    """Write some traffic to a file."""
    default = Shape()
    parser = argparse.ArgumentParser(description="Makes traffic for `hasten cache replay`.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--count", type=int, default=default.count)
    parser.add_argument("--distinct", type=int, default=default.distinct)
    parser.add_argument("--exponent", type=float, default=default.exponent)
    parser.add_argument("--exact-share", type=float, default=default.exact_share)
    parser.add_argument("--seed", type=int, default=default.seed)
    given = vars(parser.parse_args())
    path = given.pop("path")
    data = os.environ.get("HASTEN_EVAL_DATA")
    if not data:
        parser.error("HASTEN_EVAL_DATA must name the folder of evaluation data")
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Path(data), Shape(**given))


if __name__ == "__main__":
    main()
