"""The built graph on ONNX Runtime: no torch, ready in a fraction of a second."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from services.embedding.engine import Model
from services.embedding.manifest import TOKENIZER, Manifest, Precision, graph_file

# Beside texts of its own length a text costs a third less than alone, but padding costs
# as much as words do (measured on two cores: 3.2 and 2.1 ms for a 12-token question).
_MAX_PADDING = 1 / 8


class OnnxEngine:
    """Runs the graph of one precision."""

    def __init__(
        self, folder: Path, precision: Precision, *, threads: int, bulk_threads: int = 0
    ) -> None:
        """Load and check the files.

        Args:
            folder: what `make model` has filled.
            precision: of the graph.
            threads: of a run.
            bulk_threads: of a run of `embed_bulk`; 0 means as many as the others.

        Raises:
            ModelFilesError: a file is missing or damaged.
        """
        manifest = Manifest.read(folder)
        self._tokenizer = Tokenizer.from_buffer(manifest.content(folder, TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(manifest.max_tokens)
        # int8 scales activations by the largest value of the whole run, so a text beside
        # others gets another vector (cosine down to 0.985) than alone: it runs alone.
        self._max_texts = 1 if precision is Precision.INT8 else None
        graph = functools.partial(manifest.content, folder, graph_file(precision))
        self._session = opened(graph(), threads)
        self._bulk: Future[onnxruntime.InferenceSession] | None = None
        self._open_bulk: Callable[[], onnxruntime.InferenceSession] | None = None
        if bulk_threads not in (0, threads):
            self._open_bulk = lambda: opened(graph(), bulk_threads)
        self._model = Model(
            manifest.name,
            manifest.fingerprints[precision],
            manifest.dimensions,
            manifest.languages,
            manifest.max_tokens,
        )

    @property
    def model(self) -> Model:
        """The model behind the vectors."""
        return self._model

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """Return each text's vector, running texts of like length together."""
        return self._embed(self._session, texts)

    def embed_bulk(self, texts: Sequence[str]) -> list[bytes]:
        """Return the same with the threads of bulk, once the first call has had them made."""
        return self._embed(self._bulk_session(), texts)

    def _bulk_session(self) -> onnxruntime.InferenceSession:
        """Return the session of bulk if it is there already.

        It is another copy of the weights, which many never need; a question must not wait
        until it is open.
        """
        if self._open_bulk is None:
            return self._session
        if self._bulk is None:
            opening = ThreadPoolExecutor(1, thread_name_prefix="opening")
            self._bulk = opening.submit(self._open_bulk)
            opening.shutdown(wait=False)
        return self._bulk.result() if self._bulk.done() else self._session

    def _embed(self, session: onnxruntime.InferenceSession, texts: Sequence[str]) -> list[bytes]:
        # The batch call, also for one text: it alone lets other threads run meanwhile.
        tokens = [encoded.ids for encoded in self._tokenizer.encode_batch_fast(list(texts))]
        vectors = [b""] * len(texts)
        for group in alike([len(ids) for ids in tokens], self._max_texts):
            rows = _run(session, [tokens[index] for index in group])
            for index, row in zip(group, rows, strict=True):
                vectors[index] = row.tobytes()
        return vectors


def _run(session: onnxruntime.InferenceSession, tokens: list[list[int]]) -> NDArray[np.float32]:
    mask = padded([[1] * len(ids) for ids in tokens])
    rows: NDArray[np.float32] = session.run(
        ["embedding"], {"input_ids": padded(tokens), "attention_mask": mask}
    )[0]
    return rows.astype("<f4", copy=False)


def alike(lengths: Sequence[int], max_texts: int | None) -> Iterator[list[int]]:
    """Yield the indices of `lengths` in groups that need little padding.

    Args:
        lengths: tokens of each text.
        max_texts: texts that a group may have; None sets no limit.
    """
    group: list[int] = []
    total = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        total += lengths[index]
        padded = lengths[index] * (len(group) + 1)
        if group and (len(group) == max_texts or padded - total > padded * _MAX_PADDING):
            yield group
            group, total = [], lengths[index]
        group.append(index)
    if group:
        yield group


def padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return rows of different lengths as one array, filled up with zeros."""
    filled = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    return filled


def opened(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return a session of a graph that runs on so many threads."""
    return onnxruntime.InferenceSession(
        graph, session_options(threads), providers=["CPUExecutionProvider"]
    )


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return the options of a graph that runs on so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Left alone, threads of a run that has ended spin on: a call every 20 ms kept a core busy.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
