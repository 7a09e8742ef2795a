"""What an operator may set for the orchestrator, and nothing else."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from libs.config import ConfigError, ServiceConfig
from libs.redislink import RedisUrl


class OrchestratorConfig(ServiceConfig, env_prefix="ORCHESTRATOR_"):
    """Settings of the orchestrator, each read from `ORCHESTRATOR_<FIELD>`."""

    address: str = Field("127.0.0.1:50051", description="where to listen: host:port or unix:path")
    # Its first message is a plan, which says nothing of what answers take.
    adaptive_limit: bool = Field(
        False, description="let the limit on calls in flight follow how fast they are answered"
    )
    redis_url: RedisUrl = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey that holds the event log: also "
        "redis+sentinel://host:port,host:port/service/0 or redis+cluster://host:port,host:port",
    )
    cache_target: str = Field("127.0.0.1:50052", description="where the cache service is")
    embedding_target: str = Field("127.0.0.1:50053", description="where the embedding service is")
    retrieval_target: str = Field("127.0.0.1:50054", description="where the retrieval service is")
    generation_target: str = Field("127.0.0.1:50055", description="where the generation service is")
    jobs_target: str = Field(
        "",
        description="where the jobs service is, for policies that fall back to it; empty: none",
    )
    policies_file: Path | None = Field(
        None, description="TOML file with a table per policy, over the built-in ones"
    )
    sketches_file: Path | None = Field(
        None, description="where learned latencies outlive a restart; empty keeps them in memory"
    )
    run_ttl_s: float = Field(
        3600.0, gt=0, description="seconds that a run can be followed after its last event"
    )
    flights: bool = Field(
        True, description="whether identical questions in flight share one answer"
    )
    flight_lease_s: float = Field(
        0.3, ge=0.1, description="seconds after which a dead leader of a shared answer is replaced"
    )
    flight_wait_s: float = Field(
        0.05, gt=0, description="seconds that Redis is waited for to find a shared answer"
    )
    prompt_warm: str = Field(
        "",
        description="collections that providers read at start, for policies that have them in the"
        " prompt: TENANT/COLLECTION, with commas between",
    )
    prompt_warm_after_s: float = Field(
        240.0,
        ge=0,
        description="seconds without a question after which a provider reads a collection again,"
        " before it forgets; 0 never has one read but by questions",
    )
    prompt_warm_for_s: float = Field(
        900.0, ge=0, description="seconds after the last question that more are expected"
    )

    def collections_to_warm(self) -> list[tuple[str, str]]:
        """Return tenants and collections.

        Raises:
            ConfigError: one is not of that form.
        """
        return [_named(each.strip()) for each in self.prompt_warm.split(",") if each.strip()]


def _named(text: str) -> tuple[str, str]:
    tenant_id, found, collection = text.partition("/")
    if not (tenant_id and found and collection):
        raise ConfigError(f"ORCHESTRATOR_PROMPT_WARM: {text!r} is not TENANT/COLLECTION")
    return tenant_id, collection
