"""What a job owes: it is noted when the job is taken on, and paid for when it has ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Tab:
    """A job whose tokens are not counted yet.

    Attributes:
        tenant_id: whose job it is.
        job_id: the job.
        owners: who pays for it, as quotas name them.
    """

    tenant_id: str
    job_id: str
    owners: tuple[str, ...]

    def to_json(self) -> str:
        """Return the tab as it is kept; the same one is always the same text."""
        return json.dumps([self.tenant_id, self.job_id, self.owners])

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Return the tab that `to_json` wrote."""
        tenant_id, job_id, owners = json.loads(data)
        return cls(tenant_id, job_id, tuple(owners))
