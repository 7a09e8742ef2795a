"""What an operator may set for a worker of the jobs service, and nothing else."""

from __future__ import annotations

from pydantic import Field

from libs.config import ServiceConfig
from libs.redislink import OneRedisUrl
from services.jobs.config import TENANT_BYTES


class WorkerConfig(ServiceConfig, env_prefix="JOBS_WORKER_"):
    """Settings of a worker, each read from `JOBS_WORKER_<FIELD>`."""

    address: str = Field("127.0.0.1:50058", description="where to listen: host:port or unix:path")
    redis_url: OneRedisUrl = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey that holds the jobs: also "
        "redis+sentinel://host:port,host:port/service/0",
    )
    orchestrator_target: str = Field("127.0.0.1:50051", description="where the orchestrator is")
    embedding_target: str = Field("127.0.0.1:50053", description="where the embedding service is")
    retrieval_target: str = Field("127.0.0.1:50054", description="where the retrieval service is")
    generation_target: str = Field("127.0.0.1:50055", description="where the generation service is")
    concurrency: int = Field(8, ge=1, le=1000, description="jobs that are done at once")
    tenant_concurrency: int = Field(
        6, ge=1, le=1000, description="of these, how many may be one tenant's"
    )
    tenant_bytes: int = Field(
        TENANT_BYTES,
        ge=1,
        description="as JOBS_TENANT_BYTES: what does not fit is tried again, and fails at last",
    )
    lease_s: float = Field(
        5.0,
        ge=0.5,
        le=600,
        description="seconds, about, after which the jobs of a worker that died are another's",
    )
    attempt_count: int = Field(
        5, ge=1, le=100, description="failures after which a job is a dead letter"
    )
    retry_first_s: float = Field(
        1.0, gt=0, description="most seconds before a second attempt; each further one waits twice"
    )
    retry_most_s: float = Field(60.0, gt=0, description="most seconds before any attempt")
    limit_s: float = Field(1800.0, gt=0, description="seconds that an attempt may take")
    limits_s: dict[str, float] = Field(
        {}, description='the same for some kinds, as JSON: {"answer": 120}'
    )
