"""The Dockerfile: linted, and its steps taken where no image can be built."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images.steps import DOCKERFILE, ROOT, Kitchen, read_stages

STAGES = read_stages(DOCKERFILE.read_text("utf-8"))
SERVICES = sorted(
    path.name
    for path in (ROOT / "services").iterdir()
    if path.name != "__pycache__" and (path / "__main__.py").exists()
)


def test_every_service_has_an_image_that_starts_it() -> None:
    for service in SERVICES:
        assert ("CMD", f'["-m", "services.{service}"]') in STAGES[service].steps
        assert STAGES[service].base == "runtime"


def test_every_image_installs_by_hash() -> None:
    for service in (*SERVICES, "embedding-torch", "model", "build"):
        lines = (ROOT / f"requirements/{service}.txt").read_text("utf-8").splitlines()[1:]
        assert lines
        assert all(re.fullmatch(r"\S+==\S+( --hash=sha256:[0-9a-f]{64})+", line) for line in lines)


def test_only_the_variant_has_torch() -> None:
    with_torch = {
        path.stem
        for path in (ROOT / "requirements").glob("*.txt")
        if re.search(r"^torch==", path.read_text("utf-8"), re.MULTILINE)
    }
    assert with_torch == {"embedding-torch"}


def test_what_runs_is_not_root_and_carries_no_tools() -> None:
    runtime = STAGES["runtime"]
    assert ("USER", "10001:10001") in runtime.steps
    assert not [rest for keyword, rest in runtime.steps if keyword == "RUN" and "install" in rest]


def test_versions_are_those_that_are_tested() -> None:
    pinned = {_plain(each) for each in (ROOT / "constraints.txt").read_text("utf-8").split()}
    for path in (ROOT / "requirements").glob("*.txt"):
        if path.stem != "build":
            lines = path.read_text("utf-8").splitlines()[1:]
            # setuptools is never frozen.
            installed = {_plain(line.split()[0]) for line in lines if "setuptools" not in line}
            assert installed <= pinned, path


def _plain(requirement: str) -> str:
    """Return a requirement as one spelling of its name has it."""
    return requirement.lower().replace("_", "-").removesuffix("+cpu")


def test_the_dockerfile_is_clean() -> None:
    command = [str(Path(sys.executable).with_name("hadolint")), str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""


@pytest.mark.prove
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("service", ["generation", "cache"])
def test_the_steps_of_an_image_make_what_it_runs(tmp_path: Path, service: str) -> None:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the hashes are those of Python 3.11")
    kitchen = Kitchen(tmp_path, STAGES, {"SERVICE": service, "WITH": service})
    root = kitchen.build("installed")
    python = root / "app/bin/python"
    # As the image starts it: from its own files alone, and without a compiler or torch.
    code = f"import services.{service}.__main__; print('made')"
    done = subprocess.run(
        [python, "-Ic", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "made"
    assert not list((root / "app").glob("lib/*/site-packages/torch"))


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_the_steps_of_the_model_make_it(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path, STAGES, {"SERVICE": "embedding", "WITH": "embedding"})
    root = kitchen.build("model")
    assert (root / "model/manifest.json").exists()
