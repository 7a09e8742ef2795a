from __future__ import annotations

import pytest

from libs.values import Role, Turn
from services.orchestrator.rewriting import standing_alone

VAT = "What is the VAT rate in France?"
ARRAN = "Who built the lighthouse of Arran?"
ROME = "How many people lived in Rome in 1900?"
BAKERY = "When does the bakery on Mill Street open?"


def history(*asked: str) -> tuple[Turn, ...]:
    turns = []
    for question in asked:
        turns += [Turn(Role.USER, question), Turn(Role.ASSISTANT, "As it says in Paris.")]
    return tuple(turns)


@pytest.mark.parametrize(
    ("asked", "question", "text"),
    [
        ((VAT,), "And for Spain?", "What is the VAT rate in Spain?"),
        ((VAT,), "what about Spain?", "What is the VAT rate in Spain?"),
        ((VAT,), "In Spain?", "What is the VAT rate in Spain?"),
        ((VAT, "And Spain?"), "And Italy?", "What is the VAT rate in Italy?"),
        ((ROME,), "And in 1950?", "How many people lived in Rome in 1950?"),
        ((ROME,), "And in Paris?", "How many people lived in Paris in 1900?"),
    ],
)
def test_a_name_takes_the_place_of_a_name_and_a_number_of_a_number(
    asked: tuple[str, ...], question: str, text: str
) -> None:
    found = standing_alone(question, history(*asked))
    assert (found.text, found.how) == (text, "substituted")


@pytest.mark.parametrize(
    ("before", "question"),
    [
        (ARRAN, "When was it built?"),
        (ARRAN, "Why?"),
        (ARRAN, "Who lives there?"),
        (ARRAN, "And how tall is that?"),
        (BAKERY, "And on Sunday?"),
        (BAKERY, "and the one on High Street?"),
        (BAKERY, "And pears?"),
        ("what is the capital of france", "and of spain?"),
    ],
)
def test_where_there_is_doubt_both_questions_are_searched_for(before: str, question: str) -> None:
    found = standing_alone(question, history(before))
    assert found.how == "merged"
    assert found.text.startswith(before)
    assert found.text.endswith(question)


@pytest.mark.parametrize(
    "question",
    [
        "How many strings does a violin have?",
        "How long does it take until a refund is paid?",
        "Is it possible to pay by card?",
        "When was Hamlet written, and who played in it?",
        "Who is Ophelia?",
        "Is there a museum in Madrid?",
        "And who is Ophelia?",
    ],
)
def test_what_stands_alone_stays_as_it_is(question: str) -> None:
    found = standing_alone(question, history(ARRAN))
    assert (found.text, found.how) == (question, "as_it_is")


def test_without_an_earlier_question_nothing_is_put_in() -> None:
    for turns in ((), (Turn(Role.ASSISTANT, "Hello, how can I help?"),)):
        assert standing_alone("And for Spain?", turns).text == "And for Spain?"


def test_what_is_taken_over_of_a_long_question_is_limited() -> None:
    found = standing_alone("And why is that?", history("Words " * 1000))
    assert len(found.text) < 500
