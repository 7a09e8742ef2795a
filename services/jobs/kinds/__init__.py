"""The kinds of jobs: what each one does, over the mesh's clients and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from services.jobs.kinds.clients import Clients
from services.jobs.kinds.kind import JobInput, Kind, Task, Teller

KINDS: Mapping[str, Kind[Any]] = MappingProxyType({})
"""Every kind by its name."""

__all__ = ["KINDS", "Clients", "JobInput", "Kind", "Task", "Teller"]
