"""The account of a run, to its message and back."""

from __future__ import annotations

from hasten.answer.v1 import answer_service_pb2 as pb
from libs.values import Account, HopAccount, Piece, PieceKind
from libs.wire.basics import duration, seconds


def account_to(account: Account) -> pb.Account:
    """Return the message of an account."""
    message = pb.Account(
        total=duration(account.total_s),
        pieces=map(_piece_to, account.pieces),
        hops=map(_hop_to, account.hops),
        unattributed=duration(account.unattributed_s),
    )
    if account.first_text_s is not None:
        message.first_text.CopyFrom(duration(account.first_text_s))
    return message


def account_from(message: pb.Account) -> Account:
    """Return the account of a message."""
    return Account(
        seconds(message.total),
        seconds(message.first_text) if message.HasField("first_text") else None,
        tuple(map(_piece_from, message.pieces)),
        tuple(map(_hop_from, message.hops)),
    )


def _piece_to(piece: Piece) -> pb.Piece:
    return pb.Piece(
        hop=piece.hop,
        kind=int(piece.kind),  # type: ignore[arg-type]
        start=duration(piece.start_s),
        length=duration(piece.length_s),
    )


def _piece_from(message: pb.Piece) -> Piece:
    kind = PieceKind(message.kind)
    return Piece(message.hop, kind, seconds(message.start), seconds(message.length))


def _hop_to(hop: HopAccount) -> pb.HopAccount:
    message = pb.HopAccount(hop=hop.hop, start=duration(hop.start_s), skipped=hop.skipped)
    if hop.skipped:
        return message
    message.outcome = hop.outcome
    message.granted.CopyFrom(duration(hop.granted_s))
    message.used.CopyFrom(duration(hop.used_s))
    message.queue.CopyFrom(duration(hop.queue_s))
    message.compute.CopyFrom(duration(hop.compute_s))
    message.model.CopyFrom(duration(hop.model_s))
    message.network.CopyFrom(duration(hop.network_s))
    message.slack.CopyFrom(duration(hop.slack_s))
    return message


def _hop_from(message: pb.HopAccount) -> HopAccount:
    return HopAccount(
        hop=message.hop,
        start_s=seconds(message.start),
        granted_s=seconds(message.granted),
        used_s=seconds(message.used),
        queue_s=seconds(message.queue),
        compute_s=seconds(message.compute),
        model_s=seconds(message.model),
        network_s=seconds(message.network),
        outcome=message.outcome,
        skipped=message.skipped,
    )
