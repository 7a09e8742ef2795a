"""Starts, guards and stops a gRPC server the same way in every service."""

from libs.server.bootstrap import Served, run
from libs.server.call import Call, current_call
from libs.server.identity import Identities, Identity
from libs.server.interceptor import Guard

__all__ = ["Call", "Guard", "Identities", "Identity", "Served", "current_call", "run"]
