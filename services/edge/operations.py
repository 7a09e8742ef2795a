"""All that the edge can do: its paths and its OpenAPI document are made from this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from libs.clients.answer import AnswerClient
from libs.clients.retrieval import RetrievalClient
from services.edge.access import ticketing
from services.edge.access.quotas import Quotas
from services.edge.access.tickets import Tickets
from services.edge.answers.answering import Pace
from services.edge.answers.asking import Asking
from services.edge.answers.running import Running
from services.edge.chat.chatting import Chatting
from services.edge.chat.models import Models
from services.edge.documents.limits import Limits
from services.edge.documents.operations import Documents
from services.edge.documents.uploading import Uploading
from services.edge.jobs.desk import Desk
from services.edge.jobs.operations import Jobs
from services.edge.web.draining import OpenStreams
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.operation import Operation


@dataclass(frozen=True, slots=True)
class Parts:
    """What operations are made of.

    Attributes:
        answers: the orchestrator.
        pace: how long an answer may take.
        metrics: where answers are counted.
        clock: seconds that only go forward.
        now: seconds since 1970.
        quotas: where the tokens of answers are counted.
        streams: told when this process ends.
        tickets: of callers that can send no header.
        desk: the jobs service.
        retrieval: the documents; None if there are none to be had.
        limits: of uploads.
        origins: sites whose pages may send files.
        max_job_bytes: longest body of a submission.
        policies: that are shown as models.
    """

    answers: AnswerClient
    pace: Pace
    metrics: EdgeMetrics
    clock: Callable[[], float]
    now: Callable[[], float]
    quotas: Quotas
    streams: OpenStreams
    tickets: Tickets
    desk: Desk
    retrieval: RetrievalClient | None
    limits: Limits
    origins: frozenset[str]
    max_job_bytes: int
    policies: tuple[str, ...]


def operations_of(parts: Parts) -> tuple[Operation, ...]:
    """Return every operation."""
    client, pace, metrics, clock = parts.answers, parts.pace, parts.metrics, parts.clock
    return (
        *Asking(client, pace, metrics, clock, parts.quotas, parts.streams).operations(),
        *Running(client, pace, clock, parts.streams).operations(),
        *Jobs(parts.desk, pace, parts.streams, parts.max_job_bytes).operations(),
        Uploading(parts.desk, parts.limits, parts.origins).operation(),
        *Documents(parts.retrieval).operations(),
        *Chatting(client, pace, metrics, clock, parts.now, parts.quotas).operations(),
        *Models(parts.policies, int(parts.now())).operations(),
        *ticketing.operations(parts.tickets),
    )
