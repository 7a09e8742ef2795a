"""The programs of the guide, run as they are printed there, by other processes and languages."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.corpus import FACTS
from tests.support.mesh import MESH_TOKEN, Mesh

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/how-to/call-hasten.md"
_PROGRAM = re.compile(r"^```\w+ title=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = dict(_PROGRAM.findall(GUIDE.read_text("utf-8")))
# Kept between runs; the packages are pinned.
NODE_HOME = ROOT / ".hasten/callers"
NODE_PACKAGES = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1")


@pytest.fixture
async def library(mesh: Mesh) -> Mesh:
    """A mesh that the programs can ask: they speak for the tenant `default`."""
    await mesh.ingest("default")
    return mesh


@pytest.fixture
def where(library: Mesh, tmp_path: Path) -> dict[str, str]:
    """The environment of a program."""
    address = library.rooms["orchestrator"].address
    path = os.environ["PATH"]
    return {"HASTEN_ADDRESS": address, "HASTEN_TOKEN": MESH_TOKEN, "PATH": path}


async def run(*command: str | Path, cwd: Path, env: dict[str, str]) -> tuple[int, str, str]:
    """Run a program while the mesh of this process goes on."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the programs of the guide as they stand there."""
    return written(tmp_path)


def written(folder: Path) -> Path:
    for name, text in PROGRAMS.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("name", ["ask_async.py", "ask_sync.py"])
async def test_the_python_programs_run(name: str, where: dict[str, str], programs: Path) -> None:
    fact = FACTS[0]
    # From the stubs alone: the path holds nothing else of the repository.
    env = where | {"PYTHONPATH": str(ROOT / "gen")}
    program = programs / name
    status, out, err = await run(sys.executable, program, fact.question, cwd=programs, env=env)
    assert (status, err) == (0, "")
    assert fact.answer in out
    assert re.search(r"^\[\d+ ms\]$", out, re.MULTILINE)


@pytest.mark.parametrize("name", ["ask_async.py", "ask_sync.py"])
async def test_the_python_programs_say_what_is_wrong(
    name: str, where: dict[str, str], programs: Path
) -> None:
    env = where | {"PYTHONPATH": str(ROOT / "gen")}
    program = programs / name
    status, out, err = await run(sys.executable, program, "", cwd=programs, env=env)
    assert (status, out) == (1, "")
    assert "question: " in err


@pytest.fixture(scope="module")
def node_home() -> Path:
    """A folder with the packages that the program for Node needs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not here")
    NODE_HOME.mkdir(parents=True, exist_ok=True)
    if not (NODE_HOME / "node_modules/@grpc/proto-loader").exists():
        command = ["npm", "install", "--silent", "--no-save", *NODE_PACKAGES]
        done = subprocess.run(command, cwd=NODE_HOME, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot install here: {done.stderr[-200:]}")
    return written(NODE_HOME)


async def test_the_node_program_runs(node_home: Path, where: dict[str, str]) -> None:
    fact = FACTS[0]
    env = where | {"HASTEN_PROTOS": str(ROOT / "protos")}
    program = node_home / "ask.mjs"
    status, out, err = await run("node", program, fact.question, cwd=node_home, env=env)
    assert (status, err) == (0, "")
    assert fact.answer in out
    assert "[retrieval: ok]" in out


async def test_the_node_program_says_what_is_wrong(node_home: Path, where: dict[str, str]) -> None:
    env = where | {"HASTEN_PROTOS": str(ROOT / "protos")}
    program = node_home / "ask.mjs"
    status, _, err = await run("node", program, cwd=node_home, env=env)
    assert status == 1
    assert err.startswith("INVALID_ARGUMENT: question: ")


async def test_a_generic_client_asks_by_reflection(library: Mesh, tmp_path: Path) -> None:
    buf = Path(sys.executable).with_name("buf")
    fact = FACTS[0]
    address = library.rooms["orchestrator"].address
    method = f"http://{address}/hasten.answer.v1.AnswerService/StreamAnswer"
    request = f'{{"tenantId": "default", "question": "{fact.question}"}}'
    options = ("--protocol", "grpc", "--http2-prior-knowledge")
    header = ("-H", f"Authorization: Bearer {MESH_TOKEN}")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = (buf, "curl", *options, *header, "-d", request, method)
    status, out, err = await run(*command, cwd=tmp_path, env=env)
    assert status == 0, err
    assert fact.answer in out


@pytest.fixture
def callers_python(tmp_path: Path) -> Path:
    """The interpreter of an empty environment that has the wheel, and what checks types."""
    pip, wheels, home = (sys.executable, "-m", "pip"), tmp_path / "wheels", tmp_path / "venv"
    build = (*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels)
    subprocess.run([*build, ROOT / "clients/python"], check=True)
    venv.create(home, with_pip=True)
    types = ("mypy", "types-grpcio", "types-protobuf")
    install = (home / "bin/python", "-m", "pip", "install", "--quiet")
    constraints = ("-c", ROOT / "constraints.txt")
    subprocess.run([*install, *constraints, *wheels.glob("*.whl"), *types], check=True)
    return home / "bin/python"


@pytest.mark.prove
@pytest.mark.timeout(300)
async def test_the_wheel_is_all_that_a_caller_needs(
    callers_python: Path, where: dict[str, str], programs: Path
) -> None:
    for name in ("ask_async.py", "ask_sync.py"):
        check = (callers_python, "-m", "mypy", "--strict", name)
        checked = await run(*check, cwd=programs, env=dict(where))
        assert checked[0] == 0, checked[1]
        status, out, err = await run(
            callers_python, name, FACTS[0].question, cwd=programs, env=where
        )
        assert status == 0, err
        assert FACTS[0].answer in out
