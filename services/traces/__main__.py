"""The trace store process: `python -m services.traces`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpc import aio

from libs.server import Served, run
from services.traces.config import TracesConfig
from services.traces.intake import Intake
from services.traces.retention import Retention, keep_sweeping
from services.traces.servicer import OtlpServicer, TracesServicer
from services.traces.store import SpanStore


@asynccontextmanager
async def build(config: TracesConfig) -> AsyncIterator[Served]:
    """Open the store, start its writer and its sweeper, and end them again."""
    store = await asyncio.to_thread(SpanStore.open, config.data_dir)
    intake = Intake(store, capacity_spans=config.queue_spans, clock=time.time)
    retention = Retention(config.max_age_s, config.max_spans)
    receiver = OtlpServicer(intake)
    reader = TracesServicer(store, settle_s=config.settle_s, clock=time.time)

    def register(server: aio.Server) -> None:
        receiver.register(server)
        reader.register(server)

    working = [
        asyncio.create_task(intake.run()),
        asyncio.create_task(keep_sweeping(store, retention, config.sweep_every_s, time.time)),
    ]
    try:
        yield Served(reader.NAME, register, open_services=(receiver.NAME,))
        await intake.drain()
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await asyncio.to_thread(store.close)


def main() -> None:
    """Build every part once, by hand, and serve."""
    run(TracesConfig, build)


if __name__ == "__main__":
    main()
