"""An account as one line of JSON, as a root span carries it."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from libs.values.account import Account, HopAccount, Piece, PieceKind


def account_to_json(account: Account) -> str:
    """Return an account as JSON; kinds are the numbers of the contract."""
    members = {
        "total_s": account.total_s,
        "first_text_s": account.first_text_s,
        "pieces": [_members(each, _PIECE) for each in account.pieces],
        "hops": [_members(each, _HOP) for each in account.hops],
    }
    return json.dumps(members, separators=(",", ":"), allow_nan=False)


def account_from_json(text: str) -> Account:
    """Return the account that `account_to_json` wrote.

    Raises:
        ValueError: the text is not an account.
    """
    try:
        raw: dict[str, Any] = json.loads(text)
        return Account(
            total_s=raw["total_s"],
            first_text_s=raw["first_text_s"],
            pieces=tuple(_piece(each) for each in raw["pieces"]),
            hops=tuple(HopAccount(**each) for each in raw["hops"]),
        )
    except (KeyError, TypeError) as error:
        msg = "the text is not an account"
        raise ValueError(msg) from error


_PIECE = tuple(each.name for each in fields(Piece))
_HOP = tuple(each.name for each in fields(HopAccount))


def _members(value: Piece | HopAccount, names: tuple[str, ...]) -> dict[str, Any]:
    # `asdict` copies deeply, at ten times the price; this is made for every answer.
    return {name: getattr(value, name) for name in names}


def _piece(raw: dict[str, Any]) -> Piece:
    return Piece(raw["hop"], PieceKind(raw["kind"]), raw["start_s"], raw["length_s"])
