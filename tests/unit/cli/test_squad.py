import json
from pathlib import Path

import pytest

from cli.squad import Found, SquadError, SquadQuestion, contains_answer, read_squad, scored

FILE = {
    "data": [
        {
            "title": "Cats",
            "paragraphs": [
                {
                    "context": "Cats sleep 16 hours.",
                    "qas": [
                        {
                            "question": "How long?",
                            "answers": [{"text": "16 hours"}, {"text": "16 hours"}],
                        },
                        {"question": "Why?", "answers": [], "is_impossible": True},
                    ],
                },
                {"context": "They purr.", "qas": []},
            ],
        }
    ]
}


def test_a_paragraph_is_a_document_and_a_question_knows_its_own(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(FILE))
    squad = read_squad(path)
    assert [d.text for d in squad.documents] == ["Cats sleep 16 hours.", "They purr."]
    assert all(d.unsplit for d in squad.documents)
    first = squad.documents[0].document_id
    assert squad.questions == (
        SquadQuestion("How long?", first, ("16 hours",)),
        SquadQuestion("Why?", first, ()),
    )


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"data": [{}]}', '{"data": [{"paragraphs": [{"context": "x"}]}]}']
)
def test_another_form_is_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(SquadError, match=r"other\.json"):
        read_squad(path)


@pytest.mark.parametrize(
    ("text", "answers", "has"),
    [
        ("It sleeps 16 hours.", ["16 Hours"], True),
        ("It sleeps for sixteen.", ["16 hours", "sixteen"], True),
        ("In 1616 it woke.", ["16"], False),
        ("The “Café” is open", ['"café"'], True),
        ("anything", [], False),
        ("anything", ["?!"], False),
    ],
)
def test_an_answer_counts_as_whole_words_in_any_case(
    text: str, answers: list[str], has: object
) -> None:
    assert contains_answer(text, answers) is has


def test_scores_count_documents_not_their_passages() -> None:
    asked = SquadQuestion("q", "right", ("the answer",))
    found = [
        Found(asked, ("right",), ("has the answer",)),
        Found(asked, ("wrong", "wrong", "right"), ("no", "the answer here", "no")),
        Found(asked, ("wrong",), ("no",)),
    ]
    score = scored(found, (1, 2))
    assert score.question_count == 3
    assert score.recall_at == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}
    assert score.mean_reciprocal_rank == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert score.answer_at == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}


def test_no_questions_have_no_score() -> None:
    with pytest.raises(ValueError, match="no question"):
        scored([])
