"""What an operator may set for the cache, and nothing else."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from libs.config import ServiceConfig
from libs.redislink import RedisUrl
from services.cache.index import MOST_COUNT
from services.cache.store import Bounds


class CacheConfig(ServiceConfig, env_prefix="CACHE_"):
    """Settings of the cache, each read from `CACHE_<FIELD>`."""

    address: str = Field("127.0.0.1:50052", description="where to listen: host:port or unix:path")
    redis_url: RedisUrl = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey that keeps the answers: also "
        "redis+sentinel://host:port,host:port/service/0 or redis+cluster://host:port,host:port",
    )
    redis_timeout_s: float = Field(
        0.05, gt=0, le=2, description="seconds a lookup waits for Redis before it is a miss"
    )
    redis_pause_s: float = Field(
        0.25, ge=0, le=60, description="seconds in which Redis is not asked after it failed"
    )
    retrieval_target: str = Field(
        "127.0.0.1:50054", description="the retrieval service, whose changes of documents count"
    )
    embedding_target: str = Field(
        "127.0.0.1:50053", description="the embedding service, which renews stored vectors"
    )
    watch_silence_s: float = Field(
        0.5,
        gt=0,
        description="seconds without a word from retrieval before answers from "
        "documents are misses; it says one every 0.2 s",
    )
    min_similarity: float = Field(
        0.92,
        ge=0,
        le=1,
        description="least cosine of a semantic hit by an embedding model that "
        "the decision on reuse was not fitted for; a request may only raise it",
    )
    target: float | None = Field(
        None,
        ge=0,
        le=1,
        description="least probability that one answer serves both questions, for a hit by "
        "meaning; the fitted one if not set",
    )
    calibrated: bool = Field(
        default=True, description="whether what was fitted decides on reuse; else the cosine does"
    )
    verifies: bool = Field(
        default=True,
        description="whether the embedding service is asked about pairs that the cheap stages "
        "leave open; without it those are misses",
    )
    ttl_s: float = Field(86_400.0, gt=0, description="seconds an answer lives, used or not")
    degraded_ttl_s: float = Field(
        60.0, gt=0, description="seconds an answer lives that fell short of what was aimed for"
    )
    refusal_ttl_s: float = Field(
        30.0,
        gt=0,
        description="seconds for which it is remembered that a collection holds no answer, if "
        "nothing changes in it before",
    )
    fresh_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="part of its life after which an answer is stale: it still serves, and is "
        "made anew in the background. 1 has none ever be stale",
    )
    ttl_jitter: float = Field(
        0.1, ge=0, lt=1, description="part of its life by which an answer lives longer or shorter"
    )
    refresh_lease_s: float = Field(
        30.0, gt=0, description="seconds in which a stale answer is made anew once at most"
    )
    quarantine_s: float = Field(
        0.0,
        ge=0,
        description="seconds for which a new answer is found by the same question alone",
    )
    quarantine_looks: int = Field(
        3,
        ge=0,
        description="hits by the same question that end its quarantine before; 0 for none",
    )
    wrong_hit_allowance: float = Field(
        0.01,
        gt=0,
        le=1,
        description="share of wrong ones among hits by meaning that is tolerated, where the "
        "policy says none",
    )
    look_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of hits by meaning that are looked at while nothing is wrong; more "
        "where something was; 0 looks at none, and targets stand still",
    )
    judge: Literal["off", "fast", "best"] = Field(
        "off", description="model that looks at hits by meaning, in the background"
    )
    generation_target: str = Field(
        "127.0.0.1:50055", description="the generation service, whose model judges"
    )
    max_answer_bytes: int = Field(
        1_048_576, ge=1, description="size of the largest answer that is kept, events as sent"
    )
    tenant_count: int = Field(
        100_000, ge=1, description="answers of one tenant that are kept; of more, the worthiest"
    )
    tenant_bytes: int = Field(
        1 << 30, ge=1, description="bytes in Redis that the answers of one tenant may take, about"
    )
    total_count: int = Field(250_000, ge=1, description="answers of all tenants that are kept")
    total_bytes: int = Field(
        2 << 30, ge=1, description="bytes in Redis that all answers may take, about"
    )
    index_count: int = Field(
        MOST_COUNT,
        ge=1,
        description="answers that this replica can find by meaning; at 384 dimensions each "
        "takes about 3 KB of its memory, and 6 while its graph is built",
    )
    renew_every_s: float = Field(
        10.0,
        gt=0,
        description="seconds between two looks at the embedding model; once it is another, "
        "stored questions get vectors of it",
    )
    scrub_every_s: float = Field(
        60.0, gt=0, description="seconds between two comparisons of the index with Redis"
    )

    @property
    def bounds(self) -> Bounds:
        """How much Redis is to keep."""
        return Bounds(self.tenant_count, self.tenant_bytes, self.total_count, self.total_bytes)
