"""Vectors as they come over the wire: unpacked, checked, and of one length a model."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from libs.errors import DimensionMismatchError, InvalidFieldError

Vector = NDArray[np.float32]

_FLOAT_BYTES = 4
# float32 keeps about seven digits; a vector that is further off was not normalised.
_NORM_TOLERANCE = 1e-3
_LENGTHS_KEPT = 1024


def unpacked(packed: bytes) -> Vector:
    """Return a vector of packed float32, little endian.

    Raises:
        InvalidFieldError: it is empty, no whole number of floats, or not L2-normalised.
    """
    if not packed or len(packed) % _FLOAT_BYTES:
        problem = f"must be packed float32, at least one, is {len(packed)} bytes"
        raise InvalidFieldError("embedding", problem)
    vector = np.frombuffer(packed, dtype="<f4")
    norm = float(np.sqrt(np.dot(vector, vector)))
    # Written so that a norm that is not a number fails as well.
    if not abs(norm - 1.0) <= _NORM_TOLERANCE:
        raise InvalidFieldError("embedding", f"must be L2-normalised, has length {norm:.4g}")
    return vector


class VectorLengths:
    """How long the vectors of each model were when it was first seen."""

    def __init__(self) -> None:
        self._lengths: OrderedDict[tuple[str, str], int] = OrderedDict()

    def fits(self, tenant_id: str, fingerprint: str, length: int) -> bool:
        """Return whether a vector has the length its model was first seen with.

        Tenants are told apart here too: one cannot spoil a model for another.
        """
        return self._first(tenant_id, fingerprint, length) == length

    def check(self, tenant_id: str, fingerprint: str, length: int) -> None:
        """Refuse a vector that does not fit.

        Raises:
            DimensionMismatchError: it has another length than the model's first.
        """
        first = self._first(tenant_id, fingerprint, length)
        if first != length:
            message = f"vector has {length} dimensions, those of {fingerprint!r} have {first}"
            raise DimensionMismatchError(message, got=length, want=first)

    def _first(self, tenant_id: str, fingerprint: str, length: int) -> int:
        first = self._lengths.setdefault((tenant_id, fingerprint), length)
        self._lengths.move_to_end((tenant_id, fingerprint))
        if len(self._lengths) > _LENGTHS_KEPT:
            self._lengths.popitem(last=False)
        return first
