"""Every name that telemetry uses, once.

RPC names follow the release candidate of the OpenTelemetry RPC conventions, `gen_ai.*`
the GenAI conventions (development); what starts with `hasten.` is ours.
"""

from __future__ import annotations

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
SCOPE = "hasten"

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS_CODE = "rpc.status_code"
ERROR_TYPE = "error.type"
SERVICE_NAME = "service.name"

GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_REQUEST_STREAM = "gen_ai.request.stream"
GEN_AI_FIRST_CHUNK_S = "gen_ai.response.time_to_first_chunk"
GEN_AI_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"

TENANT_ID = "hasten.tenant.id"
IDENTITY = "hasten.identity"
RUN_ID = "hasten.run.id"
POLICY = "hasten.policy"
QUALITY = "hasten.quality"
CACHE_LAYER = "hasten.cache.layer"
FINISH_REASON = "hasten.finish_reason"
DEGRADATIONS = "hasten.degradations"
PROMISED = "hasten.plan.promised"
ACCOUNT = "hasten.account"
GRANTED_MS = "hasten.granted_ms"
QUEUE_MS = "hasten.queue_ms"
HOP = "hasten.hop"
ATTEMPTS = "hasten.attempts"
JOB_ID = "hasten.job.id"
JOB_KIND = "hasten.job.kind"
JOB_ATTEMPT = "hasten.job.attempt"
JOB_STATE = "hasten.job.state"

# Metadata keys of our own on gRPC calls.
TIMEOUT_SENT_MS = "hasten-timeout-ms"
TRACEPARENT = "traceparent"
AUTHORIZATION = "authorization"
# `background` for what is not waited for by a person; anything else is interactive.
PRIORITY = "hasten-priority"

METRIC_RPC_SERVER = "rpc_server_call_duration_seconds"
METRIC_RPC_CLIENT = "rpc_client_call_duration_seconds"
METRIC_RPC_CLIENT_RETRIES = "hasten_client_retries_total"
METRIC_RPC_CLIENT_REFUSED = "hasten_client_refused_total"
METRIC_RPC_SERVER_QUEUE = "hasten_server_queue_seconds"
METRIC_FLIGHTS = "hasten_flights_total"
METRIC_PLANS = "hasten_plans_total"
METRIC_PLAN_ERROR = "hasten_plan_squared_error_total"
METRIC_PROMPT_TOKENS = "hasten_prompt_tokens_total"
METRIC_PROMPT_MISSES = "hasten_prompt_cache_misses_total"
METRIC_PROMPT_COST = "hasten_prompt_cost_dollars_total"
METRIC_IN_FLIGHT = "hasten_server_calls_in_flight"
METRIC_COST_IN_FLIGHT = "hasten_server_cost_in_flight"
METRIC_LIMIT = "hasten_server_cost_limit"
METRIC_LOOKS = "hasten_cache_looks_total"
METRIC_WRONG_HIT_BOUND = "hasten_cache_wrong_hit_bound"
METRIC_TARGET = "hasten_cache_target"
METRIC_SHED = "hasten_server_calls_shed_total"
METRIC_CACHE_LOOKUPS = "hasten_cache_lookups_total"
METRIC_CACHE_VETOES = "hasten_cache_vetoes_total"
METRIC_CACHE_AGE = "hasten_cache_hit_age_seconds"
METRIC_CACHE_SAVED_S = "hasten_cache_saved_seconds_total"
METRIC_CACHE_SAVED_TOKENS = "hasten_cache_saved_tokens_total"
METRIC_CACHE_ENTRIES = "hasten_cache_index_entries"
METRIC_CACHE_LAG = "hasten_cache_index_lag_seconds"
METRIC_CACHE_SILENCE = "hasten_cache_documents_silence_seconds"
METRIC_REFRESHES = "hasten_refreshes_total"
METRIC_CACHE_DAMAGED = "hasten_cache_damaged_total"
METRIC_CACHE_EVICTED = "hasten_cache_evicted_total"
METRIC_CACHE_INDEX_REPAIRS = "hasten_cache_index_repairs_total"

METRIC_JOBS_SUBMITTED = "hasten_jobs_submitted_total"
METRIC_JOBS_ENDED = "hasten_jobs_ended_total"
METRIC_JOB_DURATION = "hasten_job_duration_seconds"
METRIC_JOB_WAIT = "hasten_job_wait_seconds"
METRIC_JOB_ATTEMPTS = "hasten_job_attempts_total"
METRIC_JOBS_RUNNING = "hasten_jobs_running"

# Seconds. The limits of the latency targets are edges, so that a share of requests
# within a target is read off without interpolation.
LATENCY_BUCKETS_S = (
    0.001,
    0.0025,
    0.005,
    0.015,
    0.05,
    0.1,
    0.15,
    0.3,
    0.5,
    0.7,
    1.0,
    1.5,
    2.05,
    5.0,
    10.0,
    30.0,
)

# Seconds that an answer has been stored: from moments to a day.
AGE_BUCKETS_S = (1.0, 10.0, 60.0, 600.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0)

# Seconds that a job takes: from moments to hours.
JOB_BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0)
