"""The kinds of jobs: what each one does, over the mesh's clients and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from services.jobs.kinds.analyze import ANALYZE
from services.jobs.kinds.answer import ANSWER
from services.jobs.kinds.classify import CLASSIFY
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.extract import EXTRACT
from services.jobs.kinds.ingest import INGEST
from services.jobs.kinds.kind import JobInput, Kind, Meter, Task, Teller
from services.jobs.kinds.report import REPORT
from services.jobs.kinds.summarize import SUMMARIZE

KINDS: Mapping[str, Kind[Any]] = MappingProxyType(
    {kind.name: kind for kind in (INGEST, ANALYZE, CLASSIFY, EXTRACT, SUMMARIZE, REPORT, ANSWER)}
)
"""Every kind by its name."""

__all__ = ["KINDS", "Clients", "JobInput", "Kind", "Meter", "Task", "Teller"]
