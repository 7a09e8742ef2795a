"""What an operator may set for the edge."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from libs.config import ServiceConfig
from libs.redislink import OneRedisUrl
from services.edge.documents.limits import MAX_UPLOAD_BYTES


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
        description="the tenant that every caller speaks for, where nobody is asked who they are",
    )
    keys_file: Path | None = Field(
        None, description="JSON file of API keys; read again when it changes"
    )
    keys_in_redis: bool = Field(
        default=False, description="whether API keys are in Redis, as `hasten keys` puts them"
    )
    jwks: str = Field(
        "", description="URL or file of the keys (JWKS) by which JSON Web Tokens are checked"
    )
    jwt_issuer: str = Field("", description="who must have made a token")
    jwt_audience: str = Field("", description="whom a token must be for")
    jwt_tenant_claim: str = Field("tenant", description="the claim with the tenant")
    jwt_rights_claim: str = Field("scope", description="the claim with the rights")
    jwt_scopes_claim: str = Field(
        "document_scopes", description="the claim with the document scopes that may be named"
    )
    allow_open: bool = Field(
        default=False,
        description="whether other machines may come in although nobody is asked who they are",
    )
    ticket_secret: SecretStr = Field(
        SecretStr(""),
        description="signs tickets; the same for all replicas. Without it each has its own",
    )
    redis_url: OneRedisUrl | None = Field(
        None,
        description="Redis or Valkey that counts what callers have used, for all replicas, and has"
        " API keys; without it each replica counts for itself",
    )
    quotas_file: Path | None = Field(
        None,
        description="TOML file with a table of limits per tenant; without it nobody is limited",
    )
    replicas: int = Field(
        1,
        ge=1,
        description="edges that share the quotas: while Redis is gone, each allows its part",
    )
    cors_origins: str = Field(
        "", description="origins, with commas between, whose pages may call; * is every one"
    )
    models: str = Field(
        "interactive,patient,background",
        description="policies, with commas between, that GET /v1/models shows",
    )
    max_streams: int = Field(
        1000,
        ge=1,
        description="event streams and long polls that are open at once; they do not count for "
        "EDGE_MAX_CONCURRENCY",
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
    jobs_target: str = Field(
        "", description="where the jobs service listens: host:port; empty has no jobs here"
    )
    retrieval_target: str = Field(
        "", description="where retrieval listens: host:port; empty has no documents here"
    )
    max_job_bytes: int = Field(
        4 * 1024 * 1024, ge=1, le=16 * 1024 * 1024, description="longest body of a job's submission"
    )
    max_file_bytes: int = Field(
        8 * 1024 * 1024, ge=1, le=MAX_UPLOAD_BYTES, description="largest file that is uploaded"
    )
    max_upload_bytes: int = Field(
        MAX_UPLOAD_BYTES,
        ge=1,
        le=MAX_UPLOAD_BYTES,
        description="bytes of all files of one request",
    )
    max_files: int = Field(64, ge=1, le=1000, description="files of one request")
    max_uploads: int = Field(
        4, ge=1, description="requests with files that are read at once, each in memory"
    )
    max_tenant_uploads: int = Field(
        3, ge=1, description="of the requests with files that are read at once, one tenant's"
    )
    upload_timeout_s: float = Field(
        60.0, gt=0, description="seconds in which a request's files must have come"
    )
    min_upload_bytes_per_s: int = Field(
        32 * 1024,
        ge=0,
        description="how fast files must come on average, after five seconds of grace; 0 lets "
        "them take their time",
    )
    max_sockets: int = Field(4000, ge=1, description="WebSockets that are open at once")
    socket_subscriptions: int = Field(
        100, ge=1, description="jobs and runs that one WebSocket follows at a time"
    )
    socket_message_bytes: int = Field(
        4096, ge=256, description="longest message that a WebSocket may send"
    )
    socket_lag_s: float = Field(
        10.0, gt=0, description="seconds in which a WebSocket must take what it is sent"
    )
    socket_idle_s: float = Field(
        600.0, gt=0, description="seconds that a WebSocket may follow nothing and say nothing"
    )
    socket_age_s: float = Field(
        3600.0, gt=0, description="seconds after which a WebSocket is to be opened anew"
    )
    ready_timeout_s: float = Field(
        0.5, gt=0, description="seconds in which the orchestrator must say that it is ready"
    )
