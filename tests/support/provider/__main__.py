"""The simulated provider as a process: `python -m tests.support.provider --port 0`."""

from __future__ import annotations

import argparse
import asyncio
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.support.provider.behaviour import Behaviour
from tests.support.provider.server import Provider


def main() -> None:
    """Serve until SIGTERM or SIGINT; every field of the behaviour is an option."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--url-file", type=Path, help="file that is given the URL once it listens")
    parser.add_argument("--seed", type=int, default=1)
    for each in fields(Behaviour):
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=_kind(each.type))
    given: dict[str, Any] = {
        key: value for key, value in vars(parser.parse_args()).items() if value is not None
    }
    port, seed, url_file = given.pop("port"), given.pop("seed"), given.pop("url_file", None)
    provider = Provider(Behaviour().changed(given), seed=seed)
    asyncio.run(_serve(provider, port, url_file))


async def _serve(provider: Provider, port: int, url_file: Path | None) -> None:
    stopping = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stopping.set)
    async with provider.serve(port):
        print(provider.url, flush=True)
        if url_file is not None:
            part = url_file.with_suffix(".part")
            part.write_text(provider.url)
            part.replace(url_file)
        await stopping.wait()


def _kind(annotation: Any) -> Any:
    name = str(annotation)
    if "bool" in name:
        return lambda text: text.lower() in ("1", "true", "yes")
    return int if "int" in name else float if "float" in name else str


if __name__ == "__main__":
    main()
