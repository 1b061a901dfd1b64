"""The kernel calls that Python 3.11 lacks: unshare, setns, mount; and a visit to a namespace."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
HOST_NAMESPACES = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
)

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones (unshare(2)); raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); raises OSError that names the target."""
    arguments = (text.encode() for text in (source, target, kind))
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def enter_network(path: str) -> None:
    """Move the calling thread, and only it, into the network namespace at `path` (setns(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, CLONE_NEWNET), f"setns {path}")
    finally:
        os.close(descriptor)


def in_network(path: str, call: Callable[[], T]) -> T:
    """The result of `call`, run by a thread of its own inside the network namespace at `path`.

    A thread may change its network namespace without the others noticing, and ends afterwards,
    so no way back is needed. A socket stays in the namespace in which it was made.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def visit() -> None:
        try:
            enter_network(path)
            results.append(call())
        except BaseException as failure:  # it is raised again, in the caller's thread
            failures.append(failure)

    thread = threading.Thread(target=visit, name="netns-visit")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
