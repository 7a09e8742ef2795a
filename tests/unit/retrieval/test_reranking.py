import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.values import Passage
from services.retrieval.reranking.features import NAMES, Asked, Candidate, features
from services.retrieval.reranking.reranker import FeatureReranker
from services.retrieval.reranking.weights import RerankDataError, Weights
from services.retrieval.reranking.wording import read, stem
from services.retrieval.search import in_order

COUNTS = {"tesla": 5, "born": 9, "tower": 2, "build": 4}
TESLA = Asked("When did Tesla build the tower?", COUNTS, 100)
AGAINST = {"missing", "rank_meaning"}

words = st.sampled_from(["Tesla", "built", "a", "tower", "in", "1901", "and", "pigeons", "slept."])
texts = st.lists(words, max_size=20).map(" ".join)


def candidate(text: str, cosine: float = 0.5, **rest: object) -> Candidate:
    return Candidate("", "", text, cosine, **rest)


def row(asked: Asked, *candidates: Candidate) -> dict[str, float]:
    """The features of the first of some candidates."""
    return dict(zip(NAMES, features(asked, candidates)[0], strict=True))


def first(asked: Asked, *texts: str) -> str:
    reranker = FeatureReranker(Weights.shipped())
    scores = reranker.scored(asked, [candidate(text) for text in texts])
    return texts[int(np.argmax(scores))]


def test_a_passage_that_holds_the_answer_is_before_one_that_shares_a_word() -> None:
    answer = "Tesla built his tower in 1901. It was never finished."
    assert first(TESLA, "Tesla liked pigeons. He fed them.", answer) == answer


def test_a_word_in_another_form_counts_less_than_the_word_and_more_than_none() -> None:
    asked = Asked("What is economics?", {"economics": 3}, 100)
    same, kin, none = (
        row(asked, candidate(text)) for text in ("economics", "economists", "trains")
    )
    assert same["coverage"] > kin["coverage"] == none["coverage"]
    assert kin["forms"] > same["forms"] == none["forms"] == 0


def test_a_misspelt_word_is_read_as_the_passages_spell_it() -> None:
    asked = Asked("What was Ghandi's work called?", {"work": 9, "called": 9}, 100)
    found = row(asked, candidate("Gandhi called it Satyagraha."), candidate("Called off."))
    unknown = row(asked, candidate("Nehru called it Satyagraha."), candidate("Called off."))
    assert found["names"] == 1
    assert found["sentence"] > unknown["sentence"]


def test_words_near_each_other_count_more_than_the_same_words_far_apart() -> None:
    far = (
        "Tesla slept. "
        + "Pigeons flew by and by. " * 10
        + "They build. "
        + "Pigeons flew. " * 10
        + "A tower fell."
    )
    near = row(TESLA, candidate("Tesla could build a tower."))
    apart = row(TESLA, candidate(far))
    assert near["coverage"] == apart["coverage"]
    for name in ("sentence", "window", "near"):
        assert near[name] > apart[name]


def test_titles_and_headings_count_as_words_of_the_passage() -> None:
    named = Candidate("Tesla", "The tower", "It was built in 1901.", 0.5)
    assert row(TESLA, named)["coverage"] > row(TESLA, candidate(named.text))["coverage"]


def test_what_the_question_asks_for_counts_if_it_does_not_say_it_itself() -> None:
    asked = Asked("Who met Nikola Tesla?", {"met": 3, "nikola": 3, "tesla": 3}, 100)
    assert row(asked, candidate("There he met Mark Twain."))["answers"] == 1
    assert row(asked, candidate("There was Nikola Tesla."))["answers"] == 0


@pytest.mark.parametrize("question", ["", "?!", "the", "a" * 5_000, "When?", "1", "\U0001f600 é"])
def test_every_question_has_finite_features(question: str) -> None:
    found = features(Asked(question, {}, 0), [candidate(""), candidate("One. Two? three\n\nFour")])
    assert found.shape == (2, len(NAMES))
    assert np.isfinite(found).all()


def test_no_candidates_have_no_rows() -> None:
    assert features(TESLA, []).shape == (0, len(NAMES))
    assert FeatureReranker(Weights.shipped()).scored(TESLA, []) == []


@given(texts=st.lists(texts, min_size=1, max_size=5))
def test_features_are_the_same_each_time_and_a_candidate_has_no_place(texts: list[str]) -> None:
    candidates = [candidate(text, number / 10) for number, text in enumerate(texts)]
    found = features(TESLA, candidates)
    assert (features(TESLA, candidates) == found).all()
    assert (features(TESLA, candidates[::-1])[::-1] == found).all()


@given(text=texts, other=texts)
def test_shares_stay_within_their_bounds(text: str, other: str) -> None:
    found = row(TESLA, candidate(text), candidate(other))
    shares = set(NAMES) - {"cosine_lead", "rank_meaning"}
    assert all(-1e-9 <= found[name] <= 1 + 1e-9 for name in shares)


@given(text=texts, cosine=st.floats(0, 0.9))
def test_a_greater_cosine_never_makes_a_passage_less_likely(text: str, cosine: float) -> None:
    reranker = FeatureReranker(Weights.shipped())
    rival = candidate("pigeons", 0.5)
    less, more = (
        reranker.scored(TESLA, [candidate(text, each), rival])[0] for each in (cosine, cosine + 0.1)
    )
    assert more >= less


def test_each_weight_counts_in_the_direction_that_its_feature_means() -> None:
    for name, weight in zip(NAMES, Weights.shipped().values, strict=True):
        assert weight <= 0 if name in AGAINST else weight >= 0


def test_weights_of_other_features_are_refused() -> None:
    with pytest.raises(RerankDataError, match="other features"):
        Weights.of({"features": ["cosine"], "weights": [1.0]})


def passage(name: str, score: float) -> Passage:
    return Passage(name, name, 1, "", "", name, 0, len(name), "", score)


@given(scores=st.lists(st.floats(-100, 100), max_size=6), more=st.integers(0, 4))
def test_a_list_in_order_keeps_its_members_and_its_tail(scores: list[float], more: int) -> None:
    pool = [passage(str(number), 1 / (number + 1)) for number in range(len(scores) + more)]
    found = in_order(pool, scores)
    assert sorted(each.text for each in found) == sorted(each.text for each in pool)
    assert [each.text for each in found[len(scores) :]] == [
        each.text for each in pool[len(scores) :]
    ]
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_those_that_are_as_likely_stay_as_they_were() -> None:
    pool = [passage("a", 3.0), passage("b", 2.0), passage("c", 1.0)]
    assert [each.text for each in in_order(pool, [1.0, 2.0, 2.0])] == ["b", "c", "a"]


def test_sentences_end_before_capitals_and_at_empty_lines() -> None:
    found = read("He paid 3.50 to J. Smith.) Then he left.\n\nnothing more")
    sentences = zip(found.starts, (*found.starts[1:], len(found.stems)), strict=True)
    assert [found.stems[start:end][0] for start, end in sentences] == [
        "he",
        "smith",
        "then",
        "noth",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Building", "builds"), ("towers", "tower"), ("1,000", "1000"), ("called", "call")],
)
def test_kin_have_one_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)
