"""The generation process: `python -m services.generation`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from libs.server import Served, run
from libs.values import ModelTier
from libs.values.generation import Model
from services.generation.config import GenerationConfig
from services.generation.engine import Engine
from services.generation.extractive import ExtractiveEngine
from services.generation.marks import PrefixSettings
from services.generation.roster import Roster
from services.generation.servicer import GenerationServicer, cost_of
from services.generation.writer import Limits, Writer


@asynccontextmanager
async def build(config: GenerationConfig) -> AsyncIterator[Served]:
    """Build the engines that the settings ask for, and close them again."""
    async with AsyncExitStack() as stack:
        engines: list[Engine] = [ExtractiveEngine()]
        if key := config.api_key():
            engines += await stack.enter_async_context(_provider(config, key))
        if any(models := config.chat_models()):
            engines += await stack.enter_async_context(_chat(config, *models))
        limits = Limits(
            config.limit_s, config.stall_limit_s, config.reply_reserve_s, config.coalesce_s
        )
        servicer = GenerationServicer(Roster(engines), Writer(limits))
        # A provider that is down is no reason to be unhealthy: the other engines serve.
        costs = {f"{servicer.NAME}/GenerateText": cost_of}
        yield Served(servicer.NAME, servicer.register, costs=costs)


@asynccontextmanager
async def _provider(config: GenerationConfig, key: str) -> AsyncIterator[list[Engine]]:
    # Imported here because it takes a second and more, which a process without a key saves.
    from services.generation.anthropic import (  # noqa: PLC0415
        AnthropicEngine,
        ModelSettings,
        open_client,
    )

    client = await asyncio.to_thread(
        open_client,
        key,
        base_url=config.anthropic_base_url or None,
        connect_limit_s=config.connect_limit_s,
        max_connections=config.max_concurrency,
    )

    def engine(tier: ModelTier, name: str, thinking: str, effort: str) -> Engine:
        prefix = _prefix(config, tier)
        settings = ModelSettings(
            config.max_output_tokens, thinking, effort, config.retry_after_limit_s, prefix
        )
        return AnthropicEngine(client, Model(tier, name, "anthropic"), settings)

    async with client:
        best = engine(ModelTier.BEST, config.best_model, config.best_thinking, config.best_effort)
        fast = engine(ModelTier.FAST, config.fast_model, config.fast_thinking, config.fast_effort)
        yield [best, fast] if config.fast_model else [best]


@asynccontextmanager
async def _chat(config: GenerationConfig, best: str, fast: str) -> AsyncIterator[list[Engine]]:
    from services.generation.openai import (  # noqa: PLC0415 - as above
        ChatSettings,
        OpenAIEngine,
        open_client,
    )

    client = await asyncio.to_thread(
        open_client,
        config.openai_api_key.get_secret_value(),
        base_url=config.openai_base_url,
        connect_limit_s=config.connect_limit_s,
        max_connections=config.max_concurrency,
    )

    def engine(tier: ModelTier, name: str) -> Engine:
        prefix = replace(
            _prefix(config, tier), read_share=config.openai_cached_price, is_automatic=True
        )
        settings = ChatSettings(
            config.max_output_tokens, config.openai_limit_field, config.retry_after_limit_s, prefix
        )
        return OpenAIEngine(client, Model(tier, name, "openai"), settings)

    async with client:
        engines = [engine(ModelTier.BEST, best)]
        yield [*engines, engine(ModelTier.FAST, fast)] if fast else engines


def _prefix(config: GenerationConfig, tier: ModelTier) -> PrefixSettings:
    """Return how the prompt cache of a tier's model is used."""
    is_best = tier is ModelTier.BEST
    return PrefixSettings(
        enabled=config.prompt_cache,
        ttl=config.prompt_cache_ttl,
        minimum_tokens=config.best_min_prefix_tokens if is_best else config.fast_min_prefix_tokens,
        gate_limit_s=config.prompt_cache_wait_s,
        diagnoses=config.prompt_cache_diagnosis,
        dollars_per_million=config.best_input_price if is_best else config.fast_input_price,
    )


def main() -> None:
    """Build every part once, by hand, and serve."""
    run(GenerationConfig, build)


if __name__ == "__main__":
    main()
