import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.embedding.engine import default_threads
from services.embedding.manifest import Precision
from services.embedding.onnx_engine import OnnxEngine, alike

TEXTS = [
    "How do I reset my password?",
    "I forgot my password, what now?",
    "moon",
    "What is the capital of the country whose national anthem has no words at all? " * 4,
    "漢字 and émojis 🎈 and\x00control\tcharacters",
    " ",
]


@pytest.fixture(scope="module", params=Precision)
def engine(request: pytest.FixtureRequest, model_dir: Path) -> OnnxEngine:
    return OnnxEngine(model_dir, request.param, threads=1)


def vectors(engine: OnnxEngine, texts: list[str]) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(engine.embed(texts)), "<f4").reshape(len(texts), -1)


def test_the_texts_beside_a_text_do_not_change_its_vector(engine: OnnxEngine) -> None:
    together = vectors(engine, TEXTS)
    alone = np.concatenate([vectors(engine, [text]) for text in TEXTS])
    assert ((together * alone).sum(1) > 0.99999).all()


@pytest.mark.parametrize("bulk_threads", [0, 2])
def test_bulk_gives_the_same_vectors(model_dir: Path, bulk_threads: int) -> None:
    bulk = OnnxEngine(model_dir, Precision.INT8, threads=1, bulk_threads=bulk_threads)
    want = vectors(bulk, TEXTS)
    for _ in range(2):
        found = np.frombuffer(b"".join(bulk.embed_bulk(TEXTS)), "<f4").reshape(len(TEXTS), -1)
        assert ((want * found).sum(1) > 0.99999).all()
        # By now the session with more threads is open, if there is one.
        time.sleep(0.5)


def test_every_vector_has_length_one(engine: OnnxEngine) -> None:
    np.testing.assert_allclose(np.linalg.norm(vectors(engine, TEXTS), axis=1), 1, atol=1e-5)


def test_a_paraphrase_is_nearer_than_another_subject(engine: OnnxEngine) -> None:
    asked, paraphrase, other = vectors(engine, TEXTS[:3])
    assert asked @ paraphrase > 0.6
    assert asked @ other < 0.3


def test_a_long_text_is_cut_at_what_the_model_reads(engine: OnnxEngine) -> None:
    exact = "moon " * (engine.model.max_tokens - 2)
    first, longer = engine.embed([exact, exact + "sun " * 2000])
    assert first == longer


lengths = st.lists(st.integers(2, 256), min_size=1, max_size=40)


@given(lengths=lengths, max_texts=st.none() | st.integers(1, 8))
def test_groups_hold_every_text_once_with_little_padding(
    lengths: list[int], max_texts: int | None
) -> None:
    groups = list(alike(lengths, max_texts))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        padded = max(lengths[index] for index in group) * len(group)
        assert padded - sum(lengths[index] for index in group) <= padded / 8
        assert max_texts is None or len(group) <= max_texts


def test_threads_leave_cores_to_others() -> None:
    assert 1 <= default_threads() <= 4
