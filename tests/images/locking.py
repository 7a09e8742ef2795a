"""`make lock`: writes requirements/*.txt, what each image installs, every file by its hash.

Runs after constraints.txt is written. Takes the versions from there and the hashes from the
index, for the machines that images are for: Linux on x86-64 with Python 3.11.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_OUT = _ROOT / "requirements"
_HEAD = "# Written by `make lock`; do not edit.\n"
# What builds the wheel, and an image's name for its extras where it differs.
_EXTRAS = {"embedding-torch": "embedding,torch"}
_IMAGES = ("cache", "edge", "embedding", "embedding-torch", "generation", "jobs", "model")
_MORE = ("orchestrator", "retrieval", "traces")


def main() -> None:
    """Write one file for each image, and one for what builds the wheel."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))
    _write("build", project["build-system"]["requires"])
    for image in (*_IMAGES, *_MORE):
        _write(image, list(_wanted(project, _EXTRAS.get(image, image))))


def _wanted(project: dict[str, dict[str, object]], extras: str) -> Iterator[str]:
    table = project["project"]
    yield from table["dependencies"]  # type: ignore[misc]
    for extra in extras.split(","):
        for each in table["optional-dependencies"][extra]:  # type: ignore[index]
            if each.startswith("hasten["):
                yield from _wanted(project, each.removeprefix("hasten[").rstrip("]"))
            else:
                yield each


def _write(name: str, wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "pylock.toml"
        constraints = str(_ROOT / "constraints.txt")
        options = ["--quiet", "-c", constraints, "--only-binary", ":all:", "-o", str(lock)]
        subprocess.run([sys.executable, "-m", "pip", "lock", *options, *wanted], check=True)
        packages = tomllib.loads(lock.read_text("utf-8"))["packages"]
    lines = [_line(each) for each in sorted(packages, key=lambda each: str(each["name"]))]
    (_OUT / f"{name}.txt").write_text(_HEAD + "".join(lines), "utf-8")


def _line(package: dict[str, object]) -> str:
    wheels = package["wheels"]
    hashes = [each["hashes"]["sha256"] for each in wheels]  # type: ignore[attr-defined]
    given = " ".join(f"--hash=sha256:{each}" for each in hashes)
    return f"{package['name']}=={package['version']} {given}\n"


if __name__ == "__main__":
    main()
