"""The page that lists every setting, written from the services' own settings.

`python -m tests.support.settings_page > docs/reference/settings.md`
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from cli.checking import config_of
from libs.config import ServiceConfig, describe

SERVICES = (
    "orchestrator",
    "cache",
    "embedding",
    "retrieval",
    "generation",
    "jobs",
    "jobs.worker",
    "edge",
    "traces",
)

_HEAD = """\
# Settings

Written by `python -m tests.support.settings_page`; do not edit.

Every setting is an environment variable, read once at the start of a process. `<VARIABLE>_FILE`
names a file that holds the value, as secrets are mounted. A value that does not fit ends the
process with a line that names the variable. `hasten config check` reads all of them without
starting anything, and names variables that set nothing.

`hasten up` sets the addresses, targets, data folders and the token of the processes that it
starts.

## The command line

| variable | default | meaning |
|---|---|---|
| `HASTEN_HOME` | `.hasten` | folder that holds the state of the mesh on this machine |
| `HASTEN_MODEL_DIR` | `.hasten/model` | folder that `make model` has filled |
| `HASTEN_REDIS_URL` | | Redis or Valkey to use; without it `hasten up` starts its own |

## Telemetry

| variable | default | meaning |
|---|---|---|
| `OTEL_EXPORTER_OTLP_ENDPOINT` | | where spans go (OTLP over gRPC); without it none are made |
| `OTEL_SDK_DISABLED` | | `true` turns spans and metrics off |
| `OTEL_TRACES_SAMPLER` | | how traces are sampled, as OpenTelemetry defines it |
"""


def settings_page() -> str:
    """Return the page."""
    shared = [
        (variable.removeprefix("CACHE_"), default, meaning)
        for variable, default, meaning in describe(config_of("cache"))
        if _field(variable, "CACHE_") in ServiceConfig.model_fields or variable.startswith("HASTEN")
    ]
    own_name = [
        (v if v.startswith("HASTEN") else f"<SERVICE>_{v}", default, meaning)
        for v, default, meaning in shared
    ]
    parts = [_HEAD, _section("every service", own_name)]
    parts += [_section(service, _own(service)) for service in SERVICES]
    return "\n".join(parts)


def _own(service: str) -> Iterator[tuple[str, str, str]]:
    """Yield the settings of a service that are not every service's, or differ from theirs."""
    shared = {
        name: (str(field.default), field.description)
        for name, field in ServiceConfig.model_fields.items()
    }
    prefix = f"{service.replace('.', '_').upper()}_"
    for variable, default, meaning in describe(config_of(service)):
        if variable.startswith("HASTEN"):
            continue
        if shared.get(_field(variable, prefix)) != (default, meaning):
            yield variable, default, meaning


def _field(variable: str, prefix: str) -> str:
    return variable.removeprefix(prefix).lower()


def _section(title: str, rows: Iterable[tuple[str, str, str]]) -> str:
    title = title.replace(".", " ")
    lines = [f"## {title[0].upper()}{title[1:]}", "", "| variable | default | meaning |"]
    lines.append("|---|---|---|")
    for variable, default, meaning in rows:
        shown = "" if default in ("", "None") else f" `{default}`"
        lines.append(f"| `{variable}` |{shown} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
