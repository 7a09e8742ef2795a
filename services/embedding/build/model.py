"""Published files in, a folder that an engine can load out; whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load

from services.embedding.build.adapter import Adapter
from services.embedding.build.graph import (
    BUILD_VERSION,
    GRAPH_VERSION,
    HEAD_NODES,
    SCORER_GRAPH_VERSION,
    Shape,
    Weights,
    encoder_graph,
    scorer_graph,
)
from services.embedding.build.wheel import TOKENIZER, WEIGHTS, Published
from services.embedding.manifest import (
    MANIFEST,
    SOURCE,
    BuiltScorer,
    Manifest,
    ModelFilesError,
    Precision,
    fingerprint,
    graph_file,
    scorer_file,
)


def is_built(
    folder: Path, *, with_source: bool, adapters: Mapping[str, Adapter] | None = None
) -> bool:
    """Return whether `folder` holds an intact model of this version, with what is asked for.

    Args:
        folder: where it would be.
        with_source: whether the published files must be there.
        adapters: those that it must have been built with, and no others.
    """
    try:
        manifest = Manifest.read(folder)
    except ModelFilesError:
        return False
    has_source = any(name.startswith(f"{SOURCE}/") for name in manifest.files)
    return (
        manifest.graph_version == BUILD_VERSION
        and has_source >= with_source
        and _built_with(manifest) == {n: each.sha256 for n, each in (adapters or {}).items()}
        and manifest.is_intact(folder)
    )


def build_model(
    published: Published,
    folder: Path,
    *,
    with_source: bool,
    say: Callable[[str], None],
    adapters: Mapping[str, Adapter] | None = None,
) -> Manifest:
    """Build every graph of a model into `folder` and return its manifest.

    The manifest is written last: a build that is cut short leaves the folder without one,
    or with one that its files do not match, and the next build starts anew.

    Args:
        published: the model's files.
        folder: where to build; made if it is not there.
        with_source: whether to keep the published files beside the graphs.
        say: is told of each step.
        adapters: each makes a scorer, by name.

    Raises:
        BuildError: an adapter does not fit the model.
    """
    files = {TOKENIZER: published.files[TOKENIZER], **_graphs(published, say)}
    for adapter in (adapters or {}).values():
        files |= _scorer_graphs(published, adapter, say)
    if with_source:
        files |= {f"{SOURCE}/{name}": content for name, content in published.files.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        say(f"writing {folder / name}, {len(content) / 1e6:.1f} MB")
        write_whole(folder / name, content)
    manifest = _manifest(published, files, adapters or {})
    write_whole(folder / MANIFEST, manifest.text().encode())
    for path in folder.glob(scorer_file("*", "*")):
        if path.name not in files:
            path.unlink()
    return manifest


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = f".{path.name}."
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=hidden, delete=False) as part:
        try:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
            # A temporary file is its owner's alone; a built one is anyone's to read.
            os.fchmod(part.fileno(), 0o644)
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _graphs(published: Published, say: Callable[[str], None]) -> dict[str, bytes]:
    say("building the graph, fp32 and int8")
    graph = encoder_graph(_weights(published), Shape.of(published.settings("config.json")))
    return {graph_file(each): content for each, content in _precisions(graph).items()}


def _scorer_graphs(
    published: Published, adapter: Adapter, say: Callable[[str], None]
) -> dict[str, bytes]:
    say(f"building the scorer {adapter.name}, fp32 and int8")
    weights = adapter.merged(_weights(published), _sha256(published.files[WEIGHTS]))
    graph = scorer_graph(weights, Shape.of(published.settings("config.json")), adapter.head)
    made = _precisions(graph)
    return {scorer_file(adapter.name, each): content for each, content in made.items()}


def _weights(published: Published) -> Weights:
    return load(published.files[WEIGHTS])


def _precisions(graph: onnx.ModelProto) -> dict[Precision, bytes]:
    """Return a graph's file in every precision."""
    onnx.checker.check_model(graph)
    # Before it is quantized, which may change it.
    full = graph.SerializeToString()
    return {Precision.FP32: full, Precision.INT8: _quantized(graph)}


def _quantized(graph: onnx.ModelProto) -> bytes:
    """Return the graph with int8 weights, one scale per channel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            graph,
            path,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=list(HEAD_NODES),
            # Shape inference does not know the fused operators' outputs.
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
        return path.read_bytes()


def _built_with(manifest: Manifest) -> dict[str, str]:
    """Return the adapters that a model's scorers of this version were built with."""
    return {
        name: scorer.adapter if scorer.graph_version == SCORER_GRAPH_VERSION else ""
        for name, scorer in manifest.scorers.items()
    }


def _manifest(
    published: Published, files: Mapping[str, bytes], adapters: Mapping[str, Adapter]
) -> Manifest:
    max_tokens = published.settings("sentence_bert_config.json")["max_seq_length"]
    digests = {name: _sha256(content) for name, content in files.items()}
    weights = _sha256(published.files[WEIGHTS])
    # Not the graphs' own digests: two machines that build alike must agree on the name.
    common = f"graph {GRAPH_VERSION}", weights, digests[TOKENIZER], f"max_tokens {max_tokens}"
    return Manifest(
        name=published.name,
        dimensions=published.settings("config.json")["hidden_size"],
        max_tokens=max_tokens,
        languages=published.languages,
        graph_version=BUILD_VERSION,
        files=digests,
        fingerprints={each: fingerprint(each, *common) for each in Precision},
        scorers={
            name: _built_scorer(adapter, digests[TOKENIZER]) for name, adapter in adapters.items()
        },
    )


def _built_scorer(adapter: Adapter, tokenizer: str) -> BuiltScorer:
    # The adapter's own digest covers its base, the head and the tokens it reads.
    common = f"graph {GRAPH_VERSION}, scorer {SCORER_GRAPH_VERSION}", adapter.sha256, tokenizer
    return BuiltScorer(
        graph_version=SCORER_GRAPH_VERSION,
        adapter=adapter.sha256,
        max_tokens=adapter.max_tokens,
        fingerprints={each: fingerprint(each, *common) for each in Precision},
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
