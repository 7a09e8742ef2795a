"""The embedding process: `python -m services.embedding`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from libs.config import ConfigError
from libs.server import Served, run
from services.embedding.batcher import Batcher
from services.embedding.config import EmbeddingConfig
from services.embedding.engine import open_engine, open_scorers
from services.embedding.manifest import ModelFilesError
from services.embedding.servicer import EmbeddingServicer, Limits


def main() -> None:
    """Build every part once, by hand, and serve."""
    run(EmbeddingConfig, build)


@asynccontextmanager
async def build(config: EmbeddingConfig) -> AsyncIterator[Served]:
    """Load the engine, start its batcher, and end it again."""
    limits = Limits(
        config.max_texts,
        config.max_stream_texts,
        config.max_characters,
        config.block_texts,
        config.max_pairs,
    )
    try:
        engine = await asyncio.to_thread(open_engine, config)
        scorers = await asyncio.to_thread(open_scorers, config)
    except ModelFilesError as error:
        raise ConfigError(f"EMBEDDING_MODEL_DIR={str(config.model_dir)!r}: {error}") from error
    async with Batcher(engine, scorers, run_tokens=config.run_tokens) as batcher:
        judges = [scorer.model for scorer in scorers.values()]
        servicer = EmbeddingServicer(batcher, engine.model, limits, judges)
        yield Served(servicer.NAME, servicer.register, functools.partial(_warm, batcher, scorers))


async def _warm(batcher: Batcher, scorers: Collection[str]) -> None:
    """Pay for the first runs, short and long, before a caller would."""
    for text in ("Is anyone there?", "and so on " * 100):
        await batcher.embed([text])
        for scorer in scorers:
            await batcher.score(scorer, [(text, text)])


if __name__ == "__main__":
    main()
