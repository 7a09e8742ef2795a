"""A cross-encoder's built graph on ONNX Runtime: both texts of a pair in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from services.embedding.engine import Pair, ScorerModel
from services.embedding.manifest import TOKENIZER, Manifest, Precision, scorer_file
from services.embedding.onnx_engine import alike, opened, padded


class OnnxScorer:
    """Runs one scorer's graph of one precision."""

    def __init__(self, folder: Path, name: str, precision: Precision, *, threads: int) -> None:
        """Load and check the files.

        Raises:
            ModelFilesError: a file is missing or damaged.
        """
        manifest = Manifest.read(folder)
        built = manifest.scorers[name]
        self._tokenizer = Tokenizer.from_buffer(manifest.content(folder, TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(built.max_tokens, strategy="longest_first")
        # int8 scales activations by the largest value of the whole run (as in OnnxEngine).
        self._max_pairs = 1 if precision is Precision.INT8 else None
        self._session = opened(manifest.content(folder, scorer_file(name, precision)), threads)
        self._model = ScorerModel(name, built.fingerprints[precision], built.max_tokens)

    @property
    def model(self) -> ScorerModel:
        """The model behind the scores."""
        return self._model

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return each pair's score, running pairs of like length together."""
        tokens = self._tokenizer.encode_batch_fast(list(pairs))
        scores = [0.0] * len(pairs)
        for group in alike([len(encoded.ids) for encoded in tokens], self._max_pairs):
            found = self._run([tokens[index] for index in group])
            for index, score in zip(group, found, strict=True):
                scores[index] = score
        return scores

    def _run(self, tokens: list[Encoding]) -> list[float]:
        inputs = {
            "input_ids": padded([encoded.ids for encoded in tokens]),
            "attention_mask": padded([encoded.attention_mask for encoded in tokens]),
            "token_type_ids": padded([encoded.type_ids for encoded in tokens]),
        }
        scores: list[float] = self._session.run(["score"], inputs)[0].tolist()
        return scores
