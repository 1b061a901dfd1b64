"""A load generator for a unary gRPC method on a unix socket: HTTP/2 frames, and nothing else.

A client of grpcio costs as much CPU as the server that it calls, so that on two cores a benchmark
with one measures its own clients. This one sends what such a client sends (RFC 9113; gRPC over
HTTP/2) for a tenth of the price. So does h2load, but that sends one and the same message for ever.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
FRAME_HEADER_BYTES: Final = 9
DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
FRAME_BYTES_MOST: Final = 16_384
DEADLINE_SECONDS: Final = 30.0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame as bytes."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header field that no table remembers (RFC 7541, 6.2.2), each part below 127 bytes."""
    parts = (name.encode(), value.encode())
    assert max(map(len, parts)) < 127, f"{name} or its value is too long"
    return b"\x00" + b"".join(bytes([len(part)]) + part for part in parts)


class LoadClient:
    """One connection with one call after the other; `calls` have been answered.

    `request` makes the bytes of the next one, 16 KiB at most.
    """

    def __init__(self, path: Path, method: str, request: Callable[[], bytes]) -> None:
        self.calls = 0
        self._request = request
        self._headers = b"".join(
            literal(name, value)
            for name, value in (
                (":method", "POST"),
                (":scheme", "http"),
                (":path", method),
                (":authority", "localhost"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("user-agent", "pyswarm-bench"),
            )
        )
        self._stream = -1
        self._window = DEFAULT_WINDOW
        self._answered = False
        self._received = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        more = struct.pack(">I", LARGEST_WINDOW - DEFAULT_WINDOW)
        self._socket.sendall(
            PREFACE + frame(SETTINGS, 0, 0, b"") + frame(WINDOW_UPDATE, 0, 0, more)
        )

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self) -> None:
        """Send the next call."""
        message = self._request()
        body = b"\x00" + struct.pack(">I", len(message)) + message
        assert len(body) <= FRAME_BYTES_MOST, f"{len(message)} bytes do not go into one frame"
        self._window -= len(body)
        assert self._window >= 0, "the server takes no more bytes: it lost count of ours"
        self._stream += 2
        self._answered = False
        self._socket.sendall(
            frame(HEADERS, END_HEADERS, self._stream, self._headers)
            + frame(DATA, END_STREAM, self._stream, body)
        )

    def take(self) -> bool:
        """Read what is there; whether the call is over. AssertionError where it failed."""
        self._received += (received := self._socket.recv(65536))
        assert received, "the server closed the connection"
        over = False
        data, at = self._received, 0
        while len(data) - at >= FRAME_HEADER_BYTES:
            end = at + FRAME_HEADER_BYTES + int.from_bytes(data[at : at + 3], "big")
            if len(data) < end:
                break
            over |= self._take_frame(data[at + 3], data[at + 4], data[at:end])
            at = end
        self._received = data[at:]
        return over

    def _take_frame(self, kind: int, flags: int, whole: bytes) -> bool:
        payload = whole[FRAME_HEADER_BYTES:]
        if kind == DATA:
            self._answered |= len(payload) > 0
        elif kind == HEADERS and flags & END_STREAM:
            # A call that fails has no message before its trailers.
            assert self._answered, f"the call failed: {payload!r}"
            self.calls += 1
            return True
        elif kind == WINDOW_UPDATE and whole[5:FRAME_HEADER_BYTES] == bytes(4):
            self._window += int.from_bytes(payload, "big")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        assert kind not in (RST_STREAM, GOAWAY), f"the server ends the call: {payload!r}"
        return False


def calls_per_second(
    path: Path, method: str, request: Callable[[], bytes], clients: int, seconds: float
) -> float:
    """The rate of clients that each wait for their last call, after half a second of warming up."""
    connections: list[LoadClient] = []
    try:
        connections += (LoadClient(path, method, request) for _ in range(clients))
        by_number = {each.fileno(): each for each in connections}
        poll = select.epoll()
        with poll:
            for number, each in by_number.items():
                poll.register(number, select.EPOLLIN)
                each.ask()
            _run(poll, by_number, 0.5)
            before = sum(each.calls for each in connections)
            begun = time.monotonic()
            _run(poll, by_number, seconds)
            return (sum(each.calls for each in connections) - before) / (time.monotonic() - begun)
    finally:
        for each in connections:
            each.close()


def _run(poll: select.epoll, clients: dict[int, LoadClient], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ready = poll.poll(DEADLINE_SECONDS)
        assert ready, f"no answer within {DEADLINE_SECONDS:.0f} s"
        for number, _ in ready:
            if clients[number].take():
                clients[number].ask()
