"""How much a tenant or a key may have, as an operator says it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from libs.config import ConfigError


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits; 0 sets none.

    Attributes:
        requests_per_minute: requests; as many may come at once after a minute without any.
        streams: answers, events and sockets that are open at once.
        tokens_per_minute: tokens that models read and write in answers, in a minute of the clock.
        tokens_per_day: the same in a day of the clock (UTC).
    """

    requests_per_minute: int = 0
    streams: int = 0
    tokens_per_minute: int = 0
    tokens_per_day: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read limits by their names.

        Raises:
            ValueError: a name is not known, or a limit no whole number from 0 on.
        """
        known = {each.name for each in fields(cls)}
        for name, limit in row.items():
            if name not in known:
                raise ValueError(f"{name}: is no limit; there are {', '.join(sorted(known))}")
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
                raise ValueError(f"{name}: must be a whole number from 0 on")
        return cls(**row)

    def share(self, parts: int) -> Self:
        """Return what one of `parts` may have alone: at least 1 of whatever is limited."""
        limits = (getattr(self, each.name) for each in fields(self))
        return type(self)(*(max(1, limit // parts) if limit else 0 for limit in limits))


UNLIMITED = Quota()


@dataclass(frozen=True, slots=True)
class Plans:
    """The quota of every tenant.

    Attributes:
        default: of those that are not named.
        tenants: of those that are.
    """

    default: Quota = UNLIMITED
    tenants: Mapping[str, Quota] = field(default_factory=dict)

    def of(self, tenant_id: str) -> Quota:
        """Return a tenant's quota."""
        return self.tenants.get(tenant_id, self.default)


def load_plans(path: Path | None) -> Plans:
    """Read a TOML file: a table `default`, and a table `tenants.<tenant>` for each other.

    Raises:
        ConfigError: it cannot be read, or says what is no limit.
    """
    if path is None:
        return Plans()
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
        tenants = {name: Quota.of(row) for name, row in tables.pop("tenants", {}).items()}
        default = Quota.of(tables.pop("default", {}))
        _require_none(tables)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"EDGE_QUOTAS_FILE={str(path)!r}: {error}") from error
    return Plans(default, tenants)


def _require_none(tables: Mapping[str, Any]) -> None:
    if tables:
        raise ValueError(f"{min(tables)}: only default and tenants.<tenant> are known")
