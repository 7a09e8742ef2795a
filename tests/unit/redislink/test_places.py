from __future__ import annotations

import pytest
from pydantic import ValidationError

from libs.redislink.places import Place, place_of
from services.cache.config import CacheConfig
from services.jobs.config import JobsConfig


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://h:1/2", Place("redis")),
        ("rediss://h", Place("rediss")),
        (
            "redis+sentinel://a:1,b/main/3",
            Place("redis+sentinel", (("a", 1), ("b", 26379)), "main", 3),
        ),
        (
            "redis+sentinel://u:p%40w@a/main",
            Place("redis+sentinel", (("a", 26379),), "main", 0, "u", "p@w"),
        ),
        ("redis+cluster://a,b:2", Place("redis+cluster", (("a", 6379), ("b", 2)))),
        ("redis+cluster://:pw@a/0", Place("redis+cluster", (("a", 6379),), password="pw")),  # noqa: S106
    ],
)
def test_a_url_says_where_redis_is(url: str, place: Place) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://a", "must begin with"),
        ("a:1", "must begin with"),
        ("redis+sentinel://a:1", "must name the service"),
        ("redis+sentinel:///main", "is no host:port"),
        ("redis+sentinel://a:x/main", "is no host:port"),
        ("redis+sentinel://a/main/x", "is no number"),
        ("redis+cluster://a/2", "no databases but 0"),
    ],
)
def test_a_url_of_another_form_is_refused_at_the_start(url: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        CacheConfig(redis_url=url)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(place_of("redis+sentinel://u:secret@a/main"))


def test_what_a_cluster_cannot_hold_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="a cluster cannot hold this"):
        JobsConfig(redis_url="redis+cluster://a")
