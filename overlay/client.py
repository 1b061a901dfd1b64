"""Asks the outside name servers, from the host's namespace, as a container's resolver would.

The servers are asked one after the other, since the order in a resolv.conf is a preference. Each
question has a port and an id of its own, and only a message from the server's address with this id
and this question counts as its answer (RFC 5452, section 9).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from overlay import dns
from overlay.dns import Query

SERVER_SECONDS: Final = 2.0
"""For each server. A resolver asks again after five, when all three may have been tried."""
RESOLV_CONF: Final = Path("/etc/resolv.conf")

Ask = Callable[[str, Query, bytes, int], Coroutine[Any, Any, bytes]]


class Outside:
    """`servers` None: those of the host's resolv.conf, which is read again when it changes.
    `port` is another than 53 in tests only."""

    def __init__(self, servers: Sequence[str] | None, port: int = 53) -> None:
        self._fixed = None if servers is None else tuple(servers)
        self._port = port
        self._read: tuple[float, tuple[str, ...]] = (0.0, ())

    async def by_datagram(self, query: Query, data: bytes, own: Sequence[str] = ()) -> bytes:
        """The answer to `data`, which was parsed into `query`, as one datagram for its asker;
        `own` servers go instead of the host's. It says SERVFAIL where nobody answers."""
        return dns.shortened(query, await self._ask(query, data, own, self._ask_datagram))

    async def by_stream(self, query: Query, data: bytes, own: Sequence[str] = ()) -> bytes:
        """The same over TCP, where an answer may have up to 65535 bytes."""
        return await self._ask(query, data, own, self._ask_stream)

    async def _ask(self, query: Query, data: bytes, own: Sequence[str], ask: Ask) -> bytes:
        refusal = dns.answer_error(query, dns.SERVFAIL)
        for server in own or self._servers():
            ident = secrets.randbits(16)
            try:
                async with asyncio.timeout(SERVER_SECONDS):
                    answer = await ask(server, query, dns.with_id(data, ident), ident)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
            answer = dns.with_id(answer, query.id)
            if dns.code(answer) not in (dns.SERVFAIL, dns.REFUSED):
                return answer
            refusal = answer
        return refusal

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

    async def _ask_datagram(self, server: str, query: Query, data: bytes, ident: int) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as outside:
            outside.setblocking(False)
            outside.connect((server, self._port))
            await loop.sock_sendall(outside, data)
            while True:
                answer = await loop.sock_recv(outside, dns.SIZE_TCP)
                if dns.is_answer(query, answer, ident):
                    return answer

    async def _ask_stream(self, server: str, query: Query, data: bytes, ident: int) -> bytes:
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(struct.pack(">H", len(data)) + data)
            await writer.drain()
            while True:
                answer = await read_message(reader)
                if dns.is_answer(query, answer, ident):
                    return answer
        finally:
            writer.close()


async def read_message(reader: asyncio.StreamReader, limit: int = dns.SIZE_TCP) -> bytes:
    """The next message of a stream (RFC 1035, section 4.2.2); raises IncompleteReadError at its
    end, and also for a message of more than `limit` bytes."""
    (length,) = struct.unpack(">H", await reader.readexactly(2))
    if length > limit:
        raise asyncio.IncompleteReadError(b"", length)
    return await reader.readexactly(length)
