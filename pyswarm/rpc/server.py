"""The three listeners: mutual TLS for nodes, bootstrap for strangers, a unix socket for root."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc

from pyswarm.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
)
from pyswarm.rpc.authorize import Authorizer
from pyswarm.rpc.channels import MESSAGE_BYTES_MOST, NO_PROBES, UNIX_PATH_BYTES_MOST, Options
from pyswarm.rpc.credentials import Provider, server_credentials
from pyswarm.rpc.errors import ErrorMapper
from pyswarm.rpc.handlers import Around, Behaviour, Context, Server
from pyswarm.rpc.limits import RateLimit, address_of

CONNECTION_AGE_SECONDS: Final = 3600.0
CONNECTION_GRACE_SECONDS: Final = 30.0
BOOTSTRAP_MESSAGE_BYTES_MOST: Final = 64 * 1024
BOOTSTRAP_CALLS_MOST: Final = 64
BOOTSTRAP_CALL_SECONDS: Final = 15.0

_SERVER_OPTIONS: Final[Options] = (
    # Without this two daemons could share a port, each with half of the connections.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # Clients ask every 3 s whether we live; grpcio's default takes that for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
)


class Bound(NamedTuple):
    """A server that has its port but is not started: add the services, then `start()`."""

    server: grpc.aio.Server
    port: int


def mutual_server(
    address: str,
    provider: Provider,
    authorizer: Authorizer,
    *,
    connection_age_seconds: float = CONNECTION_AGE_SECONDS,
    connection_grace_seconds: float = CONNECTION_GRACE_SECONDS,
) -> Bound:
    """The swarm's own listener: both sides show certificates of the root, TLS 1.3 only.

    A connection is asked to end after its age and cut after the grace, streams included: clients
    open them again. Only then does a client with an old certificate feel that it is old.
    """
    server = Server(
        [ErrorMapper(), authorizer],
        options=[
            *_SERVER_OPTIONS,
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MOST),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MOST),
            ("grpc.max_connection_age_ms", int(connection_age_seconds * 1000)),
            ("grpc.max_connection_age_grace_ms", int(connection_grace_seconds * 1000)),
        ],
    )
    return Bound(server, _listen(server, address, server_credentials(provider, mutual=True)))


def bootstrap_server(
    address: str,
    provider: Provider,
    limit: RateLimit | None = None,
    *,
    call_seconds: float = BOOTSTRAP_CALL_SECONDS,
) -> Bound:
    """The listener for those who have no certificate yet: TLS 1.3, and everything bounded."""
    server = Server(
        [ErrorMapper(), _Gate(limit or RateLimit(), call_seconds)],
        maximum_concurrent_rpcs=BOOTSTRAP_CALLS_MOST,
        options=[
            *_SERVER_OPTIONS,
            ("grpc.max_receive_message_length", BOOTSTRAP_MESSAGE_BYTES_MOST),
            ("grpc.max_send_message_length", BOOTSTRAP_MESSAGE_BYTES_MOST),
            ("grpc.max_concurrent_streams", 4),
            ("grpc.max_allowed_incoming_connections", 256),
            ("grpc.max_connection_idle_ms", 10_000),
            ("grpc.max_connection_age_ms", 60_000),
            ("grpc.max_connection_age_grace_ms", 1_000),
        ],
    )
    return Bound(server, _listen(server, address, server_credentials(provider, mutual=False)))


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise FailedPrecondition(
            f"cannot listen on {address}: another process has the port, "
            "or the address is not one of this machine"
        ) from error


class _Gate(Around):
    """Rate and duration of the calls of strangers."""

    def __init__(self, limit: RateLimit, call_seconds: float) -> None:
        self._limit = limit
        self._call_seconds = call_seconds

    async def run(self, method: str, behaviour: Behaviour, request: Any, context: Context) -> Any:
        """A call that its address may make, within its time."""
        del method
        address = address_of(context.peer())
        if not self._limit.admit(address, time.monotonic()):
            raise ResourceExhausted(f"too many requests from {address}: try again in a minute")
        try:
            async with asyncio.timeout(self._call_seconds):
                return await behaviour(request, context)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the manager could not answer within {self._call_seconds:g} s"
            ) from error


def local_server(path: Path) -> grpc.aio.Server:
    """A server on the unix socket `path`, for its owner alone (mode 0600), without TLS.

    A socket file that a killed daemon left is replaced; one on which somebody answers is not.
    """
    if len(os.fsencode(path)) > UNIX_PATH_BYTES_MOST:
        raise InvalidArgument(
            f"the socket path {path} is longer than the {UNIX_PATH_BYTES_MOST} bytes "
            "that the kernel takes: choose a shorter one"
        )
    _clear_stale(path)
    server = Server(
        [ErrorMapper()],
        options=[
            *_SERVER_OPTIONS,
            NO_PROBES,
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MOST),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MOST),
        ],
    )
    # grpcio makes the file while it adds the port; there must be no moment with a wider mode.
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise FailedPrecondition(f"cannot make the socket {path}: look at its directory") from error
    finally:
        os.umask(before)
    return server


def _clear_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FailedPrecondition(f"{path} is in the way of the daemon's socket: move it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            # A full backlog or a missing right: somebody may well be there.
            raise FailedPrecondition(f"cannot tell who owns the socket {path}: {error}") from error
    raise FailedPrecondition(f"another daemon answers on {path}: stop it first")
