"""Long JSON, taken apart at its first level alone.

What is inside of a member may be millions of values. To make objects of them, and a text again,
holds the event loop for half a second; to pass over them takes milliseconds, and whoever does
the work reads them anyway.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from services.edge.problem import Problem, ProblemError

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STAND_INS = {b"{": b"{}", b"[": b"[]", b'"': b'""'}


def split(raw: bytes) -> Mapping[str, bytes]:
    """Return the members of an object as they are written; of what is no object, none.

    Raises:
        ProblemError: it is no JSON.
    """
    try:
        return {name: bytes(value) for name, value in _DECODER.decode(raw).items()}
    except msgspec.ValidationError:
        return {}
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError(Problem(400, "INVALID_JSON", f"The body: {error}.")) from error


def stand_in(value: bytes) -> bytes:
    """Return the empty value of the same type for an object, an array or a text."""
    return _STAND_INS.get(value[:1], value)


def joined(members: Mapping[str, bytes]) -> bytes:
    """Return the object that `split` takes apart into these members."""
    pieces = [msgspec.json.encode(name) + b":" + value for name, value in members.items()]
    return b"{" + b",".join(pieces) + b"}"
