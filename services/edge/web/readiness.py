"""Whether questions may come here now."""

from __future__ import annotations

from libs.clients.answer import AnswerClient
from libs.clients.health import HealthClient


class Readiness:
    """Ready while the orchestrator is, until this process drains."""

    def __init__(self, health: HealthClient, *, timeout_s: float) -> None:
        self._health = health
        self._timeout_s = timeout_s
        self._draining = False

    def drain(self) -> None:
        """Be not ready from now on."""
        self._draining = True

    async def is_ready(self) -> bool:
        """Return whether a question that came now would be answered."""
        if self._draining:
            return False
        return await self._health.is_serving(AnswerClient.SERVICE, limit_s=self._timeout_s)
