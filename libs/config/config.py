"""How a service's settings are declared, read and checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from libs.tls import TlsFiles, Watched


class ConfigError(Exception):
    """A setting has a value that it cannot hold; the message names the variable."""


# A variable that is set for all processes can be emptied for one.
_MaybePath = Annotated[Path | None, BeforeValidator(lambda value: value or None)]


class ServiceConfig(BaseSettings):
    """What every service lets an operator set.

    A subclass gives its prefix, `class CacheConfig(ServiceConfig, env_prefix="CACHE_")`;
    each field is then read from `<PREFIX><FIELD>`, or from the file that
    `<PREFIX><FIELD>_FILE` names. Fields with an alias are read under that name by
    every service.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    address: str = Field("127.0.0.1:0", description="where to listen: host:port or unix:path")
    metrics_address: str = Field("", description="host:port for /metrics; empty serves none")
    grace_s: float = Field(
        10.0, ge=0, le=600, description="seconds that calls in flight get to finish at the end"
    )
    drain_s: float = Field(
        0.2, ge=0, le=60, description="seconds between not ready and the end of new calls"
    )
    max_concurrency: int = Field(
        256,
        ge=1,
        description="calls served at once at most; more are refused with OVERLOADED. A call that "
        "is expected to cost more than others counts for several",
    )
    adaptive_limit: bool = Field(
        default=True,
        description="whether the limit goes below max_concurrency while first responses take "
        "longer than on a quiet server",
    )
    queue_target_s: float = Field(
        0.005,
        ge=0,
        description="seconds that a call may wait on its way in; while all wait longer, those "
        "that wait twice as long are refused. 0 lets them wait",
    )
    queue_interval_s: float = Field(
        0.1,
        gt=0,
        le=10,
        description="seconds for which all must wait too long before any is refused",
    )
    background_share: float = Field(
        0.6, gt=0, le=1, description="part of the limit that background calls may fill"
    )
    identities_file: Path | None = Field(
        None,
        validation_alias="HASTEN_IDENTITIES_FILE",
        description="JSON list of who may call; without it every caller may speak for every "
        "tenant, and only loopback is listened on",
    )
    token: SecretStr = Field(
        SecretStr(""),
        validation_alias="HASTEN_TOKEN",
        description="this process's own token, sent with every call it makes",
    )
    tls_certificate: _MaybePath = Field(
        None,
        validation_alias="HASTEN_TLS_CERTIFICATE",
        description="PEM file of this process's certificate, which it shows to those it calls and"
        " to those who call it; may be replaced while it runs. Without it gRPC is plain text",
    )
    tls_key: _MaybePath = Field(
        None, validation_alias="HASTEN_TLS_KEY", description="PEM file of the certificate's key"
    )
    tls_authorities: _MaybePath = Field(
        None,
        validation_alias="HASTEN_TLS_AUTHORITIES",
        description="PEM file of the authorities whose certificates are trusted",
    )
    allow_plaintext: bool = Field(
        default=False,
        validation_alias="HASTEN_ALLOW_PLAINTEXT",
        description="whether other machines may call without TLS",
    )
    health_address: str = Field(
        "", description="host:port for health checks alone, in plain text; empty has none"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="HASTEN_LOG_LEVEL", description="least level that is logged"
    )

    @cached_property
    def tls(self) -> Watched | None:
        """The certificate of this process; None if gRPC is plain text.

        Raises:
            ConfigError: only a part of it is set, or the files do not fit together.
        """
        paths = (self.tls_certificate, self.tls_key, self.tls_authorities)
        if not any(paths):
            return None
        certificate, key, authorities = paths
        if certificate is None or key is None or authorities is None:
            raise ConfigError(
                "HASTEN_TLS_CERTIFICATE, HASTEN_TLS_KEY, HASTEN_TLS_AUTHORITIES: all or none"
            )
        try:
            return Watched(TlsFiles(certificate, key, authorities))
        except OSError as error:
            raise ConfigError(f"HASTEN_TLS_CERTIFICATE={str(certificate)!r}: {error}") from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment, then files it names."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _NamedFiles(settings_cls)


class _NamedFiles(PydanticBaseSettingsSource):
    """Values of files that `<VARIABLE>_FILE` names, as secrets are mounted."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = variable_of(self.settings_cls, field_name, field)
        named = os.environ.get(f"{variable}_FILE")
        if not named:
            return None, field_name, False
        try:
            return Path(named).read_text("utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{variable}_FILE={named!r} cannot be read: {error}") from error

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


Config = TypeVar("Config", bound=BaseSettings)


def load(kind: type[Config]) -> Config:
    """Read the settings of `kind` from the environment.

    Raises:
        ConfigError: a value does not fit; the message names each such variable, its
            value (unless it is a secret) and what would fit.
    """
    try:
        return kind()
    except ValidationError as error:
        raise ConfigError("; ".join(_problems(kind, error))) from error


def variable_of(kind: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """Return the environment variable that sets a field."""
    if isinstance(field.validation_alias, str):
        return field.validation_alias
    return f"{kind.model_config.get('env_prefix', '')}{name}".upper()


def describe(kind: type[BaseSettings]) -> Iterator[tuple[str, str, str]]:
    """Yield each variable of `kind` with its default and its meaning."""
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        yield variable_of(kind, name, field), str(default), field.description or ""


def unknown_variables(kind: type[BaseSettings], env: Mapping[str, str]) -> list[str]:
    """Return the variables with the prefix of `kind` that set nothing: slips of the pen."""
    prefix = str(kind.model_config.get("env_prefix", "")).upper()
    known = {variable for variable, _, _ in describe(kind)}
    known |= {f"{variable}_FILE" for variable in known}
    return sorted(name for name in env if name.startswith(prefix) and name not in known)


def _problems(kind: type[BaseSettings], error: ValidationError) -> Iterator[str]:
    by_place = {variable_of(kind, name, field): name for name, field in kind.model_fields.items()}
    for problem in error.errors():
        place = str(problem["loc"][0]) if problem["loc"] else ""
        name = by_place.get(place, place)
        field = kind.model_fields.get(name)
        variable = variable_of(kind, name, field) if field else place
        secret = field is not None and field.annotation is SecretStr
        shown = "(secret)" if secret else repr(problem["input"])
        yield f"{variable}={shown}: {problem['msg']}"
