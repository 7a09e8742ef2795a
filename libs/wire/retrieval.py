"""Documents of `hasten.retrieval.v1`, which both ends of the wire send."""

from __future__ import annotations

from hasten.retrieval.v1 import retrieval_service_pb2 as pb
from libs.values.retrieval import Document


def document_to(document: Document) -> pb.Document:
    """Return the message of a document."""
    return pb.Document(
        document_id=document.document_id,
        title=document.title,
        text=document.text,
        format=int(document.format),  # type: ignore[arg-type]
        metadata=document.metadata,
        uri=document.uri,
        scope=document.scope,
        unsplit=document.unsplit,
    )
