"""Requests made from an OpenAPI document, and whether the answers keep to it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
# A deadline may be so short that nothing can be had in it.
_OUT_OF_TIME = 504
# Of an edge without jobs or documents their paths say so.
_NOT_THERE = "_NOT_CONFIGURED"


@dataclass
class Attack:
    """Sends each operation requests that are made from its schema, and checks what comes.

    Attributes:
        document: the OpenAPI document.
        url: where the edge is.
        mode: requests as they should be, or as they should not.
        count: requests of each operation.
        known: values for parameters of paths, by name: of what is there. Of two requests one
            has them; a made-up name finds nothing.
        seen: the statuses of each operation's answers, by its name.
    """

    document: dict[str, Any]
    url: str
    mode: GenerationMode
    count: int
    known: Mapping[str, str] = field(default_factory=dict)
    seen: dict[str, set[int]] = field(default_factory=dict)
    sent: int = 0

    def run(self) -> None:
        """Send everything; the first answer that is not foreseen is raised."""
        schema = schemathesis.openapi.from_dict(self.document)
        for found in schema.get_all_operations():
            # Of some operations no request can be wrong: they take nothing, or any text.
            with suppress(Unsatisfiable):
                self._run(found.ok())

    def _run(self, operation: Any) -> None:
        @given(case=operation.as_strategy(generation_mode=self.mode))
        @settings(
            max_examples=self.count,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        def send(case: schemathesis.Case) -> None:
            self._send(case)

        send()

    def _send(self, case: schemathesis.Case) -> None:
        self.sent += 1
        if self.sent % 2:
            mine = {name: self.known[name] for name in case.path_parameters if name in self.known}
            case.path_parameters.update(mine)
        response = case.call(base_url=self.url)
        name = case.operation.definition.raw["operationId"]
        self.seen.setdefault(name, set()).add(response.status_code)
        is_meant = response.status_code == _OUT_OF_TIME or _NOT_THERE in response.text
        checks = CHECKS if is_meant else [*CHECKS, not_a_server_error]
        case.validate_response(response, checks=checks)
