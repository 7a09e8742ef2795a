"""What an operator may set for the jobs service, and nothing else."""

from __future__ import annotations

from pydantic import Field

from libs.config import ServiceConfig
from libs.redislink import OneRedisUrl

TENANT_BYTES = 1024 * 1024 * 1024
"""What all jobs of a tenant may hold, unless it is said: at least ten of the largest there are."""


class JobsConfig(ServiceConfig, env_prefix="JOBS_"):
    """Settings of the jobs service, each read from `JOBS_<FIELD>`."""

    address: str = Field("127.0.0.1:50057", description="where to listen: host:port or unix:path")
    redis_url: OneRedisUrl = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey that holds the jobs: also "
        "redis+sentinel://host:port,host:port/service/0",
    )
    result_ttl_s: float = Field(
        86_400.0,
        ge=1,
        le=30 * 86_400,
        description="seconds that a job is kept once it has ended, unless its submitter says so",
    )
    unfinished_ttl_s: float = Field(
        7 * 86_400.0,
        ge=60,
        le=30 * 86_400,
        description="seconds after which a job that has not ended is given up",
    )
    unfinished_count: int = Field(
        1000,
        ge=1,
        description="jobs of a tenant that may be unfinished; more are refused with OVERLOADED",
    )
    tenant_bytes: int = Field(
        TENANT_BYTES,
        ge=1,
        description="bytes that inputs, items and results of a tenant's jobs may take in Redis; "
        "more are refused with JOBS_FULL. The same for the workers",
    )
