"""Nearest vectors among many that change: sealed segments, a small delta, tombstones."""

from libs.vectors.index import VectorIndex
from libs.vectors.view import Found, View

__all__ = ["Found", "VectorIndex", "View"]
