"""The embedding service in a process of its own, as it is deployed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """A service that is ready.

    Attributes:
        process: its process.
        address: where it listens.
        ready_s: seconds from its start to the moment at which it was healthy.
    """

    process: subprocess.Popen[str]
    address: str
    ready_s: float

    def stop(self) -> int:
        """Tell it to end, and return its exit status."""
        self.process.terminate()
        self.process.communicate(timeout=30)
        return self.process.returncode


def start(env: dict[str, str]) -> subprocess.Popen[str]:
    """Start `python -m services.embedding` with `env` added to this process's."""
    command = [sys.executable, "-m", "services.embedding"]
    return subprocess.Popen(command, env=os.environ | env, stderr=subprocess.PIPE, text=True)


@contextmanager
def running(model_dir: Path, **env: str) -> Iterator[Running]:
    """Run the service on a free port until the block ends."""
    settings = {
        "EMBEDDING_ADDRESS": "127.0.0.1:0",
        "EMBEDDING_MODEL_DIR": str(model_dir),
        "EMBEDDING_DRAIN_S": "0",
    }
    started_s = time.monotonic()
    with start(settings | env) as process:
        try:
            address = _wait_until_ready(process)
            yield Running(process, address, time.monotonic() - started_s)
        finally:
            process.terminate()


def _wait_until_ready(process: subprocess.Popen[str]) -> str:
    """Wait for the log line that says so, and return the address that one before it names."""
    log, address = [], ""
    for line in process.stderr or ():
        log.append(line)
        if "listens on " in line:
            address = line.split()[-1]
        if line.rstrip().endswith("is ready"):
            return address
    raise RuntimeError(f"the service ended with status {process.wait()}:\n{''.join(log)}")
