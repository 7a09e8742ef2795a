from dataclasses import replace

import pytest

from libs.config import ConfigError
from libs.values import Citation, ModelTier, Passage, Question, TextDelta
from services.orchestrator.config import OrchestratorConfig
from services.orchestrator.ground import Cited, Ground
from services.orchestrator.libraries import Copy
from services.orchestrator.policy import Policy
from services.orchestrator.prompt import digest, prompt_of


def document(name: str, version: int = 1, text: str = "It is so. It was so.") -> Passage:
    return Passage(name, name, version, name.title(), "", text, 0, len(text))


A, B = document("a"), document("b", 2)
FOUND = replace(A, passage_id="a#0", text="It is so.", end_offset=9)
GROUND = Ground((FOUND,), "default", index_version=2, documents=(A, B))
BESIDE = Citation(2, "b", "It was so.", 10, 20, 3)


def test_what_was_only_cited_becomes_a_source_once() -> None:
    cited = Cited(GROUND)
    placed = [cited.placed(BESIDE) for _ in range(2)]
    (first, second) = cited.sources().passages
    assert placed == [replace(BESIDE, source_index=1)] * 2
    assert first == FOUND
    assert (second.document_id, second.text, second.start_offset) == ("b", "It was so.", 10)


@pytest.mark.parametrize("event", [TextDelta("So."), replace(BESIDE, source_index=0)], ids=repr)
def test_what_cites_a_passage_or_nothing_stays(event: TextDelta | Citation) -> None:
    assert Cited(GROUND).placed(event) == event


def test_a_place_that_does_not_exist_is_no_new_source() -> None:
    cited = Cited(GROUND)
    cited.placed(replace(BESIDE, source_index=3))
    assert cited.count == 1


def test_an_answer_stands_on_every_document_that_was_given() -> None:
    versions = {each.document_id: each.version for each in GROUND.versions()}
    assert versions == {"a": 1, "b": 2}


def test_a_copy_holds_passages_of_the_versions_that_it_has() -> None:
    copy = Copy((A, B), ("", ""), 2, 40)
    assert copy.holds([FOUND])
    assert not copy.holds([replace(FOUND, document_version=2)])
    assert not copy.holds([replace(FOUND, document_id="c")])


def test_a_copy_shows_what_a_scope_may_see() -> None:
    copy = Copy((A, B), ("", "board"), 2, 40)
    assert copy.seen_by("board") == (A, B)
    assert copy.seen_by("") == copy.seen_by("staff") == (A,)


def test_a_prompt_is_named_by_its_documents_words_and_not_their_order() -> None:
    question, policy = Question("acme", "Why?"), Policy("interactive")

    def name(*documents: Passage) -> bytes:
        prompt = prompt_of(question, policy, ModelTier.BEST, (FOUND,), documents)
        return digest(prompt, "a-model", "")

    assert name(A, B) == name(B, replace(A, document_version=3))
    assert len({name(), name(A), name(A, B), name(A, document("b", 2, "It is not so."))}) == 4


def test_collections_to_warm_are_read_by_tenant() -> None:
    config = OrchestratorConfig(prompt_warm="acme/default, rival/hand/book")
    assert config.collections_to_warm() == [("acme", "default"), ("rival", "hand/book")]
    with pytest.raises(ConfigError, match="PROMPT_WARM"):
        OrchestratorConfig(prompt_warm="acme").collections_to_warm()
