"""How bodies are read: nothing is converted, and what is not known is refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A body, or a part of one."""

    # What is not known is a slip that would silently change what is done.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
