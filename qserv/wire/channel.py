"""Channels and servers, all with the same options.

Keepalive notices a silent peer within 7 seconds; a server takes a port for itself or
fails; nothing listens beyond loopback unless it was told to.
"""

import ipaddress
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio
from grpc.experimental import ChannelOptions
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from qserv.errors import InvalidRequest
from qserv.wire.errors import TypedErrors

__all__ = [
    "CHANNEL_OPTIONS",
    "MESSAGE_BYTES",
    "SERVER_OPTIONS",
    "aio_channel",
    "start_server",
    "sync_channel",
]

Options = tuple[tuple[str, Any], ...]

MESSAGE_BYTES: Final = 256 * 2**20
"""No message is larger: a task with all that `broadcast_memory` may allow fits."""

_SHARED: Final[Options] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # An error's text travels in the metadata; gRPC's own limit is 8 KiB.
    ("grpc.max_metadata_size", 64 * 2**10),
    ("grpc.absolute_max_metadata_size", 64 * 2**10),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    # A stopped process still acknowledges TCP: without this, gRPC waits a minute.
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

CHANNEL_OPTIONS: Final[Options] = (
    *_SHARED,
    # A channel of its own for everybody: closing one never touches another's calls.
    ("grpc.use_local_subchannel_pool", 1),
    # The czar decides what is sent again, and where.
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # A restarted worker answers soon after; gRPC's own back-off grows to 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

SERVER_OPTIONS: Final[Options] = (
    *_SHARED,
    # gRPC's own default is 5 minutes: our keepalive would be cut off as an attack.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    # With it, two servers share one port, and calls go to either.
    ("grpc.so_reuseport", 0),
)


def aio_channel(endpoint: str) -> grpc.aio.Channel:
    """Open a channel for coroutines to ``host:port``; it connects when first used."""
    return grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)


def sync_channel(endpoint: str) -> grpc.Channel:
    """Open a channel for threads to ``host:port``; it connects when first used."""
    return grpc.insecure_channel(
        endpoint,
        # Without it gRPC starts a thread for every stream that is read.
        options=(*CHANNEL_OPTIONS, (ChannelOptions.SingleThreadedUnaryStream, 1)),
    )


async def start_server(
    host: str,
    port: int,
    register: Callable[[grpc.aio.Server], None],
    *,
    allow_remote: bool = False,
) -> tuple[grpc.aio.Server, int]:
    """Start serving, with typed errors and the gRPC health service.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on; 0 takes any free one.
    register
        Adds the services to the server.
    allow_remote
        Whether `host` may be an address that other machines reach.

    Returns
    -------
    tuple
        The running server and the port that it listens on.

    Raises
    ------
    InvalidRequest
        If the address is not loopback and need be, or cannot be listened on.
    """
    if not (allow_remote or _is_loopback(host)):
        raise InvalidRequest(
            f"--host {host} is reached from other machines, and qserv neither encrypts "
            "nor authenticates: use 127.0.0.1, or --allow-remote inside a network that "
            "you trust"
        )
    server = grpc.aio.server(interceptors=[TypedErrors()], options=SERVER_OPTIONS)
    register(server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    bound = _bind(server, host, port)
    await server.start()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    return server, bound


def _bind(server: grpc.aio.Server, host: str, port: int) -> int:
    address = f"[{host}]" if ":" in host else host
    try:
        return server.add_insecure_port(f"{address}:{port}")
    except RuntimeError as error:
        raise InvalidRequest(
            f"cannot listen on {address}:{port}: it is taken or not of this machine; "
            "choose another --port or --host (--port 0 takes a free one)"
        ) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
