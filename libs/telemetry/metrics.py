"""Metrics that every server and client of the mesh has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from libs.telemetry import names
from libs.telemetry.setup import telemetry_disabled

_SERVER = Histogram(
    names.METRIC_RPC_SERVER,
    "Duration of served calls.",
    ["rpc_method", "rpc_status_code"],
    buckets=names.LATENCY_BUCKETS_S,
)
_CLIENT = Histogram(
    names.METRIC_RPC_CLIENT,
    "Duration of calls made.",
    ["rpc_method", "rpc_status_code"],
    buckets=names.LATENCY_BUCKETS_S,
)
_QUEUE = Histogram(
    names.METRIC_RPC_SERVER_QUEUE,
    "Time between a caller's send and the start of its handler.",
    ["rpc_method"],
    buckets=names.LATENCY_BUCKETS_S,
)
_RETRIES = Counter(
    names.METRIC_RPC_CLIENT_RETRIES, "Second attempts of calls made.", ["rpc_method"]
)
_REFUSED = Counter(
    names.METRIC_RPC_CLIENT_REFUSED,
    "Calls that were not made because their backend had failed.",
    ["rpc_method"],
)
_FLIGHTS = Counter(
    names.METRIC_FLIGHTS,
    "Runs by what became of their flight: led, followed, taken_over, or alone and why.",
    ["outcome", "reason"],
)
_PLANS = Counter(
    names.METRIC_PLANS,
    "Plans by the lower end of the tenth that held their promise of text in time, and outcome.",
    ["promised", "kept"],
)
_PLAN_ERROR = Counter(
    names.METRIC_PLAN_ERROR, "Squared errors of promises; over the plans it is the Brier score."
)
_PROMPT_TOKENS = Counter(
    names.METRIC_PROMPT_TOKENS,
    "Tokens of prompts: uncached, read from the provider's cache, or written to it.",
    ["model", "kind"],
)
_PROMPT_MISSES = Counter(
    names.METRIC_PROMPT_MISSES,
    "Prompts of whose start nothing was read from the provider's cache, by reason.",
    ["model", "reason"],
)
_PROMPT_COST = Counter(
    names.METRIC_PROMPT_COST,
    "Dollars for prompts by the prices that are set: paid, and without the provider's cache.",
    ["model", "kind"],
)
_CACHE_LOOKUPS = Counter(
    names.METRIC_CACHE_LOOKUPS,
    "Lookups by layer and outcome: hit, stale_hit, or the reason of a miss.",
    ["layer", "outcome"],
)
_CACHE_VETOES = Counter(
    names.METRIC_CACHE_VETOES,
    "Stored answers that were near enough and were not served, by reason.",
    ["reason"],
)
_CACHE_AGE = Histogram(
    names.METRIC_CACHE_AGE,
    "Age of an answer when it was served.",
    ["layer"],
    buckets=names.AGE_BUCKETS_S,
)
_CACHE_SAVED_S = Counter(
    names.METRIC_CACHE_SAVED_S, "What the answers that were served once took to make."
)
_CACHE_SAVED_TOKENS = Counter(
    names.METRIC_CACHE_SAVED_TOKENS,
    "Tokens that the answers that were served once took to make: input or output.",
    ["kind"],
)
_CACHE_ENTRIES = Gauge(names.METRIC_CACHE_ENTRIES, "Answers that this replica finds by meaning.")
_CACHE_LAG = Gauge(
    names.METRIC_CACHE_LAG, "Time since the index was level with the change log; 0.5 s is none."
)
_CACHE_SILENCE = Gauge(
    names.METRIC_CACHE_SILENCE, "Time since retrieval last said what has changed."
)
_REFRESHES = Counter(
    names.METRIC_REFRESHES, "Stale answers by what became of making them anew.", ["outcome"]
)
_LOOKS = Counter(
    names.METRIC_LOOKS,
    "Hits by meaning that were judged, by who judged and what they found.",
    ["source", "verdict"],
)
_WRONG_HIT_BOUND = Gauge(
    names.METRIC_WRONG_HIT_BOUND,
    "Upper bound (95 %) on the share of wrong ones among hits by meaning: mean and worst of "
    "the tenants and policies.",
    ["which"],
)
_TARGET = Gauge(
    names.METRIC_TARGET,
    "Least probability of a hit by meaning that is trusted; 1 where none is.",
    ["which"],
)
_JOBS_SUBMITTED = Counter(names.METRIC_JOBS_SUBMITTED, "Jobs taken on, by kind.", ["kind"])
_JOBS_ENDED = Counter(
    names.METRIC_JOBS_ENDED, "Jobs that have ended, by kind and state.", ["kind", "state"]
)
_JOB_DURATION = Histogram(
    names.METRIC_JOB_DURATION,
    "Time between the submission of a job and its end.",
    ["kind", "state"],
    buckets=names.JOB_BUCKETS_S,
)
_JOB_WAIT = Histogram(
    names.METRIC_JOB_WAIT,
    "Time between the moment a job is due and the begin of an attempt.",
    ["kind"],
    buckets=names.JOB_BUCKETS_S,
)
_JOB_ATTEMPTS = Counter(
    names.METRIC_JOB_ATTEMPTS,
    "Attempts at jobs by what came of them: a state, retried, released, or lost to another worker.",
    ["kind", "outcome"],
)
_JOBS_RUNNING = Gauge(names.METRIC_JOBS_RUNNING, "Attempts under way in this worker.")
_IN_FLIGHT = Gauge(names.METRIC_IN_FLIGHT, "Calls being served.")
_COST = Gauge(names.METRIC_COST_IN_FLIGHT, "What the calls being served cost, watches left out.")
_LIMIT = Gauge(names.METRIC_LIMIT, "What they may cost at most, as it is now.")
_SHED = Counter(
    names.METRIC_SHED,
    "Calls refused to protect the others: queue, time or limit.",
    ["rpc_method", "cause"],
)


def serve_metrics(address: str) -> None:
    """Serve `/metrics` on `host:port` from a thread of its own; an empty address serves none."""
    if address and not telemetry_disabled():
        host, _, port = address.rpartition(":")
        start_http_server(int(port), addr=host)


def observe_server(method: str, code: str, duration_s: float, queue_s: float) -> None:
    """Count a served call."""
    if _ON:
        _SERVER.labels(method, code).observe(duration_s)
        _QUEUE.labels(method).observe(queue_s)


def observe_client(method: str, code: str, duration_s: float) -> None:
    """Count a call made."""
    if _ON:
        _CLIENT.labels(method, code).observe(duration_s)


def count_retry(method: str) -> None:
    """Count a second attempt; with the calls made it gives the attempts a call costs."""
    if _ON:
        _RETRIES.labels(method).inc()


def count_refused(method: str) -> None:
    """Count a call that an open breaker has kept from being made."""
    if _ON:
        _REFUSED.labels(method).inc()


def count_plan(promised: float, *, kept: bool) -> None:
    """Count a plan by the tenth that its promise is in, and by whether it was kept."""
    if _ON:
        _PLANS.labels(f"{min(9, int(promised * 10)) / 10:.1f}", str(kept).lower()).inc()
        _PLAN_ERROR.inc((promised - kept) ** 2)


def count_prompt(model: str, uncached: int, read: int, written: int) -> None:
    """Count the tokens of a prompt."""
    if _ON:
        _PROMPT_TOKENS.labels(model, "uncached").inc(uncached)
        _PROMPT_TOKENS.labels(model, "read").inc(read)
        _PROMPT_TOKENS.labels(model, "written").inc(written)


def count_prompt_cost(model: str, paid_dollars: float, without_cache_dollars: float) -> None:
    """Count what a prompt costs, and what it would have cost without a cache."""
    if _ON:
        _PROMPT_COST.labels(model, "paid").inc(paid_dollars)
        _PROMPT_COST.labels(model, "without_cache").inc(without_cache_dollars)


def count_prompt_miss(model: str, reason: str) -> None:
    """Count a prompt of which nothing was read from the provider's cache."""
    if _ON:
        _PROMPT_MISSES.labels(model, reason).inc()


def count_in_flight(change: int) -> None:
    """Add to the number of calls being served."""
    if _ON:
        _IN_FLIGHT.inc(change)


def watch_admission(in_flight: Callable[[], float], limit: Callable[[], float]) -> None:
    """Have these asked when metrics are read; they cost a call nothing."""
    if _ON:
        _COST.set_function(in_flight)
        _LIMIT.set_function(limit)


def count_shed(method: str, cause: str) -> None:
    """Count a call that was refused because of load."""
    if _ON:
        _SHED.labels(method, cause).inc()


def count_look(source: str, *, wrong: bool) -> None:
    """Count a hit by meaning that was judged."""
    if _ON:
        _LOOKS.labels(source, "wrong" if wrong else "right").inc()


def watch_trust(figures: Callable[[], Mapping[str, tuple[float, float]]]) -> None:
    """Have the trust in hits read with the metrics.

    Args:
        figures: gives, for the mean over tenants and for the worst of them (`mean`, `worst`),
            the upper bound on the share of wrong hits, and the target in force.
    """
    if _ON:
        for which in ("mean", "worst"):
            _WRONG_HIT_BOUND.labels(which).set_function(_figure(figures, which, 0))
            _TARGET.labels(which).set_function(_figure(figures, which, 1))


def _figure(
    figures: Callable[[], Mapping[str, tuple[float, float]]], which: str, place: int
) -> Callable[[], float]:
    return lambda: figures()[which][place]


def count_flight(outcome: str, reason: str) -> None:
    """Count a run by what became of its flight."""
    if _ON:
        _FLIGHTS.labels(outcome, reason).inc()


class Saved(NamedTuple):
    """What an answer took to make, and a hit therefore saves."""

    seconds: float
    input_tokens: int
    output_tokens: int


def count_lookup(layer: str, outcome: str) -> None:
    """Count a lookup in the cache by its layer and what came of it."""
    if _ON:
        _lookups_of(layer, outcome).inc()


def observe_hit(layer: str, age_s: float, saved: Saved) -> None:
    """Count what a hit has saved, and how old it was."""
    if _ON:
        _age_of(layer).observe(age_s)
        _CACHE_SAVED_S.inc(saved.seconds)
        _SAVED_INPUT.inc(saved.input_tokens)
        _SAVED_OUTPUT.inc(saved.output_tokens)


def count_veto(reason: str) -> None:
    """Count a stored answer that was near enough and was not served."""
    if _ON:
        _CACHE_VETOES.labels(reason).inc()


def watch_cache(
    entries: Callable[[], float], lag_s: Callable[[], float], silence_s: Callable[[], float]
) -> None:
    """Have these asked when metrics are read; they cost a lookup nothing."""
    if _ON:
        _CACHE_ENTRIES.set_function(entries)
        _CACHE_LAG.set_function(lag_s)
        _CACHE_SILENCE.set_function(silence_s)


def count_refresh(outcome: str) -> None:
    """Count a stale answer by what became of making it anew."""
    if _ON:
        _REFRESHES.labels(outcome).inc()


def count_job_submitted(kind: str) -> None:
    """Count a job that was taken on."""
    if _ON:
        _JOBS_SUBMITTED.labels(kind).inc()


def observe_job_begin(kind: str, wait_s: float) -> None:
    """Count how long a job was due before an attempt at it began."""
    if _ON:
        _JOB_WAIT.labels(kind).observe(wait_s)


def count_job_attempt(kind: str, outcome: str) -> None:
    """Count an attempt by what came of it."""
    if _ON:
        _JOB_ATTEMPTS.labels(kind, outcome).inc()


def observe_job_end(kind: str, state: str, duration_s: float) -> None:
    """Count a job that has ended."""
    if _ON:
        _JOBS_ENDED.labels(kind, state).inc()
        _JOB_DURATION.labels(kind, state).observe(duration_s)


def watch_jobs(running: Callable[[], float]) -> None:
    """Have this asked when metrics are read."""
    if _ON:
        _JOBS_RUNNING.set_function(running)


# A lookup is counted in tens of microseconds, and finding a child by its labels takes one.
@functools.cache
def _lookups_of(layer: str, outcome: str) -> Counter:
    return _CACHE_LOOKUPS.labels(layer, outcome)


@functools.cache
def _age_of(layer: str) -> Histogram:
    return _CACHE_AGE.labels(layer)


_SAVED_INPUT = _CACHE_SAVED_TOKENS.labels("input")
_SAVED_OUTPUT = _CACHE_SAVED_TOKENS.labels("output")
_ON = not telemetry_disabled()
