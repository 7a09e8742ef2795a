"""The verifier that the embedding service runs; what goes wrong there is no answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from libs.budget import current_budget
from libs.clients.embedding import EmbeddingClient
from libs.errors import MeshError

# The verifier takes 2-4 ms for a short pair; what takes thirty times as long will not come.
_LIMIT_S = 0.1
# Of what is left of the caller's time, so that a miss still reaches it.
_SHARE = 0.6
_LOG = logging.getLogger(__name__)


class EmbeddingVerifier:
    """Asks `ScorePairs`, within what is left of the caller's time."""

    def __init__(self, client: EmbeddingClient, *, limit_s: float = _LIMIT_S) -> None:
        """Ask this service.

        Args:
            client: of the embedding service.
            limit_s: seconds that it is waited for at most.
        """
        self._client = client
        self._limit_s = limit_s

    async def score(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float] | None:
        """Return each pair's probability, or None if the service does not say it in time."""
        budget = current_budget()
        left_s = self._limit_s if budget is None else budget.remaining_s() * _SHARE
        try:
            found = await self._client.score(pairs, limit_s=min(left_s, self._limit_s))
        except MeshError as error:
            _LOG.debug("a pair was not verified: %s", error)
            return None
        return found.values
