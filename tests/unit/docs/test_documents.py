from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from libs.telemetry import names
from services.orchestrator.policy import load_policies
from tests.support.errors_page import errors_page
from tests.support.settings_page import settings_page

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"(?:protos|gen|libs|services|cli|tests|docs)/[\w./-]*")
_ANYWHERE = re.compile(r"[a-z_]+\.py")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_METRIC = re.compile(r"\b(Counter|Histogram|Gauge)\(\s*(?:\"(\w+)\"|names\.(\w+))")
_METRIC_NAME = re.compile(r"`((?:hasten|rpc)_\w+)`")
_SOURCES = {
    path.name for folder in ("libs", "services", "cli") for path in ROOT.glob(f"{folder}/**/*.py")
}


def _title(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=_title)
def test_a_document_names_only_files_that_exist(path: Path) -> None:
    codes = _CODE.findall(path.read_text("utf-8"))
    missing = [code for code in codes if _PATH.fullmatch(code) and not (ROOT / code).exists()]
    missing += [code for code in codes if _ANYWHERE.fullmatch(code) and code not in _SOURCES]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=_title)
def test_a_link_leads_somewhere(path: Path) -> None:
    links = _LINK.findall(path.read_text("utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_verbs_that_documents_name_are_there() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        verb
        for path in DOCUMENTS
        for verb in re.findall(r"`(?:\w+=\S+ )?make ([a-z-]+)", path.read_text("utf-8"))
    }
    assert named <= known


def test_the_list_of_settings_is_what_the_code_says() -> None:
    stored = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    assert stored == settings_page(), "run `python -m tests.support.settings_page`"


def test_the_list_of_errors_is_what_the_code_says() -> None:
    stored = (ROOT / "docs/reference/errors.md").read_text("utf-8")
    assert stored == errors_page(), "run `python -m tests.support.errors_page`"


def test_every_metric_is_in_the_list_and_no_other() -> None:
    found = [
        (kind, literal or getattr(names, constant))
        for folder in ("libs", "services")
        for path in ROOT.glob(f"{folder}/**/*.py")
        for kind, literal, constant in _METRIC.findall(path.read_text("utf-8"))
    ]
    made = {_exposed(kind, name) for kind, name in found}
    listed = set(_METRIC_NAME.findall((ROOT / "docs/reference/metrics.md").read_text("utf-8")))
    assert made - listed == set()
    assert {name for name in listed - made if name.startswith("hasten_")} == set()


def _exposed(kind: str, name: str) -> str:
    """Return the name under which Prometheus shows a metric."""
    return f"{name.removesuffix('_total')}_total" if kind == "Counter" else name


def test_the_policies_of_the_guide_can_be_loaded(tmp_path: Path) -> None:
    guide = (ROOT / "docs/how-to/set-a-policy.md").read_text("utf-8")
    (text,) = [body for language, body in _FENCE.findall(guide) if language == "toml"]
    path = tmp_path / "policies.toml"
    path.write_text(text, "utf-8")
    policies = load_policies(path)
    assert [policies.named(name).name for name in tomllib.loads(text)] == ["kiosk", "research"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=_title)
def test_python_in_documents_compiles(path: Path) -> None:
    for language, body in _FENCE.findall(path.read_text("utf-8")):
        if language == "python":
            compile(body, str(path), "exec")
