"""One channel factory, and one typed client per service."""

from libs.clients.connection import Connection

__all__ = ["Connection"]
