"""`hasten keys`: makes, lists and revokes the API keys that the edge takes."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.home import write_private
from cli.options import Json, SlipError
from libs.redislink import open_redis
from services.edge.access.caller import ALL, RIGHTS
from services.edge.access.keys import TABLE, KeyRow, digest_of, make_key

app = typer.Typer(help="Make, list and revoke API keys of the edge.", no_args_is_help=True)
_TIMEOUT_S = 5.0
File = Annotated[
    Path | None, typer.Option("--file", help="The JSON file of EDGE_KEYS_FILE. Default: Redis.")
]
RedisUrl = Annotated[
    str, typer.Option("--redis", help="The Redis of EDGE_REDIS_URL.", envvar="EDGE_REDIS_URL")
]
Words = list[str]


class Shelf:
    """Where keys are kept: a file, or a hash in Redis."""

    def __init__(self, path: Path | None, redis_url: str) -> None:
        """Keep them in the file if there is one, else in Redis.

        Raises:
            SlipError: neither is named.
        """
        if path is None and not redis_url:
            raise SlipError("say where keys are kept: --file, --redis or EDGE_REDIS_URL")
        self._path = path
        self._redis_url = redis_url

    def rows(self) -> list[dict[str, Any]]:
        """Return every row.

        Raises:
            SlipError: the file is none of keys.
        """
        if self._path is None:
            found = asyncio.run(self._ask("hgetall", TABLE))
            return [json.loads(row) for row in found.values()]
        if not self._path.exists():
            return []
        try:
            rows: list[dict[str, Any]] = json.loads(self._path.read_text("utf-8"))
            list(map(KeyRow.read, rows))
        except ValueError as error:
            raise SlipError(f"{self._path}: {error}") from error
        return rows

    def put(self, row: dict[str, Any]) -> None:
        """Keep a row, in place of the one with its id."""
        if self._path is None:
            asyncio.run(self._ask("hset", TABLE, row["id"], json.dumps(row)))
            return
        others = [each for each in self.rows() if each["id"] != row["id"]]
        write_private(self._path, json.dumps([*others, row], indent=2) + "\n")

    async def _ask(self, command: str, *args: Any) -> Any:
        redis = open_redis(self._redis_url, timeout_s=_TIMEOUT_S)
        try:
            return await getattr(redis, command)(*args)
        finally:
            await redis.aclose()


@app.command("create")
def create(
    tenant: Annotated[str, typer.Option(help="Whose documents, answers and jobs it opens.")],
    name: Annotated[str, typer.Option(help="Whom it is for; for people.")] = "",
    right: Annotated[
        Words | None, typer.Option(help="What it allows. Default: everything.")
    ] = None,
    scope: Annotated[Words | None, typer.Option(help="Document scopes. Default: all.")] = None,
    days: Annotated[float, typer.Option(help="Days until it ends; 0 is never.")] = 0.0,
    file: File = None,
    redis: RedisUrl = "",
    as_json: Json = False,  # noqa: FBT002 - an option
) -> None:
    """Make a key, and print it: it is shown once, and kept nowhere."""
    unknown = set(right or ()) - RIGHTS
    if unknown:
        raise SlipError(f"--right: {min(unknown)} is none of {', '.join(sorted(RIGHTS))}")
    key, key_id = make_key()
    now = dt.datetime.now(dt.UTC)
    row: dict[str, Any] = {
        "id": key_id,
        "name": name,
        "sha256": digest_of(key),
        "tenant": tenant,
        "rights": right or [ALL],
        "document_scopes": scope or [ALL],
        "created": now.isoformat(timespec="seconds"),
    }
    if days:
        row["expires"] = (now + dt.timedelta(days=days)).isoformat(timespec="seconds")
    Shelf(file, redis).put(row)
    typer.echo(json.dumps({"key": key, **row}) if as_json else key)


@app.command("list")
def list_keys(file: File = None, redis: RedisUrl = "", as_json: Json = False) -> None:  # noqa: FBT002
    """List the keys; what opens the door is not among it."""
    rows = Shelf(file, redis).rows()
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("id", "name", "tenant", "rights", "scopes", "expires", "state", box=None)
    for row in rows:
        words = (" ".join(row.get("rights", [ALL])), " ".join(row.get("document_scopes", [ALL])))
        state = "revoked" if row.get("disabled") else "valid"
        named = (row["id"], row.get("name", ""), row["tenant"])
        table.add_row(*named, *words, row.get("expires", "never"), state)
    Console(width=None if os.isatty(1) else 160).print(table)


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")],
    file: File = None,
    redis: RedisUrl = "",
) -> None:
    """Have a key not be taken any more; within seconds nowhere."""
    shelf = Shelf(file, redis)
    for row in shelf.rows():
        if row["id"] == key_id:
            shelf.put(row | {"disabled": True})
            typer.echo(f"{key_id} is revoked")
            return
    raise SlipError(f"{key_id}: there is no such key")
