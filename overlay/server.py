"""The name servers in the containers: sockets of their namespaces, served by the one loop.

A container's resolv.conf names 127.0.0.11. Packets to its port 53 are rewritten to our port inside
the container's namespace, where our two sockets are; no connection tracking, no process:

    resolver -> 127.0.0.11:53 -nft-> :40053 -> zones of the container's networks -> answer
                                                `-> outside name servers, from the host

Inside names are answered at once from the zones, which are swapped as a whole. Outside names go to
the host's own name servers, from the host's namespace; a container that only knows internal
networks gets NXDOMAIN for them. After a restart of the daemon new sockets are made in the same
namespace: the old ones ended with their process, and the rewriting has stayed.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from overlay import dns
from overlay.client import Outside, read_message
from overlay.dns import Query
from overlay.zone import Zone, look_up, point
from pyswarm.aio import Supervisor

FORWARDED_MAX: Final = 1024
FORWARDED_CLIENT_MAX: Final = 256
"""Outside questions under way, of all containers and of one, which shall not starve the others."""
CONNECTIONS_MAX: Final = 32
"""TCP connections of one container."""
IDLE_SECONDS: Final = 5.0
ACCEPT_PAUSE_SECONDS: Final = 1.0
POINTER_TTL_SECONDS: Final = 5
_BURST: Final = 32
"""Queries of one container served before others get their turn."""


def make_sockets() -> list[socket.socket]:
    """The UDP and the TCP socket of a container; called inside its namespace, whose loopback is
    up. Raises OSError."""
    made: list[socket.socket] = []
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            made.append(one := socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC))
            one.setblocking(False)
            if kind == socket.SOCK_STREAM:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((dns.SERVER_ADDRESS, dns.SERVER_PORT))
        made[1].listen(64)
    except BaseException:
        for one in made:
            one.close()
        raise
    return made


@dataclass(slots=True, kw_only=True)
class _Client:
    """A container; `serving` is False until all of its zones are known, and its queries wait in
    the socket until then."""

    network_ids: tuple[str, ...]
    forwards: bool
    nameservers: tuple[str, ...]
    udp: socket.socket
    tcp: socket.socket
    serving: bool = False
    forwarded: int = 0
    connections: set[asyncio.Task[None]] = field(default_factory=set)


class NameServer:
    """Serves every container of this node; `servers` None: those of the host's resolv.conf."""

    def __init__(self, servers: Sequence[str] | None, *, server_port: int = 53) -> None:
        self._outside = Outside(servers, server_port)
        self._zones: dict[str, Zone] = {}
        self._clients: dict[str, _Client] = {}
        self._supervisor = Supervisor("dns")
        self._forwarded = 0

    async def close(self) -> None:
        """Close every socket."""
        for task_id in sorted(self._clients):
            await self.remove(task_id)
        await self._supervisor.close()

    async def add(
        self,
        task_id: str,
        network_ids: Sequence[str],
        sockets: Sequence[socket.socket],
        *,
        forwards: bool,
        nameservers: Sequence[str] = (),
    ) -> None:
        """Serve a container by the sockets that `make_sockets` made in it, which are ours from
        now on. Its networks are searched in the given order; `nameservers` are its own outside
        ones instead of the host's, as bare IPv4 addresses."""
        await self.remove(task_id)
        udp, tcp = sockets
        self._clients[task_id] = _Client(
            network_ids=tuple(network_ids),
            forwards=forwards,
            nameservers=tuple(nameservers),
            udp=udp,
            tcp=tcp,
        )
        self._serve_ready()

    def serves(self, task_id: str) -> bool:
        """Whether the container has sockets."""
        return task_id in self._clients

    async def remove(self, task_id: str) -> None:
        """Close the container's sockets; nothing happens if it has none."""
        client = self._clients.pop(task_id, None)
        if client is None:
            return
        loop = asyncio.get_running_loop()
        for one in (client.udp, client.tcp):
            loop.remove_reader(one.fileno())
            one.close()
        for connection in client.connections:
            connection.cancel()

    async def swap(self, zones: dict[str, Zone]) -> None:
        """Answer from these zones, by network id, from now on."""
        self._zones = zones
        self._serve_ready()

    def _serve_ready(self) -> None:
        for client in self._clients.values():
            if client.serving or not self._zones.keys() >= set(client.network_ids):
                continue
            client.serving = True
            self._hear(client)
            self._listen(client)

    # ---- answers ----

    def _answer(self, client: _Client, query: Query, limit: int) -> bytes | None:
        """The answer, or None where the question belongs outside."""
        if query.error:
            return dns.answer_error(query, query.error)
        zones = [self._zones[key] for key in client.network_ids if key in self._zones]
        found = look_up(zones, query.name)
        if found is not None:
            addresses = list(found.addresses)
            if len(addresses) > 1:
                random.shuffle(addresses)
            return dns.answer_addresses(query, addresses, found.ttl_seconds, limit)
        if query.type == dns.TYPE_PTR and (name := point(zones, query.name)):
            return dns.answer_pointer(query, name, POINTER_TTL_SECONDS, limit)
        return None if client.forwards else dns.answer_error(query, dns.NXDOMAIN)

    async def _forward(
        self,
        client: _Client,
        query: Query,
        data: bytes,
        ask: Callable[[Query, bytes, Sequence[str]], Coroutine[Any, Any, bytes]],
    ) -> bytes:
        if client.forwarded >= FORWARDED_CLIENT_MAX or self._forwarded >= FORWARDED_MAX:
            return dns.answer_error(query, dns.SERVFAIL)
        client.forwarded += 1
        self._forwarded += 1
        try:
            return await ask(query, data, client.nameservers)
        finally:
            client.forwarded -= 1
            self._forwarded -= 1

    # ---- datagrams ----

    def _hear(self, client: _Client) -> None:
        if client.udp.fileno() >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(client.udp.fileno())
            loop.add_reader(client.udp.fileno(), self._datagrams, client)

    def _datagrams(self, client: _Client) -> None:
        for _ in range(_BURST):
            try:
                data, address = client.udp.recvfrom(dns.SIZE_MAX)
            except BlockingIOError:
                return
            except OSError:  # that a former answer met; libuv hears such a socket no more
                asyncio.get_running_loop().call_soon(self._hear, client)
                return
            query = dns.parse(data)
            if query is None:
                continue
            answer = self._answer(client, query, query.size)
            if answer is not None:
                _send(client.udp, answer, address)
            else:
                work = self._forward_datagram(client, query, data, address)
                self._supervisor.start(work, "forward")

    async def _forward_datagram(
        self, client: _Client, query: Query, data: bytes, address: tuple[str, int]
    ) -> None:
        answer = await self._forward(client, query, data, self._outside.by_datagram)
        if client.udp.fileno() >= 0:
            _send(client.udp, answer, address)

    # ---- streams ----

    def _listen(self, client: _Client) -> None:
        if client.tcp.fileno() >= 0:
            loop = asyncio.get_running_loop()
            loop.add_reader(client.tcp.fileno(), self._accept, client)

    def _accept(self, client: _Client) -> None:
        try:
            connection, _ = client.tcp.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:
            # No descriptor is left. The connection stays where it is, so the loop would call
            # again at once and do nothing else.
            loop = asyncio.get_running_loop()
            loop.remove_reader(client.tcp.fileno())
            loop.call_later(ACCEPT_PAUSE_SECONDS, self._listen, client)
            return
        if len(client.connections) >= CONNECTIONS_MAX:
            connection.close()
            return
        connection.setblocking(False)
        task = self._supervisor.start(self._connection(client, connection), "stream")
        client.connections.add(task)
        task.add_done_callback(client.connections.discard)

    async def _connection(self, client: _Client, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        # Nothing is buffered beyond the kernel, so that an asker who does not read is cut off.
        writer.transport.set_write_buffer_limits(0)
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                while True:
                    async with asyncio.timeout(IDLE_SECONDS):
                        data = await read_message(reader, dns.SIZE_MAX)
                    query = dns.parse(data)
                    if query is None:
                        return
                    answer = self._answer(client, query, dns.SIZE_TCP)
                    if answer is None:
                        answer = await self._forward(client, query, data, self._outside.by_stream)
                    writer.write(struct.pack(">H", len(answer)) + answer)
                    async with asyncio.timeout(IDLE_SECONDS):
                        await writer.drain()
        finally:
            writer.transport.abort()


def _send(udp: socket.socket, answer: bytes, address: tuple[str, int]) -> None:
    # A full socket loses the answer like any network would, and the resolver asks again.
    with suppress(OSError):
        udp.sendto(answer, address)
