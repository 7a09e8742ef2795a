"""One channel factory, and one typed client per service."""

from libs.clients.connection import Connection, open_allowance

__all__ = ["Connection", "open_allowance"]
