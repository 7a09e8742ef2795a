"""Settings: read from the environment once, at start, and never changed."""

from libs.config.config import ConfigError, ServiceConfig, describe, load, unknown_variables

__all__ = ["ConfigError", "ServiceConfig", "describe", "load", "unknown_variables"]
