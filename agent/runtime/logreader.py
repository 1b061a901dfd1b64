"""Reads a container's log files, also while they grow and are rotated."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from agent.executor.containers import OutputLine
from agent.runtime.collector import Collector
from agent.runtime.logfile import STREAMS, file_path, files

READ_BYTES: Final = 256 * 1024
JOINED_BYTES_MAX: Final = 256 * 1024
"""Pieces of one line are put together up to this size."""
POLL_SECONDS: Final = 1.0


class Joiner:
    """Entries to lines: pieces of one line are put together, one line break is taken away."""

    def __init__(self) -> None:
        self._parts: dict[str, bytes] = {}
        self._last = 0.0

    def feed(self, raw: bytes) -> OutputLine | None:
        """The line that this entry completes, if it does. A damaged entry is left out: a power
        cut may have torn it."""
        entry = _entry(raw)
        if entry is None:
            return None
        stream, data, timestamp = entry
        data = self._parts.pop(stream, b"") + data
        if not data.endswith(b"\n") and len(data) < JOINED_BYTES_MAX:
            self._parts[stream] = data
            self._last = timestamp
            return None
        return _line(timestamp, stream, data.removesuffix(b"\n"))

    def end(self) -> list[OutputLine]:
        """What came after the last line breaks."""
        rest = [_line(self._last, name, data) for name, data in sorted(self._parts.items())]
        self._parts.clear()
        return rest


def _entry(raw: bytes) -> tuple[str, bytes, float] | None:
    """Stream, text and time of an entry; None where it is damaged."""
    try:
        entry = json.loads(raw)
        stream, data = str(entry["stream"]), str(entry["log"]).encode()
        return stream, data, datetime.fromisoformat(entry["time"]).timestamp()
    except (ValueError, LookupError, TypeError):
        return None


def _line(timestamp: float, stream: str, data: bytes) -> OutputLine:
    return OutputLine(timestamp=timestamp, stderr=stream == STREAMS[1], data=data)


class _Tail:
    """The files of one container as one file that grows."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: BinaryIO | None = None
        self._number = -1
        self._rest = b""

    def read(self) -> list[bytes]:
        """The next entries; none where there are no more for now."""
        while True:
            # In this order: once there is a newer file, nothing more is written into this one.
            newer = [number for number in files(self._directory) if number > self._number]
            data = self._file.read(READ_BYTES) if self._file is not None else b""
            if data:
                *lines, self._rest = (self._rest + data).split(b"\n")
                if lines:
                    return lines
            elif not newer:
                return []
            else:
                self._open(newer[0])

    def _open(self, number: int) -> None:
        self.close()
        self._file, self._number, self._rest = None, number, b""
        with suppress(FileNotFoundError):  # rotated away meanwhile: a newer one is there
            self._file = file_path(self._directory, number).open("rb")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _last(tail: _Tail, count: int, until: float) -> list[bytes]:
    """The last `count` entries of times up to `until`."""
    kept: deque[bytes] = deque(maxlen=count)
    while lines := tail.read():
        kept.extend(raw for raw in lines if not until or _is_until(raw, until))
    return list(kept)


def _is_until(raw: bytes, until: float) -> bool:
    entry = _entry(raw)
    return entry is not None and entry[2] <= until


async def read(
    collector: Collector,
    container_id: str,
    *,
    follow: bool,
    last: int,
    since: float,
    until: float = 0.0,
) -> AsyncIterator[OutputLine | None]:
    """A container's lines of times in [since, until] (0: without end): the last `last` (-1: all),
    then one None, which says that what follows is new, then what comes."""
    tail, joiner = _Tail(collector.directory(container_id)), Joiner()
    event = collector.follow(container_id)
    is_new = False

    def wanted(line: OutputLine | None) -> bool:
        return line is not None and line.timestamp >= since

    try:
        lines = await asyncio.to_thread(_last, tail, last, until) if last >= 0 else []
        while True:
            for raw in lines:
                line = joiner.feed(raw)
                if line is not None and until and line.timestamp > until:
                    return
                if wanted(line):
                    yield line
            # In this order: what is written between the two is read in the next round.
            is_open = collector.is_open(container_id)
            event.clear()
            lines = await asyncio.to_thread(tail.read)
            if lines:
                continue
            if not (follow and is_open) or (until and time.time() > until):
                break
            if not is_new:
                is_new = True
                yield None
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await event.wait()
            except TimeoutError:
                continue
        for line in joiner.end():
            if wanted(line):
                yield line
    finally:
        collector.unfollow(container_id, event)
        tail.close()
