from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, load_file, save_file

from libs.clients import Connection
from libs.clients.embedding import EmbeddingClient
from libs.server.testing import serving
from services.embedding.__main__ import build as build_service
from services.embedding.build.__main__ import main
from services.embedding.build.adapter import Adapter, read_adapters
from services.embedding.build.model import build_model, is_built
from services.embedding.build.wheel import BuildError, Published
from services.embedding.config import EmbeddingConfig
from services.embedding.engine import Scorer, open_scorers
from services.embedding.manifest import MANIFEST, Manifest, ModelFilesError, Precision
from tests.support.adapter import write_adapter


def silent(_: str) -> None:
    return None


@pytest.fixture
def base(published: Published) -> bytes:
    return published.files["model.safetensors"]


@pytest.fixture
def adapters(base: bytes, tmp_path: Path) -> Path:
    """A folder with one adapter of the small model."""
    return write_adapter(tmp_path / "adapters" / "same_answer.safetensors", base).parent


@pytest.fixture
def built(published: Published, adapters: Path, tmp_path: Path) -> Path:
    return build(published, tmp_path / "model", adapters)


def build(published: Published, folder: Path, adapters: Path) -> Path:
    found = read_adapters(adapters)
    build_model(published, folder, with_source=False, say=silent, adapters=found)
    return folder


def scorer_of(folder: Path, precision: Precision = Precision.FP32) -> Scorer:
    config = EmbeddingConfig(model_dir=folder, scorer_precision=precision, threads=1)
    return open_scorers(config)["same_answer"]


def rewritten(path: Path, drop: str = "", **tensors: NDArray[np.float32]) -> None:
    """Write an adapter's file anew without one tensor, and with others."""
    said = {
        "name": "same_answer",
        "base_sha256": "0" * 64,
        "scale": "1",
        "pooling": "cls",
        "max_tokens": "10",
        "temperature": "1",
    }
    kept = {name: each for name, each in load_file(path).items() if name != drop}
    save_file(kept | tensors, path, said)


def test_low_rank_changes_biases_and_norms_are_added_to_the_base(
    base: bytes, adapters: Path
) -> None:
    (adapter,) = read_adapters(adapters).values()
    weights, file = load(base), load_file(adapters / "same_answer.safetensors")
    merged = adapter.merged(weights, adapter.base_sha256)
    layer = "encoder.layer.1.attention.self.query"
    product = file[f"{layer}.lora_B"] @ file[f"{layer}.lora_A"]
    np.testing.assert_allclose(
        merged[f"{layer}.weight"] - weights[f"{layer}.weight"], 2 * product, atol=1e-6
    )
    for name in (f"{layer}.bias", "embeddings.LayerNorm.weight"):
        np.testing.assert_allclose(merged[name] - weights[name], file[f"{name}_delta"], atol=1e-6)
    word = "embeddings.word_embeddings.weight"
    assert merged[word] is weights[word]


def test_the_temperature_divides_the_logit(base: bytes, tmp_path: Path) -> None:
    cold, warm = (
        Adapter.read(write_adapter(tmp_path / f"{each}.safetensors", base, temperature=each)).head
        for each in ("1", "4")
    )
    for one, other in zip(cold.out, warm.out, strict=True):
        np.testing.assert_allclose(one, 4 * other)


def test_an_adapter_of_half_precision_is_read(base: bytes, adapters: Path) -> None:
    path = adapters / "same_answer.safetensors"
    exact = Adapter.read(path)
    half = {name: each.astype(np.float16) for name, each in load_file(path).items()}
    rewritten(path, **half)
    found = Adapter.read(path).changes
    for name, each in exact.changes.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], each, atol=1e-3)


def test_an_adapter_of_other_weights_stops_the_build(
    published: Published, base: bytes, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "a" / "other.safetensors", base, base_sha256="f" * 64)
    with pytest.raises(BuildError, match=f"was fitted on weights with SHA-256 {'f' * 64}"):
        build(published, tmp_path / "model", tmp_path / "a")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"name": "../up"}, "name"),
        ({"pooling": "max"}, "max"),
        ({"temperature": "0"}, "temperature"),
        ({"scale": "much"}, "much"),
    ],
)
def test_an_adapter_that_makes_no_sense_is_refused(
    base: bytes, tmp_path: Path, metadata: dict[str, str], problem: str
) -> None:
    path = write_adapter(tmp_path / "a.safetensors", base, **metadata)
    with pytest.raises(BuildError, match=rf"a\.safetensors is no adapter.*{problem}"):
        Adapter.read(path)


def test_a_file_that_is_no_adapter_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    assert main(["--out", str(tmp_path / "model"), "--adapters", str(tmp_path)]) == 1
    assert "a.safetensors is no adapter" in capsys.readouterr().out


LAYER = "encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("drop", "tensors", "problem"),
    [
        (f"{LAYER}.lora_A", {}, "half a change"),
        ("", {f"{LAYER}.bias_delta": (3,)}, "which the base has not so"),
        ("", {"encoder.layer.9.LayerNorm.bias_delta": (16,)}, "which the base has not so"),
        ("", {f"{LAYER}.mystery": (16,)}, "no meaning"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(
    base: bytes, adapters: Path, drop: str, tensors: dict[str, tuple[int, ...]], problem: str
) -> None:
    path = adapters / "same_answer.safetensors"
    more = {name: np.zeros(shape, np.float32) for name, shape in tensors.items()}
    rewritten(path, drop, **more)
    with pytest.raises(BuildError, match=problem):
        Adapter.read(path).merged(load(base), "0" * 64)


def test_two_adapters_of_one_name_are_refused(base: bytes, adapters: Path) -> None:
    write_adapter(adapters / "twin.safetensors", base)
    with pytest.raises(BuildError, match="second adapter named same_answer"):
        read_adapters(adapters)


def test_a_scorer_that_would_read_past_the_last_position_is_refused(
    published: Published, base: bytes, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "a" / "long.safetensors", base, max_tokens="13")
    with pytest.raises(BuildError, match="reads 13 tokens, not 12"):
        build(published, tmp_path / "model", tmp_path / "a")


def test_an_adapter_that_came_changed_or_went_is_built_anew(
    published: Published, base: bytes, built: Path, adapters: Path
) -> None:
    path = adapters / "same_answer.safetensors"

    def intact() -> bool:
        return is_built(built, with_source=False, adapters=read_adapters(adapters))

    assert intact()
    write_adapter(path, base, temperature="2")
    assert not intact()
    build(published, built, adapters)
    assert intact()
    path.unlink()
    assert not intact()
    build(published, built, adapters)
    assert intact()
    assert not list(built.glob("scorer-*"))


def test_a_scorer_of_an_older_builder_is_built_anew(built: Path, adapters: Path) -> None:
    manifest = Manifest.read(built)
    old = {name: replace(each, graph_version=0) for name, each in manifest.scorers.items()}
    (built / MANIFEST).write_text(replace(manifest, scorers=old).text())
    assert not is_built(built, with_source=False, adapters=read_adapters(adapters))


def test_fingerprints_of_scores_tell_precisions_and_adapters_apart_and_leave_vectors_alone(
    published: Published, base: bytes, built: Path, adapters: Path, tmp_path: Path
) -> None:
    one = Manifest.read(built)
    again = Manifest.read(build(published, tmp_path / "again", adapters))
    write_adapter(adapters / "same_answer.safetensors", base, temperature="2")
    other = Manifest.read(build(published, tmp_path / "other", adapters))
    assert one == again
    found = [each.scorers["same_answer"].fingerprints for each in (one, other)]
    assert len({*found[0].values(), *found[1].values()}) == 4
    assert one.fingerprints == other.fingerprints


def test_a_model_without_adapters_has_no_scorer(published: Published, tmp_path: Path) -> None:
    folder = build(published, tmp_path / "model", tmp_path / "nowhere")
    assert open_scorers(EmbeddingConfig(model_dir=folder)) == {}


def test_a_manifest_from_before_there_were_scorers_is_still_read(built: Path) -> None:
    text = (built / MANIFEST).read_text()
    (built / MANIFEST).write_text(text[: text.index(',\n  "scorers"')] + "\n}\n")
    assert Manifest.read(built).scorers == {}


def test_a_damaged_scorer_is_noticed_and_not_served(built: Path, adapters: Path) -> None:
    path = built / "scorer-same_answer-fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_built(built, with_source=False, adapters=read_adapters(adapters))
    with pytest.raises(ModelFilesError, match="is damaged"):
        scorer_of(built)


@pytest.mark.parametrize("precision", Precision)
def test_the_pairs_beside_a_pair_do_not_change_its_score(built: Path, precision: Precision) -> None:
    scorer = scorer_of(built, precision)
    pairs = [("a b", "c"), ("d", "e f g"), ("a b c d e f g h", "h g f e d c b a"), ("c", "a b")]
    together = scorer.score(pairs)
    alone = [scorer.score([pair])[0] for pair in pairs]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert all(0 <= score <= 1 for score in together)
    assert len(set(together)) == 4


def test_the_longer_text_of_a_pair_is_cut_first(built: Path) -> None:
    scorer = scorer_of(built)  # reads ten tokens, three of them marks
    short = ("a b", "c d e f g")
    longer = ("a b", "c d e f g h h h h")
    assert scorer.score([short]) == scorer.score([longer])
    assert scorer.score([("a h", "c d e f g")]) != scorer.score([short])


def test_the_precisions_are_near(built: Path) -> None:
    pairs = [("a b", "c"), ("d", "e f g")]
    exact, near = (scorer_of(built, each).score(pairs) for each in Precision)
    np.testing.assert_allclose(exact, near, atol=0.1)


@pytest.fixture
def scorer(built: Path) -> Scorer:
    return scorer_of(built)


async def test_the_service_serves_what_was_built(built: Path, scorer: Scorer) -> None:
    config = EmbeddingConfig(model_dir=built, scorer_precision=Precision.FP32, threads=1)
    pairs = [("a b", "c"), ("d", "e f g")]
    async with (
        build_service(config) as served,
        serving(served.register) as address,
        Connection.open(address) as connection,
    ):
        await served.warm()
        found = await EmbeddingClient(connection).score(pairs)
    assert found.values == pytest.approx(scorer.score(pairs), abs=1e-6)
    assert found.fingerprint == scorer.model.fingerprint
