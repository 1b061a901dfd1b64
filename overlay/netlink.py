"""Network namespaces and netlink sockets in them, by plain threads: nothing forks.

A thread can change its network namespace without the others noticing, and a socket stays in the
namespace where it was made. One worker thread does all kernel work of the overlay, so batches
never mix, and it returns to the host's namespace after each visit. (Python 3.11 has no os.setns.)
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from overlay.messages import HEADER, NLM_ACK, NLM_REQUEST, Message
from pyswarm.errors import Unavailable

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 4096
_MNT_DETACH: Final = 2
_NETLINK_ROUTE: Final = 0
_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_EXTENDED_ACK: Final = 11
_ERROR: Final = 2
_DONE: Final = 3
_ACK_TLVS: Final = 0x200
_BATCH: Final = 64
"""Messages in one call; more acknowledgements than that may not fit into the socket's buffer."""
_REPLY_SECONDS: Final = 30.0

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def own_namespace() -> int:
    """A descriptor of the calling thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def set_namespace(descriptor: int) -> None:
    """Move the calling thread, and only it (setns(2)); raises OSError."""
    _check(_libc.setns(descriptor, _CLONE_NEWNET), "setns")


@contextmanager
def visit(descriptor: int) -> Iterator[None]:
    """Be in the namespace behind `descriptor`, then back; for the worker thread only."""
    home = own_namespace()
    try:
        set_namespace(descriptor)
        try:
            yield
        finally:
            set_namespace(home)
    finally:
        os.close(home)


def make_namespace(path: Path) -> None:
    """Make a network namespace and keep it at `path`, a file that is made; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o444))
    home = own_namespace()
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        try:
            source = b"/proc/thread-self/ns/net"
            result = _libc.mount(source, os.fsencode(path), b"", ctypes.c_ulong(_MS_BIND), None)
            _check(result, f"mount {path}")
        finally:
            set_namespace(home)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(home)


def is_namespace(path: Path) -> bool:
    """Whether a namespace is mounted at `path`; an empty file is left where a machine crashed."""
    with suppress(FileNotFoundError):
        return path.stat().st_dev != path.parent.stat().st_dev
    return False


def drop_namespace(path: Path) -> None:
    """Let go of the namespace at `path`; it ends with its last process and socket."""
    with suppress(FileNotFoundError):
        while is_namespace(path):
            _check(_libc.umount2(os.fsencode(path), _MNT_DETACH), f"umount {path}")
        path.unlink()


def open_namespace(path: Path) -> int:
    """A descriptor of the namespace at `path`; raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def sysctl(name: str, value: str) -> None:
    """Set net.`name`, slashes between its parts, in the namespace of the calling thread."""
    with open(f"/proc/sys/net/{name}", "w") as file:
        file.write(value)


def read_sysctl(name: str) -> str:
    """The value of net.`name`."""
    with open(f"/proc/sys/net/{name}") as file:
        return file.read().strip()


class Channel:
    """A netlink socket in the namespace where the channel was made."""

    def __init__(self, protocol: int = _NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._socket.bind((0, 0))
        self._socket.settimeout(_REPLY_SECONDS)
        self._socket.setsockopt(_SOL_NETLINK, _EXTENDED_ACK, 1)
        self._sequence = 0

    @classmethod
    def of_conntrack(cls) -> Channel:
        """A channel to connection tracking."""
        return cls(_NETLINK_NETFILTER)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, messages: Sequence[Message]) -> None:
        """Perform all messages in order; raises Unavailable with the first that failed, after
        all were tried, since the kernel goes on after an error too."""
        failures: list[str] = []
        for start in range(0, len(messages), _BATCH):
            failures += self._send(messages[start : start + _BATCH])
        if failures:
            raise Unavailable(f"the kernel refused to {failures[0]}")

    def _send(self, messages: Sequence[Message]) -> list[str]:
        first = self._sequence + 1
        self._sequence += len(messages)
        parts = []
        for place, message in enumerate(messages):
            flags = NLM_REQUEST | NLM_ACK | message.flags
            head = HEADER.pack(16 + len(message.body), message.kind, flags, first + place, 0)
            parts += [head, message.body]
        self._socket.send(b"".join(parts))
        waiting = set(range(first, first + len(messages)))
        failures = []
        while waiting:
            for kind, flags, sequence, body in self._receive():
                if kind != _ERROR or sequence not in waiting:
                    continue
                waiting.discard(sequence)
                number = -struct.unpack_from("=i", body)[0]
                message = messages[sequence - first]
                if number and number not in message.tolerate:
                    reason = _reason(body, flags) or os.strerror(number)
                    failures.append(f"{message.what}: {reason}")
        return failures

    def ask(self, message: Message) -> list[bytes]:
        """The bodies of everything that the kernel answers; raises Unavailable."""
        self._sequence += 1
        flags = NLM_REQUEST | message.flags
        size = 16 + len(message.body)
        self._socket.send(HEADER.pack(size, message.kind, flags, self._sequence, 0) + message.body)
        found: list[bytes] = []
        while True:
            for kind, _, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    if number == 0:
                        return found
                    reason = os.strerror(number)
                    raise Unavailable(f"the kernel refused to {message.what}: {reason}")
                found.append(body)

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        try:
            data = self._socket.recv(1 << 17)
        except TimeoutError:
            raise Unavailable("the kernel did not answer a netlink request") from None
        place = 0
        while place + 16 <= len(data):
            length, kind, flags, sequence, _ = HEADER.unpack_from(data, place)
            yield kind, flags, sequence, data[place + 16 : place + length]
            place += (length + 3) & ~3


def _reason(body: bytes, flags: int) -> str:
    """The kernel's own words in an extended acknowledgement, if it has some."""
    if not flags & _ACK_TLVS:
        return ""
    request_length = struct.unpack_from("=I", body, 4)[0]
    place = 4 + (16 if flags & 0x100 else request_length)
    while place + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, place)
        if length < 4:
            break
        if kind == 1:
            return body[place + 4 : place + length].rstrip(b"\0").decode(errors="replace")
        place += (length + 3) & ~3
    return ""
