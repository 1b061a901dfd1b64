"""A forwarder in user space, from ports of 127.0.0.1 into the lab: `lab up --publish 8080:80`.

The root namespace has no route into the lab and gets none. The forwarder listens there and makes
its outgoing sockets in the hub's namespace; connections go to the hosts in turn, and to the next
one when a host does not accept within a second.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from pyswarm.errors import FailedPrecondition
from pyswarm.lab import cgroups, host, process
from pyswarm.lab.layout import HUB, Layout, load
from pyswarm.lab.syscalls import enter_network

MEMBER = "publish"  # the name of its cgroup and of its files in the lab's directory
CONNECT_SECONDS = 1.0
CONNECTIONS_MAX = 512
CHUNK_BYTES = 65536


def accepts(address: str, port: int) -> bool:
    """Whether a TCP connection to this address succeeds, from where the thread is."""
    try:
        with socket.create_connection((address, port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


def listen(ports: tuple[tuple[int, int], ...]) -> list[socket.socket]:
    """Listening sockets for the outer ports; FailedPrecondition names a port that is taken."""
    found: list[socket.socket] = []
    for outer, _ in ports:
        try:
            found.append(socket.create_server(("127.0.0.1", outer), backlog=128))
        except OSError as failure:
            for earlier in found:
                earlier.close()
            raise FailedPrecondition(
                f"port {outer} of 127.0.0.1 cannot be published: {failure.strerror}"
            ) from None
    return found


def start(layout: Layout, listeners: list[socket.socket]) -> None:
    """Start the forwarder in the background with these listening sockets."""
    if not listeners:
        return
    cgroups.create(layout.name, MEMBER)
    descriptors = [listener.fileno() for listener in listeners]
    argument = json.dumps(descriptors)
    with (layout.state / "publish.log").open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "pyswarm.lab.publish", layout.name, argument],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=descriptors,
            start_new_session=True,
        )
    process.identify(started.pid).save(layout.state / "publish.json")


class Forwarder:
    """The forwarder's process: one TCP connection in, one out, bytes between them."""

    def __init__(self, layout: Layout) -> None:
        self._addresses: Iterator[str] = itertools.cycle([each.address for each in layout.hosts])
        self._tries = len(layout.hosts)
        hub = host.running(layout, HUB).namespace("net")
        self._inside = ThreadPoolExecutor(1, initializer=enter_network, initargs=(hub,))
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)

    async def serve(self, listener: socket.socket, port: int) -> None:
        """Forward what arrives at `listener` to `port` of a host, for ever."""

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with self._slots:
                try:
                    await self._forward(reader, writer, port)
                except OSError:
                    pass  # one side reset the connection, which closing passes on
                finally:
                    writer.close()

        server = await asyncio.start_server(accepted, sock=listener)
        await server.serve_forever()

    async def _connect(self, port: int) -> socket.socket:
        loop = asyncio.get_running_loop()
        for _ in range(self._tries):
            outgoing = await loop.run_in_executor(self._inside, socket.socket)
            outgoing.setblocking(False)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await loop.sock_connect(outgoing, (next(self._addresses), port))
            except OSError:  # TimeoutError is one: the host is off or does not listen
                outgoing.close()
                continue
            return outgoing
        raise ConnectionRefusedError(f"no host of the lab accepts connections at port {port}")

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(sock=await self._connect(port))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, inner_writer))
                group.create_task(_copy(inner_reader, writer))
        except* OSError:
            pass
        finally:
            inner_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def main(name: str, descriptors: list[int]) -> None:
    """Forward for the lab `name`; the listening sockets are inherited, in the lab's order."""
    layout = load(name)
    cgroups.enter(name, MEMBER)
    forwarder = Forwarder(layout)
    async with asyncio.TaskGroup() as group:
        for descriptor, (_, inner) in zip(descriptors, layout.publish, strict=True):
            group.create_task(forwarder.serve(socket.socket(fileno=descriptor), inner))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
