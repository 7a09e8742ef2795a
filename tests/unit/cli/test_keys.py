"""`hasten keys`: what it makes opens the edge, and what it revokes does not."""

from __future__ import annotations

import json
import time
from pathlib import Path

from typer.testing import CliRunner

from cli.keys import app
from services.edge.access.keys import KeyFile, id_of

RUN = CliRunner()


def test_a_key_is_shown_once_and_opens(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    where = ["--file", str(path)]
    made = RUN.invoke(app, ["create", "--tenant", "acme", "--right", "answers", *where])
    key = made.stdout.strip()
    assert path.stat().st_mode & 0o777 == 0o600
    assert key not in path.read_text()
    row = KeyFile(path)._rows[id_of(key)]  # noqa: SLF001 - what the edge reads
    assert row.holds(key, time.time())
    assert (row.caller.tenant_id, row.caller.rights) == ("acme", {"answers"})


def test_a_revoked_key_opens_nothing_and_others_stay(tmp_path: Path) -> None:
    where = ["--file", str(tmp_path / "keys.json")]
    one, two = (
        RUN.invoke(app, ["create", "--tenant", "acme", *where]).stdout.strip() for _ in range(2)
    )
    assert RUN.invoke(app, ["revoke", id_of(one), *where]).exit_code == 0
    rows = KeyFile(tmp_path / "keys.json")._rows  # noqa: SLF001
    assert not rows[id_of(one)].holds(one, time.time())
    assert rows[id_of(two)].holds(two, time.time())
    listed = RUN.invoke(app, ["list", "--json", *where])
    assert {each["id"] for each in json.loads(listed.stdout)} == {id_of(one), id_of(two)}
    assert "revoked" in RUN.invoke(app, ["list", *where]).stdout


def test_keys_are_kept_in_redis_too(redis_url: str) -> None:
    where = ["--redis", redis_url]
    made = RUN.invoke(app, ["create", "--tenant", "acme", "--days", "1", "--json", *where])
    key_id = json.loads(made.stdout)["id"]
    listed = json.loads(RUN.invoke(app, ["list", "--json", *where]).stdout)
    assert key_id in {each["id"] for each in listed}


def test_slips_are_named(tmp_path: Path) -> None:
    where = ["--file", str(tmp_path / "keys.json")]
    wrong = RUN.invoke(app, ["create", "--tenant", "acme", "--right", "all", *where])
    assert "--right: all is none of" in str(wrong.exception)
    assert "say where" in str(RUN.invoke(app, ["list"], env={"EDGE_REDIS_URL": ""}).exception)
    assert "no such key" in str(RUN.invoke(app, ["revoke", "x", *where]).exception)
