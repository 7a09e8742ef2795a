"""`hasten cache stats`: what each replica of the cache holds, and how it has done."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from cli.home import Home, Place
from cli.options import Json, Tenant
from libs.clients import Connection
from libs.clients.cache import CacheClient
from libs.errors import BudgetExhaustedError, UnreachableError
from libs.values import CacheLayer
from libs.values.cache import CacheStats

_LIMIT_S = 5.0
_LAYERS = tuple(layer.name.lower() for layer in CacheLayer if layer is not CacheLayer.NONE)
# How a hit is counted: `exact_hit`, `semantic_hit`.
_HIT = "_hit"
_DNS = "dns:"


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    """What one replica says of a tenant.

    Attributes:
        address: where it listens.
        stats: what it says; None if it does not answer.
        problem: why it does not, if it does not.
    """

    address: str
    stats: CacheStats | None
    problem: str = ""

    @property
    def hits(self) -> dict[str, int]:
        """Lookups that hit, by layer."""
        counts = self._counts()
        return {layer: counts.get(f"{layer}{_HIT}", 0) for layer in _LAYERS}

    @property
    def misses(self) -> dict[str, int]:
        """Lookups that missed, by reason, the most frequent first."""
        missed = {name: count for name, count in self._counts().items() if not name.endswith(_HIT)}
        return dict(sorted(missed.items(), key=lambda each: -each[1]))

    def members(self) -> dict[str, Any]:
        """Return the replica as one JSON object."""
        if self.stats is None:
            return {"address": self.address, "problem": self.problem}
        return {
            "address": self.address,
            "semantic_entry_count": self.stats.semantic_entry_count,
            "index_version": self.stats.index_version,
            "hits": self.hits,
            "misses": self.misses,
        }

    def _counts(self) -> Mapping[str, int]:
        return {} if self.stats is None else self.stats.lookup_counts


def stats(tenant: Tenant = "default", *, as_json: Json = False) -> None:
    """Show what each replica of the cache holds of a tenant, and how its lookups ended."""
    replicas = asyncio.run(ask_replicas(Home().find(), tenant))
    if as_json:
        typer.echo(
            json.dumps({"tenant": tenant, "replicas": [each.members() for each in replicas]})
        )
    else:
        show(Console(highlight=False), tenant, replicas)
    if not any(each.stats for each in replicas):
        raise typer.Exit(1)


async def ask_replicas(place: Place, tenant_id: str) -> list[ReplicaStats]:
    """Ask every replica of the cache what it holds of a tenant.

    Raises:
        MeshError: one of them refuses the call.
    """
    addresses = await asyncio.to_thread(replicas_of, place.address("cache"))
    asked = (_ask(address, place.token, tenant_id) for address in addresses)
    return list(await asyncio.gather(*asked))


def replicas_of(target: str) -> list[str]:
    """Return the address of each backend that a gRPC target names.

    Raises:
        UnreachableError: a name in it does not resolve.
    """
    scheme, _, rest = target.partition(":")
    if scheme in ("ipv4", "ipv6"):
        return rest.split(",")
    if not target.startswith(_DNS):
        return [target]
    host, _, port = target.removeprefix(_DNS).rpartition("/")[2].rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnreachableError(f"{target} does not resolve: {error}") from error
    hosts = {str(address[0]) for *_, address in found}
    return sorted(f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in hosts)


async def _ask(address: str, token: str, tenant_id: str) -> ReplicaStats:
    async with Connection.open(address, token=token) as connection:
        try:
            told = await CacheClient(connection).stats(tenant_id, limit_s=_LIMIT_S)
        except UnreachableError as error:
            return ReplicaStats(address, None, f"{error.reason}: {error}")
        except BudgetExhaustedError:
            return ReplicaStats(address, None, f"does not answer within {_LIMIT_S:.0f} s")
    return ReplicaStats(address, told)


def show(console: Console, tenant: str, replicas: list[ReplicaStats]) -> None:
    """Print a table with a row for each replica, and what its misses were."""
    table = Table(title=f"the cache, for tenant {tenant}", title_justify="left", box=None)
    table.add_column("replica", no_wrap=True)
    for name in ("entries", "lookups", *_LAYERS, "hit rate", "index"):
        table.add_column(name, justify="right")
    for each in replicas:
        table.add_row(each.address, *_cells(each))
    console.print(table)
    for each in replicas:
        if each.problem:
            console.print(f"{each.address}: {each.problem}", markup=False, soft_wrap=True)
        elif each.misses:
            told = ", ".join(f"{reason} {count:,}" for reason, count in each.misses.items())
            console.print(f"{each.address} missed: {told}", markup=False, soft_wrap=True)


def _cells(replica: ReplicaStats) -> list[str]:
    if replica.stats is None:
        return ["-"] * (len(_LAYERS) + 4)
    hits = sum(replica.hits.values())
    lookups = hits + sum(replica.misses.values())
    return [
        f"{replica.stats.semantic_entry_count:,}",
        f"{lookups:,}",
        *(f"{count:,}" for count in replica.hits.values()),
        f"{hits / lookups:.1%}" if lookups else "-",
        f"{replica.stats.index_version:,}",
    ]
