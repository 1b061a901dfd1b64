"""The client's side of a connection: mutual TLS, short back-off, dead peers noticed in seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import grpc

from pyswarm.aio import Supervisor
from pyswarm.errors import InvalidArgument
from pyswarm.model.identity import role_name
from pyswarm.model.states import NodeRole
from pyswarm.rpc.credentials import (
    Credentials,
    Provider,
    channel_credentials,
    trusting_credentials,
)

Options = tuple[tuple[str, Any], ...]

MESSAGE_BYTES_MOST: Final = 4 * 1024 * 1024
UNIX_PATH_BYTES_MOST: Final = 107
NO_PROBES: Final = ("grpc.http2.bdp_probe", 0)
"""No pings that measure the way between both sides: within one host there is none, and with many
clients they were 6% of the CPU time of a call."""

MANAGER: Final = role_name(NodeRole.MANAGER)
"""What a client expects of most servers: that a manager answers."""

_CLIENT_OPTIONS: Final[Options] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MOST),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MOST),
    # A manager comes back within a second or two of a restart, and its clients with it. The
    # minimum is in truth the time that one attempt may take, TLS included.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 5000),
    # A peer that was switched off sends no FIN: it is noticed after 3 + 2 s.
    ("grpc.keepalive_time_ms", 3000),
    # Two settings for one thing: grpcio 1.85 waits for the answer of a ping as long as the second
    # says, and its default is a minute, whatever the first says (measured: 63 s).
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    # A proxy of the environment has no business between the nodes of a swarm.
    ("grpc.enable_http_proxy", 0),
    # Channels share no connections, so that closing one says something about the peer.
    ("grpc.use_local_subchannel_pool", 1),
)


def secure_channel(
    address: str, credentials: Credentials, expect: str = MANAGER, options: Options = ()
) -> grpc.aio.Channel:
    """A channel to "host:port" on which a bearer of the DNS name `expect` must answer.

    `expect` comes from `pyswarm.model.identity`: `role_name(role)` or `node_name(node_id)`.
    """
    return _channel(address, channel_credentials(credentials), expect, options)


def trusting_channel(
    address: str, trusted_pem: bytes, expect: str, options: Options = ()
) -> grpc.aio.Channel:
    """A channel without a certificate of our own, for the bootstrap listener only."""
    return _channel(address, trusting_credentials(trusted_pem), expect, options)


def _channel(
    address: str, credentials: grpc.ChannelCredentials, expect: str, options: Options
) -> grpc.aio.Channel:
    name = ("grpc.ssl_target_name_override", expect)
    return grpc.aio.secure_channel(address, credentials, options=[*_CLIENT_OPTIONS, name, *options])


def local_channel(path: str) -> grpc.aio.Channel:
    """A channel to the daemon on its unix socket; the file's mode decides who may connect."""
    if len(path.encode()) > UNIX_PATH_BYTES_MOST:
        raise InvalidArgument(
            f"the socket path {path} is longer than the {UNIX_PATH_BYTES_MOST} bytes "
            "that the kernel takes: choose a shorter one"
        )
    authority = ("grpc.default_authority", "localhost")
    options = [*_CLIENT_OPTIONS, NO_PROBES, authority]
    return grpc.aio.insecure_channel(f"unix:{path}", options=options)


class ChannelPool:
    """Channels by (address, expected name), each opened with the credentials of its day.

    Ask for the channel at each use: after a renewal `get` answers a new one, and the old one is
    closed `grace_seconds` later, when short calls have ended; a long stream must be opened again.
    """

    def __init__(
        self,
        provider: Provider,
        clock: Callable[[], float] = time.time,
        grace_seconds: float = 30.0,
        options: Options = (),
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._options = options
        self._open: dict[tuple[str, str], tuple[Credentials, grpc.aio.Channel]] = {}
        self._retired: set[grpc.aio.Channel] = set()
        self._supervisor = Supervisor("channels")

    def get(self, address: str, expect: str = MANAGER) -> grpc.aio.Channel:
        """The channel to `address`; `FailedPrecondition` where our certificate is not valid."""
        credentials = self._provider()
        credentials.check_time(self._clock())
        found = self._open.get((address, expect))
        if found is not None:
            if found[0] == credentials:
                return found[1]
            self._retire(found[1])
        channel = secure_channel(address, credentials, expect, self._options)
        self._open[address, expect] = (credentials, channel)
        return channel

    def drop(self, address: str) -> None:
        """Forget an address that is not a manager's any more."""
        for key in [key for key in self._open if key[0] == address]:
            self._retire(self._open.pop(key)[1])

    def _retire(self, channel: grpc.aio.Channel) -> None:
        self._retired.add(channel)
        self._supervisor.start(self._close_later(channel), "retire")

    async def _close_later(self, channel: grpc.aio.Channel) -> None:
        # Not `close(grace)`: that refuses new calls at once, and who holds a stub may make one.
        await asyncio.sleep(self._grace_seconds)
        self._retired.discard(channel)
        await channel.close(None)

    async def close(self) -> None:
        """Close every channel now."""
        await self._supervisor.close()
        channels = [*(channel for _, channel in self._open.values()), *self._retired]
        self._open.clear()
        self._retired.clear()
        for channel in channels:
            await channel.close(None)
