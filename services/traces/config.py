"""What an operator may set for the trace store."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from libs.config import ServiceConfig


class TracesConfig(ServiceConfig, env_prefix="TRACES_"):
    """Settings of the trace store, each read from `TRACES_<FIELD>`."""

    address: str = Field("127.0.0.1:4317", description="where to listen: host:port or unix:path")
    data_dir: Path = Field(Path(".hasten/traces"), description="directory of the span store")
    queue_spans: int = Field(
        50_000, ge=1, description="spans that may wait to be written; more are refused"
    )
    max_spans: int = Field(
        500_000, ge=1, description="spans kept; beyond them whole traces go, the oldest first"
    )
    max_age_s: float = Field(
        7 * 86_400.0, gt=0, description="seconds a trace is kept after its last span came"
    )
    sweep_every_s: float = Field(
        10.0, gt=0, description="seconds between two looks for traces to delete"
    )
    settle_s: float = Field(
        2.0,
        ge=0,
        description="seconds without a new span after which a trace whose root was made "
        "elsewhere is listed by its earliest span",
    )
