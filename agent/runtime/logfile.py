"""The output of a container on disk: lines of JSON as Docker's json-file writes them, rotated.

    output.log, output.log.1, ...   {"log": "text\\n", "stream": "stdout", "time": "...Z"}

The highest number is the newest, and no file is ever renamed: a reader that goes on from one file
to the next could otherwise miss one that is renamed at that moment.

A line that is too long is cut into entries without a line break at their end, as in Docker.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent.runtime.logplan import Rotation

FILE_NAME: Final = "output.log"
LINE_BYTES_MAX: Final = 16 * 1024
STREAMS: Final = ("stdout", "stderr")


class LineSplitter:
    """Cuts a stream of bytes into entries: whole lines, and pieces of lines too long."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The entries that are complete now."""
        self._rest += data
        entries: list[bytes] = []
        begin = 0
        while True:
            end = self._rest.find(b"\n", begin, begin + LINE_BYTES_MAX)
            if end >= 0:
                entries.append(bytes(self._rest[begin : end + 1]))
                begin = end + 1
            elif len(self._rest) - begin >= LINE_BYTES_MAX:
                cut = self._cut(begin)
                entries.append(bytes(self._rest[begin:cut]))
                begin = cut
            else:
                del self._rest[:begin]
                return entries

    def _cut(self, begin: int) -> int:
        """Where to cut, so that no character of UTF-8 falls in two."""
        cut = begin + LINE_BYTES_MAX
        for back in range(4):
            if cut - back >= len(self._rest) or self._rest[cut - back] & 0xC0 != 0x80:
                return cut - back
        return cut

    def end(self) -> bytes:
        """What came after the last line break."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest


class LogFile:
    """Writes one container's entries. Not for several threads at once."""

    def __init__(
        self, directory: Path, rotation: Rotation, attributes: Mapping[str, str] | None = None
    ) -> None:
        self._directory = directory
        self._rotation = rotation
        self._attributes = f',"attrs":{json.dumps(dict(attributes))}' if attributes else ""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._number = max(files(directory), default=0)
        self._open()

    def _open(self) -> None:
        path = file_path(self._directory, self._number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def write(self, stream: str, entries: list[bytes], now: float) -> None:
        """Append entries of one moment, `now` in seconds since the epoch; raises OSError."""
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        end = f',"stream":"{stream}"{self._attributes},"time":"{stamp}"}}\n'
        lines: list[bytes] = []
        for entry in entries:
            line = f'{{"log":{json.dumps(entry.decode(errors="replace"))}{end}'.encode()
            most = self._rotation.file_bytes
            if most and self._size and self._size + len(line) > most:
                self._put(lines)
                lines = []
                self._rotate()
            lines.append(line)
            self._size += len(line)
        self._put(lines)

    def _put(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _rotate(self) -> None:
        os.close(self._descriptor)
        self._number += 1
        self._open()
        for number in files(self._directory):
            if number <= self._number - self._rotation.files:
                file_path(self._directory, number).unlink()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class Nowhere:
    """For the log driver `none`: what is written is forgotten."""

    def write(self, stream: str, entries: list[bytes], now: float) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing is open."""


def file_path(directory: Path, number: int) -> Path:
    """The file of this number; the first has none in its name."""
    return directory / (f"{FILE_NAME}.{number}" if number else FILE_NAME)


def files(directory: Path) -> list[int]:
    """The numbers of a container's files, oldest first."""
    found = []
    for path in directory.glob(f"{FILE_NAME}*"):
        number = path.name.removeprefix(FILE_NAME).removeprefix(".") or "0"
        if number.isdecimal():
            found.append(int(number))
    return sorted(found)
