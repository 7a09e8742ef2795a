"""How Redis is reached, the same way from every service."""

from libs.redislink.places import OneRedisUrl, RedisUrl
from libs.redislink.redislink import keep_to_master, open_redis

__all__ = ["OneRedisUrl", "RedisUrl", "keep_to_master", "open_redis"]
