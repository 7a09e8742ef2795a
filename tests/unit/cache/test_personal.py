from __future__ import annotations

import pytest

from services.cache.personal import is_personal

PERSONAL = (
    "Where is the parcel of jane.doe+home@mail.example.co.uk?",
    "Was 4111 1111 1111 1111 charged twice?",
    "Is the card 378282246310005 blocked?",
    "Did DE89 3704 0044 0532 0130 00 receive the transfer?",
    "Did GB29NWBK60161331926819 receive the transfer?",
    "Who called from +49 (0)30 901820-0?",
    "Please call 555-867-5309 back, when?",
    "Qui a le 01.23.45.67.89 ?",
    "Is 078-05-1120 registered?",
    "What is owed by AB 12 34 56 C?",
    "Is RSSMRA85T10A562S a valid code?",
    "Is 12345678Z entitled to a refund?",
    "What is my balance?",
    "what's my salary",
    "Where is my parcel?",
    "When does my contract end?",
    "Show me my orders",
    "My name is Jane, may I come in?",
    "How much do I owe?",
)
ANYBODYS = (
    "How do I activate my card?",
    "Are my deposits insured?",
    "Can I take my dog to the office?",
    "Why is my name important in a contract?",
    "What happened between 1914-1918 and in 1939?",
    "Who won 1998, 2002, 2006 and 2010?",
    "What is 1,000,000,000 divided by 3?",
    "What lies at 38.651254, -121.259279?",
    "How many of the 299,792,458 metres are left?",
    "Does a fee of 12.50 apply to 1000 EUR?",
    "Which standard is ISO 13616?",
    "What is the range of a B-52?",
    "Is RFC 9110 final?",
)


@pytest.mark.parametrize("question", PERSONAL)
def test_what_tells_of_one_person_is_personal(question: str) -> None:
    assert is_personal(question)


@pytest.mark.parametrize("question", ANYBODYS)
def test_what_anybody_may_ask_is_not(question: str) -> None:
    assert not is_personal(question)
