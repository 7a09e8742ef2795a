"""How a channel to the backends of one service is set up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from grpc import aio

from libs.clients.rotating import RotatingChannel
from libs.tls import Watched

MAX_MESSAGE_BYTES = 32 * 1024 * 1024

# By the load that servers report in a trailer of each response (ORCA); without such reports
# they take turns.
_BY_LOAD = {"weighted_round_robin": {"blackoutPeriod": "1s", "weightUpdatePeriod": "1s"}}
# gRPC's own minimums, 5 hosts and 50 calls, never speak of three backends. A call that its
# caller gave up counts as a failure there. So only a backend that fails nearly all is put
# aside, never more than one of three, and not for long.
_WITHOUT_OUTLIERS = {
    "outlier_detection_experimental": {
        "interval": "1s",
        "baseEjectionTime": "1s",
        "maxEjectionTime": "10s",
        "maxEjectionPercent": 30,
        "failurePercentageEjection": {
            "threshold": 90,
            "enforcementPercentage": 100,
            "minimumHosts": 2,
            "requestVolume": 10,
        },
        "childPolicy": [_BY_LOAD],
    }
}
_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [_WITHOUT_OUTLIERS],
        # A server that drains or is not warm yet gets no calls while there is another: a call
        # that meets the end of its server halfway would fail.
        "healthCheckConfig": {"serviceName": ""},
    }
)
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The default grows to two minutes, in which a server that is back stays unused.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A peer that is frozen keeps its connection and says nothing: it is noticed by a ping
    # that is not answered, so at most the sum of the two later. gRPC answers pings on
    # threads of its own: a busy event loop or a long computation does not delay them.
    ("grpc.keepalive_time_ms", 500),
    ("grpc.keepalive_timeout_ms", 500),
    ("grpc.http2.ping_timeout_ms", 500),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)
# Channels to the same address share its connection unless they are told not to.
_APART = (("grpc.use_local_subchannel_pool", 1),)


def open_channel(
    target: str,
    options: Sequence[tuple[str, Any]] = (),
    *,
    apart: bool = False,
    tls: Watched | None = None,
) -> aio.Channel:
    """Return a channel that connects when it is first used.

    Args:
        target: `host:port`, `ipv4:a:p,b:p` for several backends, or any name gRPC resolves.
        options: over those that every channel has.
        apart: True to share no connection with another channel to the same target.
        tls: the certificate to show; None speaks in plain text.
    """
    # One value for each: of two gRPC takes the first.
    merged = dict((*_OPTIONS, *(_APART if apart else ()), *options))
    given = list(merged.items())
    if tls is None:
        return aio.insecure_channel(target, options=given)
    return RotatingChannel(tls, lambda shown: aio.secure_channel(target, shown, options=given))


def count_backends(target: str) -> int | None:
    """Return how many backends a target names; None if only its resolver knows."""
    scheme, _, rest = target.partition(":")
    if scheme in ("ipv4", "ipv6"):
        return len(rest.split(","))
    return None if scheme in ("dns", "xds") else 1
