"""`hasten config check`: reads every setting as the services would, without starting them."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from libs.config import ConfigError, ServiceConfig, load, unknown_variables

_SERVICES = (
    "cache",
    "edge",
    "embedding",
    "generation",
    "jobs",
    "jobs.worker",
    "orchestrator",
    "retrieval",
    "traces",
)


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
    """Return the settings of a service, or of a part of it that is a process of its own."""
    module = importlib.import_module(f"services.{service}.config")
    name = service.rpartition(".")[2]
    found: type[ServiceConfig] = getattr(module, f"{name.title()}Config")
    return found


def check_settings() -> Iterator[Finding]:
    """Yield what is wrong with the environment, service by service."""
    kinds = {service: config_of(service) for service in _SERVICES}
    unknown = _unknown(kinds)
    for service, kind in kinds.items():
        try:
            load(kind)
        except ConfigError as error:
            yield Finding(service, fatal=True, text=str(error))
        for variable in unknown[service]:
            yield Finding(service, fatal=False, text=f"{variable} is no setting")
    yield from _policies()


def _unknown(kinds: Mapping[str, type[ServiceConfig]]) -> dict[str, list[str]]:
    """Return the variables that set nothing, each with the service whose prefix is the longest."""
    found = {service: unknown_variables(kind, os.environ) for service, kind in kinds.items()}
    for service, variables in found.items():
        parts = [part for part in kinds if part.startswith(f"{service}.")]
        prefixes = tuple(f"{part.replace('.', '_').upper()}_" for part in parts)
        found[service] = [each for each in variables if not each.startswith(prefixes)]
    return found


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
