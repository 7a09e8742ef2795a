"""How Redis is reached, the same way from every service."""

from libs.redislink.redislink import open_redis

__all__ = ["open_redis"]
