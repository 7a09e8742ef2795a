"""What an operator may set for the edge."""

from __future__ import annotations

from pydantic import Field

from libs.config import ServiceConfig


class EdgeConfig(ServiceConfig, env_prefix="EDGE_"):
    """Settings of the edge, each read from `EDGE_<FIELD>`."""

    address: str = Field("127.0.0.1:8080", description="where to listen: host:port")
    hosts: str = Field(
        "",
        description="names, with commas between, that the Host header may have; empty allows "
        "those of this machine when only it is listened to, else any",
    )
    orchestrator_target: str = Field(
        "127.0.0.1:50051", description="where the orchestrator listens: host:port"
    )
    tenant: str = Field(
        "default",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="the tenant that every caller speaks for",
    )
    max_body_bytes: int = Field(
        256 * 1024, ge=1, description="longest body of a request; a longer one is refused"
    )
    body_timeout_s: float = Field(
        10.0, gt=0, description="seconds in which a request's body must have come"
    )
    max_deadline_s: float = Field(
        300.0, gt=0, description="longest deadline a caller may ask for; no answer takes longer"
    )
    ping_every_s: float = Field(
        15.0, gt=0, description="seconds of silence after which an event stream shows life"
    )
    stream_buffer_bytes: int = Field(
        256 * 1024,
        ge=1024,
        description="bytes of an event stream that wait for a reader who is behind; then the "
        "answer is waited with",
    )
    slow_reader_s: float = Field(
        30.0,
        gt=0,
        description="seconds in which a reader who is behind must take something, or is cut off",
    )
    ready_timeout_s: float = Field(
        0.5, gt=0, description="seconds in which the orchestrator must say that it is ready"
    )
