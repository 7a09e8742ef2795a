"""Makes the stubs for the wheel from the protos: typed for callers with asyncio and without."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PROTOS = Path(__file__).resolve().parents[2] / "protos"


class StubsHook(BuildHookInterface[Any]):
    """Runs the compiler into a folder that lives as long as the build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the stubs to what the wheel holds."""
        del version
        self._folder = tempfile.TemporaryDirectory()
        out = self._folder.name
        made = [f"--{kind}_out={out}" for kind in ("python", "grpc_python")]
        made += [f"--{kind}_out=quiet:{out}" for kind in ("mypy", "mypy_grpc")]
        protos = [str(path) for path in sorted(_PROTOS.rglob("*.proto"))]
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(_PROTOS), *made, *protos]
        subprocess.run(command, check=True)
        (Path(out) / "hasten/py.typed").touch()
        build_data["force_include"][f"{out}/hasten"] = "hasten"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the folder."""
        del version, build_data, artifact_path
        self._folder.cleanup()
