"""A model provider that behaves as told: the Anthropic Messages API on loopback.

In a test: `async with Provider(Behaviour(gap="0.01")).serve() as provider`, then
`provider.url`, `provider.behave(...)`, `provider.calls`. Elsewhere: `python -m
tests.support.provider --help`, then `POST /_control` and `GET /_stats`.
"""

from tests.support.provider.behaviour import Behaviour
from tests.support.provider.calls import Call
from tests.support.provider.server import Provider

__all__ = ["Behaviour", "Call", "Provider"]
