"""Any sentence-transformers model, on CPU or CUDA; needs the extra `torch`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from sentence_transformers import SentenceTransformer

from services.embedding.engine import Model
from services.embedding.manifest import ModelFilesError, digest_of, fingerprint


class TorchEngine:
    """Runs a model's published files, which no other code has touched."""

    def __init__(
        self, folder: Path, name: str, *, languages: tuple[str, ...], device: str, threads: int
    ) -> None:
        """Load the model.

        Args:
            folder: what `SentenceTransformer.save` writes.
            name: the model's name, which its files do not say.
            languages: languages it knows, likewise.
            device: torch device; empty takes the best there is.
            threads: threads of one run on a CPU.

        Raises:
            ModelFilesError: the folder holds no such model.
        """
        if not (folder / "modules.json").is_file():
            raise ModelFilesError(f"{folder} holds no sentence-transformers model")
        importlib.import_module("torch").set_num_threads(threads)
        self._encoder = SentenceTransformer(
            str(folder), device=device or None, local_files_only=True
        )
        self._model = Model(
            name,
            fingerprint("sentence-transformers", digest_of(folder)),
            int(self._encoder.get_embedding_dimension() or 0),
            languages,
            int(self._encoder.max_seq_length or 0),
        )

    @property
    def model(self) -> Model:
        """The model behind the vectors."""
        return self._model

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """Return each text's vector, all texts in one run."""
        rows = self._encoder.encode(
            list(texts),
            batch_size=len(texts),
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return [row.astype("<f4").tobytes() for row in rows]

    def embed_bulk(self, texts: Sequence[str]) -> list[bytes]:
        """Return the same as `embed`: torch has one number of threads for a process."""
        return self.embed(texts)
