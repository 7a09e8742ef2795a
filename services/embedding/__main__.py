"""The embedding process: `python -m services.embedding`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.config import ConfigError
from libs.server import Served, run
from services.embedding.batcher import Batcher
from services.embedding.config import EmbeddingConfig
from services.embedding.engine import open_engine
from services.embedding.manifest import ModelFilesError
from services.embedding.servicer import EmbeddingServicer, Limits


def main() -> None:
    """Build every part once, by hand, and serve."""
    run(EmbeddingConfig, build)


@asynccontextmanager
async def build(config: EmbeddingConfig) -> AsyncIterator[Served]:
    """Load the engine, start its batcher, and end it again."""
    limits = Limits(
        config.max_texts, config.max_stream_texts, config.max_characters, config.block_texts
    )
    try:
        engine = await asyncio.to_thread(open_engine, config)
    except ModelFilesError as error:
        raise ConfigError(f"EMBEDDING_MODEL_DIR={str(config.model_dir)!r}: {error}") from error
    async with Batcher(engine, run_tokens=config.run_tokens) as batcher:
        servicer = EmbeddingServicer(batcher, engine.model, limits)
        yield Served(servicer.NAME, servicer.register, functools.partial(_warm, batcher))


async def _warm(batcher: Batcher) -> None:
    """Pay for the first runs, short and long, before a caller would."""
    await batcher.embed(["Is anyone there?"])
    await batcher.embed(["and so on " * 100])


if __name__ == "__main__":
    main()
