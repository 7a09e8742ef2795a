"""Values to messages and back, for servicers and clients alone."""

from libs.wire.account import account_from, account_to
from libs.wire.answers import event_from, event_to, question_from, question_to
from libs.wire.basics import (
    citation_from,
    citation_to,
    duration,
    enumeration,
    filters_from,
    filters_to,
    passage_from,
    passage_to,
    seconds,
    timing_from,
    timing_to,
    turns_from,
    turns_to,
    usage_from,
    usage_to,
)
from libs.wire.jobs import job_event_from, job_event_to, job_from, job_to
from libs.wire.retrieval import document_to

__all__ = [
    "account_from",
    "account_to",
    "citation_from",
    "citation_to",
    "document_to",
    "duration",
    "enumeration",
    "event_from",
    "event_to",
    "filters_from",
    "filters_to",
    "job_event_from",
    "job_event_to",
    "job_from",
    "job_to",
    "passage_from",
    "passage_to",
    "question_from",
    "question_to",
    "seconds",
    "timing_from",
    "timing_to",
    "turns_from",
    "turns_to",
    "usage_from",
    "usage_to",
]
