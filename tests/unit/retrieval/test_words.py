import sqlite3
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.words import MAX_MATCHES, MAX_WORDS, expression, rarest, words_of


def test_stop_words_are_left_out_unless_there_is_nothing_else() -> None:
    assert words_of("What is the capital of France?") == ["capital", "france"]
    assert words_of("What is it?") == ["what", "is", "it"]
    assert words_of("?!") == []


def test_a_word_is_looked_up_once_and_long_questions_are_cut() -> None:
    assert words_of("Cats, cats & CATS") == ["cats"]
    assert len(words_of(" ".join(f"w{n}" for n in range(500)))) == MAX_WORDS


def test_the_rarest_words_decide_when_all_would_match_too_much() -> None:
    matches = {"common": MAX_MATCHES, "usual": MAX_MATCHES - 10, "rare": 3, "absent": 0}
    assert rarest(list(matches), matches.__getitem__) == ["rare", "usual"]
    assert rarest(["common"], lambda _: 10 * MAX_MATCHES) == ["common"]


@given(st.text(max_size=80))
def test_any_question_makes_an_expression_that_can_be_asked(question: str) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE VIRTUAL TABLE t USING fts5(text)")
        if words := words_of(question):
            db.execute("SELECT * FROM t WHERE t MATCH ?", (expression(words),)).fetchall()


def test_operators_in_a_question_are_words() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE VIRTUAL TABLE t USING fts5(text)")
        db.execute("INSERT INTO t VALUES ('near the end'), ('begin')")
        asked = expression(words_of('NEAR(x) "end* NOT {text}:begin'))
        assert len(db.execute("SELECT * FROM t WHERE t MATCH ?", (asked,)).fetchall()) == 2
