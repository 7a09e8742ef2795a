"""What an operator may set for generation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from libs.config import ConfigError, ServiceConfig

Thinking = Literal["", "adaptive", "between_tools", "disabled"]
Effort = Literal["", "low", "medium", "high", "xhigh", "max"]


class GenerationConfig(ServiceConfig, env_prefix="GENERATION_"):
    """Settings of generation, each read from `GENERATION_<FIELD>`."""

    address: str = Field("127.0.0.1:50055", description="where to listen: host:port or unix:path")
    engine: Literal["auto", "anthropic", "openai", "extractive"] = Field(
        "auto", description="who writes; auto is anthropic where a key is set, else extractive"
    )
    openai_base_url: str = Field(
        "", description="where the chat completions API is that openai asks, up to its /v1"
    )
    openai_api_key: SecretStr = Field(
        SecretStr(""), description="its key; empty where it asks for none"
    )
    openai_best_model: str = Field("", description="its model of the tier best")
    openai_fast_model: str = Field("", description="its model of the tier fast; empty is none")
    openai_limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="the field that limits what it writes; servers differ"
    )
    openai_cached_price: float = Field(
        0.1, ge=0, le=1, description="price of its cached tokens as a share of the input price"
    )
    anthropic_api_key: SecretStr = Field(
        SecretStr(""), description="key of the Anthropic API; ANTHROPIC_API_KEY serves as well"
    )
    shared_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias="ANTHROPIC_API_KEY",
        description="the same, under the name that other programs use",
    )
    anthropic_base_url: str = Field(
        "", description="where the API is; empty is the provider's own, or ANTHROPIC_BASE_URL"
    )
    # Models that may be told not to think first: time spent thinking is silence.
    best_model: str = Field("claude-sonnet-5-5", description="model of the tier best")
    best_thinking: Thinking = Field(
        "between_tools",
        description="how the best model thinks before it writes; empty leaves it to the model. "
        "Which values a model takes differs: claude-opus-5-5 takes adaptive alone",
    )
    best_effort: Effort = Field("", description="effort of the best model; empty is its own")
    fast_model: str = Field("claude-haiku-5-5", description="model of the tier fast; empty is none")
    fast_thinking: Thinking = Field("disabled", description="the same for the fast model")
    fast_effort: Effort = Field("", description="effort of the fast model; empty is its own")
    prompt_cache: bool = Field(
        True, description="whether the provider is asked to cache the start of prompts"
    )
    prompt_cache_ttl: Literal["5m", "1h"] = Field(
        "5m",
        description="how long it keeps one that is not read: written at 1.25 or 2 times the price",
    )
    prompt_cache_wait_s: float = Field(
        1.0, ge=0, description="longest wait for another call that has the same start cached"
    )
    prompt_cache_diagnosis: bool = Field(
        False, description="whether the provider is asked why it had nothing cached"
    )
    best_min_prefix_tokens: int = Field(
        1024, ge=0, description="shortest start that the best model caches"
    )
    fast_min_prefix_tokens: int = Field(4096, ge=0, description="the same for the fast model")
    best_input_price: float = Field(
        0.0, ge=0, description="dollars for a million input tokens of the best model; 0 counts none"
    )
    fast_input_price: float = Field(0.0, ge=0, description="the same for the fast model")
    max_output_tokens: int = Field(
        1024, ge=1, le=64_000, description="tokens of an answer, unless a request says"
    )
    connect_limit_s: float = Field(
        2.0, gt=0, description="seconds in which the provider must accept a connection"
    )
    stall_limit_s: float = Field(
        5.0, gt=0, description="longest silence after the first text, unless a request says"
    )
    limit_s: float = Field(
        120.0, gt=0, description="seconds that a call without a deadline may take"
    )
    reply_reserve_s: float = Field(
        0.02, ge=0, description="seconds before the deadline at which an answer is ended"
    )
    coalesce_s: float = Field(
        0.02, ge=0, le=1, description="least time between two messages of a stream"
    )
    retry_after_limit_s: float = Field(
        30.0, ge=0, description="longest wait that is asked of callers when the model is overloaded"
    )

    def api_key(self) -> str:
        """Return the key of the Anthropic API; empty means that it is not asked.

        Raises:
            ConfigError: the engine needs one and there is none.
        """
        if self.engine in ("extractive", "openai"):
            return ""
        key = self.anthropic_api_key.get_secret_value() or self.shared_api_key.get_secret_value()
        if not key and self.engine == "anthropic":
            raise ConfigError(
                "GENERATION_ANTHROPIC_API_KEY: required by GENERATION_ENGINE=anthropic"
            )
        return key

    def chat_models(self) -> tuple[str, str]:
        """Return the best and the fast model of the chat completions API; both empty if unused.

        Raises:
            ConfigError: the engine needs a setting that is empty.
        """
        if self.engine != "openai":
            return "", ""
        for name in ("openai_base_url", "openai_best_model"):
            if not getattr(self, name):
                raise ConfigError(
                    f"GENERATION_{name.upper()}: required by GENERATION_ENGINE=openai"
                )
        return self.openai_best_model, self.openai_fast_model
