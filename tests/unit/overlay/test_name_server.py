"""The name server's socket after an error, on the loop of a daemon. All else is seen between
namespaces, in tests/netns."""

import asyncio
import socket
import struct

import uvloop

from overlay import dns
from overlay.server import NameServer

QUERY = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x03web\0" + struct.pack(">HH", 1, 1)


def bound(kind, port=0):
    made = socket.socket(socket.AF_INET, kind)
    made.setblocking(False)
    made.bind(("127.0.0.1", port))
    return made


def test_an_error_that_a_former_answer_met_does_not_end_a_containers_names():
    async def main():
        loop = asyncio.get_running_loop()
        udp, tcp = bound(socket.SOCK_DGRAM), bound(socket.SOCK_STREAM)
        tcp.listen()
        server = NameServer(["127.0.0.1"])
        await server.add("task", (), (udp, tcp), forwards=False)
        gone = bound(socket.SOCK_DGRAM)
        port = gone.getsockname()[1]
        gone.close()
        # Connected, the socket is told that nobody is there, and is in error until it is read.
        udp.connect(("127.0.0.1", port))
        udp.send(b"an answer")
        await asyncio.sleep(0.05)  # let the loop meet the error before there is a question
        back = bound(socket.SOCK_DGRAM, port)
        back.connect(udp.getsockname())
        await loop.sock_sendall(back, QUERY)
        async with asyncio.timeout(10):
            answer = await loop.sock_recv(back, dns.SIZE_MAX)
        assert answer[:2] == QUERY[:2]
        assert answer[3] & 15 == dns.NXDOMAIN
        back.close()
        await server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
