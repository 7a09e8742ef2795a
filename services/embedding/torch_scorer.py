"""Any cross-encoder of sentence-transformers, on CPU or CUDA; needs the extra `torch`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from sentence_transformers import CrossEncoder

from services.embedding.engine import Pair, ScorerModel
from services.embedding.manifest import ModelFilesError, digest_of, fingerprint


class TorchScorer:
    """Scores pairs with a model's published files, which no other code has touched."""

    def __init__(self, folder: Path, name: str, *, device: str, threads: int) -> None:
        """Load the model.

        Args:
            folder: what `CrossEncoder.save_pretrained` writes.
            name: what callers ask for it by.
            device: torch device; empty takes the best there is.
            threads: threads of one run on a CPU.

        Raises:
            ModelFilesError: the folder holds no cross-encoder with a single score.
        """
        if not (folder / "config.json").is_file():
            raise ModelFilesError(f"{folder} holds no cross-encoder")
        torch = importlib.import_module("torch")
        torch.set_num_threads(threads)
        # Whatever a model was published to apply to its score, here it is a probability.
        self._encoder = CrossEncoder(
            str(folder),
            device=device or None,
            local_files_only=True,
            activation_fn=torch.nn.Sigmoid(),
        )
        if self._encoder.num_labels != 1:
            labels = self._encoder.num_labels
            raise ModelFilesError(f"{folder} gives {labels} scores to a pair, not one")
        self._model = ScorerModel(
            name,
            fingerprint("sentence-transformers", digest_of(folder)),
            int(self._encoder.max_seq_length or 0),
        )

    @property
    def model(self) -> ScorerModel:
        """The model behind the scores."""
        return self._model

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return each pair's score, all pairs in one run."""
        found = self._encoder.predict(list(pairs), batch_size=len(pairs), show_progress_bar=False)
        return [float(each) for each in found]
