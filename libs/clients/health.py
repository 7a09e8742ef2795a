"""A client of `grpc.health.v1.Health`: whether a service is ready."""

from __future__ import annotations

from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from libs.clients.connection import Connection


class HealthClient:
    """Asks a server about its services."""

    def __init__(self, connection: Connection) -> None:
        # The published stubs name none of its methods.
        self._stub: Any = HealthStub(connection.channel)

    async def is_serving(self, service: str, *, limit_s: float) -> bool:
        """Return whether the service says, within `limit_s` seconds, that it is ready.

        Not a call of `Connection`: a probe every few seconds would bury the traces.
        """
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            response = await self._stub.Check(request, timeout=limit_s)
        except aio.AioRpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
