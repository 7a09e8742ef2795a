"""The figures by name: what each is, in which unit, and what the project promises of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.first_text import HOPS
from tests.bench.throughput import CALLERS

RATIO = "times"
_PROCESSES = {
    "redis": "Valkey",
    "traces": "traces",
    "embedding": "embedding",
    "retrieval": "retrieval",
    "cache": "cache",
    "generation": "generation",
    "orchestrator": "orchestrator",
    "jobs": "jobs",
    "worker": "jobs worker",
    "edge": "edge",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure.

    Attributes:
        name: in the JSON.
        title: what it is.
        unit: `times` for a ratio, else ms, s, MiB, a second, cores.
        limit: what it is at most to be, if something is promised.
    """

    name: str
    title: str
    unit: str
    limit: float | None = None


def _entries(count: int) -> Iterator[Figure]:
    among = f"semantic hit among {count:,} stored answers"
    yield Figure(f"semantic_{count}_over_exact", f"{among}, over the exact hit", RATIO)
    yield Figure(f"semantic_{count}_ms", among, "ms", 15.0)
    yield Figure(f"semantic_{count}_p95_ms", f"{among}, 95th percentile", "ms")
    yield Figure(f"peak_mib_cache_{count}", f"cache with {count:,} stored answers", "MiB")
    yield Figure(f"peak_mib_redis_{count}", f"Valkey with {count:,} stored answers", "MiB")


def _throughput(callers: int) -> Iterator[Figure]:
    by = "1 caller" if callers == 1 else f"{callers} callers"
    yield Figure(f"exact_per_s_{callers}_over_echo", f"exact hits by {by}, over echoes", RATIO)
    yield Figure(f"echo_per_s_{callers}", f"bare echoes, {by}", "a second")
    yield Figure(f"exact_per_s_{callers}", f"exact hits, {by}", "a second")
    yield Figure(f"exact_p50_ms_{callers}", f"exact hit, {by}", "ms")
    yield Figure(f"exact_p99_ms_{callers}", f"exact hit, {by}, 99th percentile", "ms")
    yield Figure(f"exact_other_share_{callers}", f"{by}: found by meaning, or refused", "of calls")
    yield Figure(f"cores_busy_{callers}", f"the whole machine, {by}", "cores")


def _all() -> Iterator[Figure]:
    yield Figure("bare_two_hops_over_echo", "two bare hops with a Redis GET, over the echo", RATIO)
    yield Figure("exact_over_echo", "exact hit, over the echo", RATIO, 5.0)
    yield Figure("http_over_exact", "the same hit as JSON over HTTP, over gRPC", RATIO)
    yield Figure("semantic_over_exact", "semantic hit, over the exact hit", RATIO)
    yield Figure("miss_over_exact", "miss, over the exact hit", RATIO)
    yield Figure("echo_ms", "bare grpc.aio echo", "ms")
    yield Figure("bare_two_hops_ms", "two bare hops with a Redis GET", "ms")
    yield Figure("exact_ms", "exact hit", "ms")
    yield Figure("http_exact_ms", "exact hit over HTTP, JSON", "ms")
    yield Figure("http_exact_first_text_ms", "exact hit over HTTP, first text event", "ms")
    yield Figure("semantic_ms", "semantic hit, one stored answer", "ms", 15.0)
    yield Figure("miss_ms", "miss with an extractive answer, 5,000 passages", "ms", 60.0)
    for count in (1_000, 100_000):
        yield from _entries(count)
    yield Figure("first_text_over_direct", "first text, over the model called directly", RATIO)
    yield Figure("first_text_added_ms", "first text, added by the mesh", "ms")
    yield Figure("first_text_added_p95_ms", "first text, added at the 95th percentile", "ms")
    for hop in HOPS:
        yield Figure(f"first_text_{hop}_ms", f"first text through the mesh: the hop {hop}", "ms")
    yield Figure("direct_first_text_ms", "first text of the model called directly", "ms")
    yield Figure("direct_first_text_p95_ms", "the same, 95th percentile", "ms")
    yield Figure("mesh_first_text_ms", "first text through the mesh", "ms")
    yield Figure("mesh_first_text_p95_ms", "the same, 95th percentile", "ms")
    for callers in CALLERS:
        yield from _throughput(callers)
    most = max(CALLERS)
    for name in ("orchestrator", "cache", "redis"):
        yield Figure(f"cores_of_{name}", f"{_PROCESSES[name]}, {most} callers", "cores")
    yield Figure("cores_of_callers", f"the callers, {most} of them", "cores")
    yield Figure("litellm_hit_over_hasten", "LiteLLM's cached answer, over hasten's", RATIO)
    yield Figure("chat_direct_ms", "chat completion, the model directly", "ms")
    yield Figure("litellm_pass_ms", "chat completion through LiteLLM's proxy", "ms")
    yield Figure("litellm_added_ms", "added by LiteLLM's proxy", "ms")
    yield Figure("litellm_hit_ms", "LiteLLM's cached answer (Redis)", "ms")
    yield Figure("chat_hit_ms", "hasten's exact hit as a chat completion", "ms")
    yield Figure("answer_hit_ms", "hasten's exact hit at /v1/answers", "ms")
    yield Figure("engine_over_library", "one question embedded, over the library", RATIO, 0.25)
    yield Figure("service_over_library", "the same through the service", RATIO, 0.25)
    yield Figure("service_fp32_over_library", "the same in fp32", RATIO)
    yield Figure("engine_ms", "one question embedded, in process", "ms")
    yield Figure("service_ms", "one question embedded, by the service", "ms")
    yield Figure("service_fp32_ms", "the same in fp32", "ms")
    yield Figure("sentence_transformers_ms", "one question embedded, sentence-transformers", "ms")
    yield Figure("ready_s", "embedding service, from start to ready", "s", 2.0)
    for name, title in _PROCESSES.items():
        yield Figure(f"ready_s_{name}", f"{title}, from start to ready", "s")
    yield Figure("ready_s_litellm", "LiteLLM's proxy, from start to ready", "s")
    for name, title in _PROCESSES.items():
        yield Figure(f"peak_mib_{name}", f"{title}, most memory", "MiB")
    yield Figure("peak_mib_all", "all of these, most memory", "MiB")
    yield Figure("peak_mib_litellm", "LiteLLM's proxy, most memory", "MiB")


FIGURES = tuple(_all())
