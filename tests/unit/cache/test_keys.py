from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from dataclasses import fields, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libs.values import Filter, ModelTier, Role, Turn
from libs.values.cache import AskedQuestion
from libs.values.keys import QuestionKey, normalised, question_key

text = st.text(max_size=8)
conditions = st.builds(Filter, text, st.lists(text, min_size=1, max_size=3).map(tuple))
turns = st.builds(Turn, st.sampled_from([Role.USER, Role.ASSISTANT]), text)
questions = st.builds(
    AskedQuestion,
    question=text,
    history=st.lists(turns, max_size=3).map(tuple),
    scope=text,
    collection=text,
    filters=st.lists(conditions, max_size=3).map(tuple),
    settings_fingerprint=text,
    model_tier=st.sampled_from(ModelTier),
    system_version=text,
    output_schema=text,
)

ASKED = AskedQuestion(
    "Who wrote Hamlet?",
    history=(Turn(Role.USER, "Hello."), Turn(Role.ASSISTANT, "Good day.")),
    scope="staff",
    collection="plays",
    filters=(Filter("language", ("en", "de")), Filter("century", ("16",))),
    settings_fingerprint="s1",
    model_tier=ModelTier.BEST,
    system_version="v1",
    output_schema="{}",
)


def meaning(asked: AskedQuestion) -> AskedQuestion:
    """Return a question without what the contract says does not count."""
    filters = frozenset((each.key, frozenset(each.any_of)) for each in asked.filters)
    return replace(asked, question=normalised(asked.question), filters=filters)  # type: ignore[arg-type]


@given(text, questions, text, questions)
def test_two_questions_share_a_key_only_if_they_are_the_same(
    tenant: str, one: AskedQuestion, other_tenant: str, other: AskedQuestion
) -> None:
    same = (tenant, meaning(one)) == (other_tenant, meaning(other))
    assert (question_key(tenant, one) == question_key(other_tenant, other)) is same


@given(questions, questions, st.data())
def test_one_differing_field_makes_another_key(
    one: AskedQuestion, other: AskedQuestion, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([field.name for field in fields(AskedQuestion)]))
    changed = replace(one, **{name: getattr(other, name)})
    assume(meaning(changed) != meaning(one))
    before, after = question_key("acme", one), question_key("acme", changed)
    assert before.exact != after.exact
    assert (before.context == after.context) is (name == "question")


@given(questions, st.randoms())
def test_the_order_of_filters_and_of_their_values_does_not_count(
    asked: AskedQuestion, random: object
) -> None:
    filters = [replace(each, any_of=tuple(reversed(each.any_of))) for each in asked.filters]
    random.shuffle(filters)  # type: ignore[attr-defined]
    shuffled = replace(asked, filters=tuple(filters))
    assert question_key("acme", shuffled) == question_key("acme", asked)


@given(st.text(min_size=1), st.data())
def test_text_that_moves_from_one_field_to_the_next_makes_another_key(
    whole: str, data: st.DataObject
) -> None:
    cuts = st.integers(0, len(whole))
    one, other = data.draw(cuts), data.draw(cuts)
    assume(one != other)
    keys = [
        question_key("acme", AskedQuestion("q", scope=whole[:cut], collection=whole[cut:]))
        for cut in (one, other)
    ]
    assert keys[0].context != keys[1].context


@pytest.mark.parametrize(
    ("filters", "others"),
    [
        ([Filter("k", ("a", "b"))], [Filter("k", ("a",)), Filter("k", ("b",))]),
        ([Filter("k", ("ab",))], [Filter("k", ("a", "b"))]),
        ([Filter("ka", ("b",))], [Filter("k", ("ab",))]),
        ([], [Filter("k", ("a",))]),
    ],
)
def test_filters_that_allow_other_documents_make_another_key(
    filters: list[Filter], others: list[Filter]
) -> None:
    one = AskedQuestion("q", filters=tuple(filters))
    other = AskedQuestion("q", filters=tuple(others))
    assert question_key("acme", one).context != question_key("acme", other).context


@pytest.mark.parametrize(
    "question",
    [
        "Who wrote Hamlet?",
        "who wrote Hamlet?",
        "  Who\twrote \n Hamlet? ",
        "Who\u00a0wrote\u2003Hamlet?",
    ],
)
def test_white_space_and_the_first_case_do_not_count(question: str) -> None:
    asked = AskedQuestion(question)
    assert question_key("acme", asked) == question_key("acme", AskedQuestion("who wrote Hamlet?"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who wrote Hamlet?", "Who wrote hamlet?"),
        ("Who wrote Hamlet?", "Who wrote Hamlet"),
        ("Is it 5?", "Is it 6?"),
        ("Is it US?", "Is it us?"),
    ],
)
def test_everything_else_counts(one: str, other: str) -> None:
    assert question_key("a", AskedQuestion(one)) != question_key("a", AskedQuestion(other))


def test_the_first_letter_may_stand_behind_a_mark() -> None:
    assert normalised("¿Qué hora es?") == normalised("¿qué hora es?")


@given(st.text())
def test_normalising_twice_changes_nothing_more(question: str) -> None:
    once = normalised(question)
    assert normalised(once) == once


@given(st.text())
def test_composed_and_decomposed_letters_are_the_same(question: str) -> None:
    decomposed = unicodedata.normalize("NFD", question)
    assert normalised(decomposed) == normalised(unicodedata.normalize("NFC", question))


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_another_process_makes_the_same_key(seed: str) -> None:
    program = (
        "import json, sys\n"
        "from tests.unit.cache.test_keys import ASKED\n"
        "from libs.values.keys import question_key\n"
        "key = question_key('acme', ASKED)\n"
        "json.dump([key.exact, key.context], sys.stdout)\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": ".:gen"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    assert QuestionKey(*json.loads(done.stdout)) == question_key("acme", ASKED)


def test_a_key_is_not_that_of_yesterday_by_accident() -> None:
    """A change of the encoding leaves every stored answer behind: it needs a new version."""
    assert question_key("acme", ASKED).exact == (
        "b5ba95553602629b81144f7df1c1701954e7f48d8b062cdb0f9450284f7c25cc"
    )
