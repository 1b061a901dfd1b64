"""Writes into the host's journal, in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

One datagram is one entry: `NAME=value` lines, or where the value has a line break the name on a
line, the length in 64 bits, little endian, and the value.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.runtime.logfile import STREAMS, LogFile
from pyswarm.errors import FailedPrecondition

log = logging.getLogger(__name__)

SOCKET: Final = Path("/run/systemd/journal/socket")
# syslog(3): informational for standard output, error for standard error, as Docker.
PRIORITIES: Final = {STREAMS[0]: "6", STREAMS[1]: "3"}
_LENGTH: Final = struct.Struct("<Q")


def encode(fields: Mapping[str, bytes]) -> bytes:
    """One entry."""
    parts = []
    for name, value in fields.items():
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + _LENGTH.pack(len(value)) + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts)


def _connected(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        # A journal that hangs must not hold up the output of every container.
        made.setblocking(False)
        made.connect(os.fspath(path))
    except OSError:
        made.close()
        raise
    return made


def require(path: Path) -> None:
    """Raises FailedPrecondition where this node has no journal."""
    try:
        _connected(path).close()
    except OSError as error:
        raise FailedPrecondition(
            f"the service has the log driver journald, and this node has no journal at {path}: "
            f"{os.strerror(error.errno or 0)}"
        ) from None


class JournalFile:
    """One container's entries in the journal; and in files, so that `service logs` reads them."""

    def __init__(self, file: LogFile, path: Path, fields: Mapping[str, str]) -> None:
        self._file = file
        self._path = path
        self._fields = {name: value.encode() for name, value in fields.items()}
        self._socket: socket.socket | None = None
        self._lost = False

    def write(self, stream: str, entries: list[bytes], now: float) -> None:
        """Append entries of one moment; raises OSError of the files."""
        for entry in entries:
            self._send(stream, entry)
        self._file.write(stream, entries, now)

    def _send(self, stream: str, entry: bytes) -> None:
        more = {} if entry.endswith(b"\n") else {"CONTAINER_PARTIAL_MESSAGE": b"true"}
        fields = {
            "MESSAGE": entry.removesuffix(b"\n"),
            "PRIORITY": PRIORITIES[stream].encode(),
            **self._fields,
            **more,
        }
        for attempt in (1, 2):
            try:
                if self._socket is None:
                    self._socket = _connected(self._path)
                self._socket.send(encode(fields))
                self._lost = False
                return
            except BlockingIOError as error:
                self._say(error)
                return
            except OSError as error:
                # A journal that was started again has a new socket.
                self._disconnect()
                if attempt == 2:
                    self._say(error)

    def _say(self, error: OSError) -> None:
        if not self._lost:
            log.warning("the journal at %s takes no entries: %s", self._path, error)
        self._lost = True

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def close(self) -> None:
        """Close files and socket."""
        self._disconnect()
        self._file.close()
