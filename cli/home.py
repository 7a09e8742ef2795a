"""The folder where a mesh of this machine keeps its state, and what stands in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


class NoMeshError(Exception):
    """No mesh is running that the command could speak to."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a running mesh is.

    Attributes:
        pid: the process of `hasten up`.
        token: what callers of this machine say to be let in.
        addresses: `host:port` by service; `redis` and `edge` are URLs.
    """

    pid: int
    token: str
    addresses: Mapping[str, str]

    def address(self, service: str) -> str:
        """Return where a service listens."""
        return self.addresses[service]


class Home:
    """Paths below one folder: `HASTEN_HOME`, or `.hasten` where you are."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or Path(os.environ.get("HASTEN_HOME", ".hasten"))).absolute()
        self.place = self.root / "mesh.json"
        self.token = self.root / "token"
        self.identities = self.root / "identities.json"
        self.model = Path(os.environ.get("HASTEN_MODEL_DIR", ".hasten/model")).absolute()

    def log(self, name: str) -> Path:
        """Return where a process logs to."""
        return self.root / "logs" / f"{name}.log"

    def data(self, name: str) -> Path:
        """Return where a service keeps its data."""
        return self.root / "data" / name

    def publish(self, place: Place) -> None:
        """Let other commands find the mesh; only this user may read its token."""
        write_private(self.place, json.dumps(asdict(place), indent=2))

    def find(self) -> Place:
        """Return where the mesh is.

        Raises:
            NoMeshError: none is running here.
        """
        try:
            place = Place(**json.loads(self.place.read_text("utf-8")))
            os.kill(place.pid, 0)
        except (OSError, ValueError, TypeError) as error:
            msg = f"no mesh is running in {self.root}: start one with `hasten up`"
            raise NoMeshError(msg) from error
        return place


def write_private(path: Path, text: str) -> None:
    """Write a whole file that only its owner may read."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text, "utf-8")
    part.replace(path)
