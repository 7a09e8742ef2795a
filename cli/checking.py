"""`hasten config check`: reads every setting as the services would, without starting them."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from libs.config import ConfigError, ServiceConfig, load, unknown_variables

_SERVICES = ("cache", "edge", "embedding", "generation", "orchestrator", "retrieval", "traces")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a service's settings.

    Attributes:
        service: whose settings.
        fatal: True if the service would not start.
        text: names the variable and says what would fit.
    """

    service: str
    fatal: bool
    text: str


def config_of(service: str) -> type[ServiceConfig]:
    """Return a service's settings."""
    module = importlib.import_module(f"services.{service}.config")
    found: type[ServiceConfig] = getattr(module, f"{service.title()}Config")
    return found


def check_settings() -> Iterator[Finding]:
    """Yield what is wrong with the environment, service by service."""
    for service in _SERVICES:
        kind = config_of(service)
        try:
            load(kind)
        except ConfigError as error:
            yield Finding(service, fatal=True, text=str(error))
        for variable in unknown_variables(kind, os.environ):
            yield Finding(service, fatal=False, text=f"{variable} is no setting")
    yield from _policies()


def _policies() -> Iterator[Finding]:
    from services.orchestrator.config import OrchestratorConfig  # noqa: PLC0415 - optional part
    from services.orchestrator.policy import load_policies  # noqa: PLC0415

    try:
        load_policies(load(OrchestratorConfig).policies_file)
    except ConfigError as error:
        yield Finding("orchestrator", fatal=True, text=str(error))


def findings_json(findings: list[Finding]) -> str:
    """Return what was found as one JSON object."""
    return json.dumps({"findings": [asdict(finding) for finding in findings]})
