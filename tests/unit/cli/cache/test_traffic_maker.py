from __future__ import annotations

import re
from random import Random

import pytest

from tests.support.rewording import reworded

QUESTIONS = (
    "What is the fee for 3 transfers over $2,500?",
    "how do i locate my card",
    "when did the eagles win last super bowl",
    "What do I do if my card is lost?",
    "I don't see my refund. Where is it?",
    "ok",
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_rewording_changes_a_number(question: str) -> None:
    random = Random(1)  # noqa: S311 - the same rewordings each time
    for _ in range(300):
        text = reworded(random, question)
        assert re.findall(r"\d+", text) == re.findall(r"\d+", question)


def test_a_rewording_is_another_text() -> None:
    random = Random(2)  # noqa: S311 - the same rewordings each time
    for question in QUESTIONS:
        texts = [reworded(random, question) for _ in range(200)]
        assert question not in texts
        assert len(set(texts)) > 30
