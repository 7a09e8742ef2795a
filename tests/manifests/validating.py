"""Manifests against the published schemas, strictly, and against those of custom kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
from jsonschema import Draft202012Validator

from tests.manifests.rendering import Rendered

# The oldest and the newest minor version that receive fixes.
VERSIONS = ("1.35", "1.37")
_SCHEMAS = Path(__file__).parent / "schemas"


def problems_of(rendered: Rendered, version: str) -> Iterator[str]:
    """Yield what a cluster of this version would refuse, field by field."""
    for each in rendered.objects:
        where = f"{each['kind']} {each['metadata']['name']}"
        own = _SCHEMAS / f"{each['kind'].lower()}.json"
        if own.exists():
            validator = Draft202012Validator(json.loads(own.read_text("utf-8")))
            for error in validator.iter_errors(each):
                yield f"{where}: {error.json_path}: {error.message}"
            continue
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{where}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{where}: no schema of {each['apiVersion']} is known"
