"""The name servers in the containers: sockets of their namespaces, served by the one loop.

Inside names are answered at once from the zones of the container's networks. Outside names go to
the host's own name servers, from the host's namespace; a container that only knows internal
networks gets NXDOMAIN for them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from overlay import dns
from overlay.dns import Query
from overlay.zone import Zone, look_up, point
from pyswarm.aio import Supervisor

log = logging.getLogger(__name__)

FORWARDED_MAX: Final = 256
CONNECTIONS_MAX: Final = 32
"""TCP connections of one container."""
SERVER_SECONDS: Final = 4.0
"""For each of the outside name servers, as in Docker."""
IDLE_SECONDS: Final = 10.0
_DATAGRAM_BYTES: Final = 4096
_BURST: Final = 32
"""Queries of one container served before others get their turn."""
_DNS_PORT: Final = 53
RESOLV_CONF: Final = Path("/etc/resolv.conf")


def make_sockets() -> list[socket.socket]:
    """The UDP and the TCP socket of a container; called inside its namespace."""
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


@dataclass(slots=True)
class _Client:
    """A container; `serving` is False until all of its zones are known, and its queries wait in
    the socket until then."""

    network_ids: tuple[str, ...]
    forwards: bool
    udp: socket.socket
    tcp: socket.socket
    serving: bool = False
    listener: asyncio.Server | None = None
    connections: set[asyncio.StreamWriter] = field(default_factory=set)


class NameServer:
    """Serves every container of this node; `servers` None: those of the host's resolv.conf."""

    def __init__(self, servers: Sequence[str] | None) -> None:
        self._fixed = None if servers is None else tuple(servers)
        self._read: tuple[float, tuple[str, ...]] = (0.0, ())
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
    ) -> None:
        """Serve a container, whose networks are searched in the given order."""
        await self.remove(task_id)
        udp, tcp = sockets
        self._clients[task_id] = _Client(tuple(network_ids), forwards, udp, tcp)
        await self._serve_ready()

    def serves(self, task_id: str) -> bool:
        """Whether the container has sockets."""
        return task_id in self._clients

    async def remove(self, task_id: str) -> None:
        """Close the container's sockets."""
        client = self._clients.pop(task_id, None)
        if client is None:
            return
        if client.serving:
            asyncio.get_running_loop().remove_reader(client.udp.fileno())
        client.udp.close()
        if client.listener:
            client.listener.close()
        client.tcp.close()
        for writer in list(client.connections):
            writer.close()

    async def swap(self, zones: dict[str, Zone]) -> None:
        """Answer from these zones, by network id, from now on."""
        self._zones = zones
        await self._serve_ready()

    async def _serve_ready(self) -> None:
        loop = asyncio.get_running_loop()
        for client in list(self._clients.values()):
            if client.serving or not self._zones.keys() >= set(client.network_ids):
                continue
            client.serving = True
            loop.add_reader(client.udp.fileno(), self._datagrams, client)
            serve = partial(self._connection, client)
            client.listener = await asyncio.start_server(serve, sock=client.tcp)

    # ---- answers ----

    def _answer(self, client: _Client, query: Query, limit: int) -> bytes | None:
        """The answer, or None where the question belongs outside."""
        if query.error:
            return dns.answer_error(query, query.error)
        zones = [self._zones[key] for key in client.network_ids if key in self._zones]
        found = look_up(zones, query.name)
        if found is not None:
            addresses = list(found.addresses)
            random.shuffle(addresses)
            return dns.answer_addresses(query, addresses, found.ttl_seconds, limit)
        if query.type == dns.TYPE_PTR and (name := point(zones, query.name)):
            return dns.answer_pointer(query, name, 5, limit)
        return None if client.forwards else dns.answer_error(query, dns.NXDOMAIN)

    def _datagrams(self, client: _Client) -> None:
        for _ in range(_BURST):
            try:
                data, address = client.udp.recvfrom(_DATAGRAM_BYTES)
            except OSError:  # nothing more, or an error that a former answer met
                return
            query = dns.parse(data)
            if query is None:
                continue
            answer = self._answer(client, query, query.size)
            if answer is not None:
                _send(client.udp, answer, address)
            elif self._forwarded >= FORWARDED_MAX:
                _send(client.udp, dns.answer_error(query, dns.SERVFAIL), address)
            else:
                self._forwarded += 1
                work = self._forward_datagram(client, query, data, address)
                self._supervisor.start(work, "forward").add_done_callback(self._forward_ended)

    def _forward_ended(self, _: asyncio.Task[None]) -> None:
        self._forwarded -= 1

    async def _forward_datagram(
        self, client: _Client, query: Query, data: bytes, address: tuple[str, int]
    ) -> None:
        answer = await self._ask_outside(query, data, _ask_datagram)
        if client.udp.fileno() >= 0:
            _send(client.udp, answer, address)

    async def _connection(
        self, client: _Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(client.connections) >= CONNECTIONS_MAX:
            writer.close()
            return
        client.connections.add(writer)
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                while True:
                    async with asyncio.timeout(IDLE_SECONDS):
                        data = await _read_message(reader)
                    answer = await self._answer_stream(client, data)
                    if answer is None:
                        return
                    writer.write(struct.pack(">H", len(answer)) + answer)
                    async with asyncio.timeout(IDLE_SECONDS):
                        await writer.drain()
        finally:
            client.connections.discard(writer)
            writer.close()

    async def _answer_stream(self, client: _Client, data: bytes) -> bytes | None:
        query = dns.parse(data)
        if query is None:
            return None
        answer = self._answer(client, query, dns.SIZE_TCP)
        if answer is not None:
            return answer
        if self._forwarded >= FORWARDED_MAX:
            return dns.answer_error(query, dns.SERVFAIL)
        self._forwarded += 1
        try:
            return await self._ask_outside(query, data, _ask_stream)
        finally:
            self._forwarded -= 1

    # ---- outside ----

    def _servers(self) -> tuple[str, ...]:
        if self._fixed is not None:
            return self._fixed
        try:
            changed = RESOLV_CONF.stat().st_mtime
            if changed != self._read[0]:
                text = RESOLV_CONF.read_text(errors="replace")
                self._read = (changed, dns.nameservers(text))
        except OSError:
            return ()
        return self._read[1]

    async def _ask_outside(self, query: Query, data: bytes, ask: _Ask) -> bytes:
        for server in self._servers():
            ident = random.getrandbits(16)
            try:
                async with asyncio.timeout(SERVER_SECONDS):
                    answer = await ask(server, query, dns.with_id(data, ident), ident)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
            return dns.with_id(answer, query.id)
        return dns.answer_error(query, dns.SERVFAIL)


def _send(udp: socket.socket, answer: bytes, address: tuple[str, int]) -> None:
    # A full socket loses the answer like any network would, and the resolver asks again.
    with suppress(OSError):
        udp.sendto(answer, address)


_Ask = Callable[[str, Query, bytes, int], Coroutine[Any, Any, bytes]]


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">H", await reader.readexactly(2))
    return await reader.readexactly(length)


async def _ask_datagram(server: str, query: Query, data: bytes, ident: int) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as outside:
        outside.setblocking(False)
        outside.connect((server, _DNS_PORT))
        await loop.sock_sendall(outside, data)
        while True:
            answer = await loop.sock_recv(outside, dns.SIZE_TCP)
            if dns.is_answer(query, answer, ident):
                return answer


async def _ask_stream(server: str, query: Query, data: bytes, ident: int) -> bytes:
    reader, writer = await asyncio.open_connection(server, _DNS_PORT)
    try:
        writer.write(struct.pack(">H", len(data)) + data)
        await writer.drain()
        while True:
            answer = await _read_message(reader)
            if dns.is_answer(query, answer, ident):
                return answer
    finally:
        writer.close()
