"""A channel whose certificate may be replaced while it is in use.

gRPC for Python cannot give an open channel another certificate. So there is a new channel for
each, calls begin on the newest, and an old one closes once its last call has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

import grpc
from grpc import aio

from libs.tls import LOOK_EVERY_S, Pems, Watched, channel_credentials

# As long as the longest call: a watch that is cut begins again by itself.
_LAST_CALLS_S = 600.0

Open = Callable[[grpc.ChannelCredentials], aio.Channel]


class RotatingChannel(aio.Channel):
    """Stands for the newest of its channels."""

    def __init__(
        self, watched: Watched, open_with: Open, *, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        """Open the first channel.

        Args:
            watched: the certificate.
            open_with: opens a channel that shows it.
            look_every_s: seconds between two looks at the files.
        """
        self._watched = watched
        self._open = open_with
        self._look_every_s = look_every_s
        self._shown: Pems = watched.pems
        self._newest = open_with(channel_credentials(watched.pems))
        self._methods: list[_Method] = []
        self._old: dict[asyncio.Task[None], aio.Channel] = {}
        self._looking = asyncio.create_task(self._keep_looking())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method of one request and one response."""
        return self._method("unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method of one request and a stream of responses."""
        return self._method("unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method of a stream of requests and one response."""
        return self._method("stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method of two streams."""
        return self._method("stream_stream", args, kwargs)

    async def close(self, grace: float | None = None) -> None:
        """Close every channel; calls get `grace` seconds."""
        tasks = (self._looking, *self._old)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in (self._newest, *self._old.values()):
            await channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002
        """Return the state of the newest channel."""
        return self._newest.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state of the newest channel is another."""
        await self._newest.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the newest channel is connected."""
        await self._newest.channel_ready()

    def renew(self) -> None:
        """Begin calls on a new channel from now on, if another certificate is there.

        Others watch the same files: what counts is what this channel shows.
        """
        if self._watched.pems == self._shown:
            return
        self._shown = self._watched.pems
        old, self._newest = self._newest, self._open(channel_credentials(self._shown))
        for method in self._methods:
            method.move(self._newest)
        closing = asyncio.create_task(old.close(_LAST_CALLS_S))
        self._old[closing] = old
        closing.add_done_callback(lambda task: self._old.pop(task, None))

    def _method(self, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Method:
        method = _Method(kind, args, kwargs)
        method.move(self._newest)
        self._methods.append(method)
        return method

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            await asyncio.to_thread(self._watched.renew)
            self.renew()


class _Method:
    """A method of the stub, on the newest channel."""

    def __init__(self, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._kind = kind
        self._args = args
        self._kwargs = kwargs
        self._call: Any = None

    def move(self, channel: aio.Channel) -> None:
        self._call = getattr(channel, self._kind)(*self._args, **self._kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    @property
    def _method(self) -> bytes:
        """Its path, where a stub's method of gRPC keeps it."""
        path: bytes = self._call._method  # noqa: SLF001
        return path
