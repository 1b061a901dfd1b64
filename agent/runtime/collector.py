"""Moves what containers write from their FIFOs into log files, in one thread for all of them.

A thread and not the loop: a container that writes as fast as it can must not hold up heartbeats,
and a slow disk neither. The shim of a container holds both ends of its FIFOs open as long as the
container lives, so what is written while no daemon runs waits in the pipe, up to 1 MiB, and then
the writer waits. End of file means that the container's output is over.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import selectors
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from agent.runtime import journal
from agent.runtime.journal import JournalFile
from agent.runtime.logfile import STREAMS, LineSplitter, LogFile, Nowhere
from agent.runtime.logplan import JOURNAL, NONE, LogPlan, from_json

log = logging.getLogger(__name__)

PIPE_BYTES: Final = 1 << 20
READ_BYTES: Final = 64 * 1024
FINISH_SECONDS: Final = 5.0
_OPTIONS_FILE: Final = "options.json"
_SUFFIXES: Final = {"stdout": "out", "stderr": "err"}


def make_fifo(path: Path) -> int:
    """A new FIFO, open for reading without waiting for a writer."""
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)
    return open_fifo(path)


def open_fifo(path: Path) -> int:
    """A FIFO that is there, open for reading; its pipe is made as large as the kernel allows."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    with suppress(OSError):
        # Beyond pipe-user-pages-soft the kernel refuses, and 64 KiB must do.
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return descriptor


class Sink(Protocol):
    """Takes one container's entries; raises OSError."""

    def write(self, stream: str, entries: list[bytes], now: float) -> None:
        """Append entries of one moment, `now` in seconds since the epoch."""

    def close(self) -> None:
        """Nothing more comes."""


@dataclass(slots=True)
class _Output:
    """One container's output: `open` maps descriptors to streams."""

    id: str
    file: Sink
    open: dict[int, str]
    splitters: dict[str, LineSplitter] = field(
        default_factory=lambda: {name: LineSplitter() for name in STREAMS}
    )
    over: threading.Event = field(default_factory=threading.Event)
    full: bool = False


class Collector:
    """All containers of a node. Its methods are for the loop's thread."""

    def __init__(self, fifos: Path, logs: Path, journal_socket: Path = journal.SOCKET) -> None:
        self._fifos, self._logs, self._journal = fifos, logs, journal_socket
        self._outputs: dict[str, _Output] = {}
        self._followers: dict[str, set[asyncio.Event]] = {}
        self._orders: deque[Callable[[], None]] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="log collector", daemon=True)

    def start(self) -> None:
        """Take up every FIFO that is there, and begin; containerd need not answer for it."""
        self._loop = asyncio.get_running_loop()
        for path in (self._fifos, self._logs):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        found: dict[str, dict[int, str]] = {}
        for path in sorted(self._fifos.iterdir()):
            container_id, _, suffix = path.name.rpartition(".")
            streams = [name for name, end in _SUFFIXES.items() if end == suffix]
            if not streams or not stat.S_ISFIFO(path.lstat().st_mode):
                path.unlink()  # of a program that was run in a container
                continue
            found.setdefault(container_id, {})[open_fifo(path)] = streams[0]
        for container_id, descriptors in found.items():
            self._add(container_id, descriptors, self.plan(container_id), True)
        self._thread.start()

    def directory(self, container_id: str) -> Path:
        """Where a container's log files are."""
        return self._logs / container_id

    def paths(self, container_id: str) -> tuple[Path, Path]:
        """The FIFOs of standard output and standard error."""
        out, err = (self._fifos / f"{container_id}.{_SUFFIXES[name]}" for name in STREAMS)
        return out, err

    def open(self, container_id: str, plan: LogPlan, terminal: bool) -> tuple[str, str]:
        """Make a container's FIFOs and read them from now on; answers their paths. A terminal
        has no standard error. Raises OSError, and FailedPrecondition where there is no journal."""
        if plan.driver == JOURNAL:
            journal.require(self._journal)
        directory = self.directory(container_id)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / _OPTIONS_FILE).write_text(plan.to_json())
        paths = self.paths(container_id)[: 1 if terminal else 2]
        descriptors = {make_fifo(path): name for path, name in zip(paths, STREAMS, strict=False)}
        self._add(container_id, descriptors, plan, False)
        return str(paths[0]), "" if terminal else str(paths[1])

    def is_open(self, container_id: str) -> bool:
        """Whether more output can come."""
        return container_id in self._outputs and not self._outputs[container_id].over.is_set()

    def follow(self, container_id: str) -> asyncio.Event:
        """An event that is set whenever there is more to read; give it back with `unfollow`."""
        event = asyncio.Event()
        self._followers.setdefault(container_id, set()).add(event)
        return event

    def unfollow(self, container_id: str, event: asyncio.Event) -> None:
        """Nobody waits for this event any more."""
        events = self._followers.get(container_id, set())
        events.discard(event)
        if not events:
            self._followers.pop(container_id, None)

    async def finish(self, container_id: str) -> None:
        """Take what still lies in the FIFOs of a container that has ended, and remove them."""
        output = self._outputs.get(container_id)
        if output is not None:
            self._order(lambda: self._drain(output))
            await asyncio.to_thread(output.over.wait, FINISH_SECONDS)
            self._outputs.pop(container_id, None)
        for path in self.paths(container_id):
            path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Stop reading; FIFOs stay, and so does what is in them."""
        self._stopping = True
        self._order(lambda: None)
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)
        for output in self._outputs.values():
            for descriptor in list(output.open):
                os.close(descriptor)
            if not output.over.is_set():
                output.file.close()
        self._outputs.clear()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _add(
        self, container_id: str, descriptors: dict[int, str], plan: LogPlan, adopted: bool
    ) -> None:
        output = _Output(container_id, self._sink(container_id, plan), descriptors)
        self._outputs[container_id] = output
        self._order(lambda: self._register(output, adopted))

    def _sink(self, container_id: str, plan: LogPlan) -> Sink:
        if plan.driver == NONE:
            return Nowhere()
        file = LogFile(self.directory(container_id), plan.rotation, plan.attributes)
        if plan.driver == JOURNAL:
            return JournalFile(file, self._journal, plan.fields)
        return file

    def plan(self, container_id: str) -> LogPlan:
        """What was decided for a container's output; the default where that is not known."""
        try:
            return from_json((self.directory(container_id) / _OPTIONS_FILE).read_text())
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return LogPlan()

    def _order(self, work: Callable[[], None]) -> None:
        self._orders.append(work)
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"w")

    # ---- in the thread ----

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.fd == self._wake_read:
                    with suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                else:
                    self._read(key.data, key.fd)
            while self._orders:
                self._orders.popleft()()

    def _register(self, output: _Output, adopted: bool) -> None:
        for descriptor in list(output.open):
            self._selector.register(descriptor, selectors.EVENT_READ, output)
            if adopted:
                # The kernel never tells the end of a FIFO whose writers were gone before it was
                # opened. A new FIFO has no writer yet, and must not be taken for one of those.
                self._read(output, descriptor)

    def _read(self, output: _Output, descriptor: int) -> bool:
        """Read once; False where there is nothing more for now, or at all."""
        stream = output.open[descriptor]
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        splitter = output.splitters[stream]
        if data:
            self._write(output, stream, splitter.feed(data))
            return True
        if rest := splitter.end():
            self._write(output, stream, [rest])
        self._drop(output, descriptor)
        return False

    def _drain(self, output: _Output) -> None:
        """The container is gone: what is in the pipes now is all that will ever come."""
        for descriptor, stream in list(output.open.items()):
            while self._read(output, descriptor):
                pass
            if descriptor in output.open:
                if rest := output.splitters[stream].end():
                    self._write(output, stream, [rest])
                self._drop(output, descriptor)

    def _drop(self, output: _Output, descriptor: int) -> None:
        del output.open[descriptor]
        self._selector.unregister(descriptor)
        os.close(descriptor)
        if not output.open:
            output.file.close()
            output.over.set()
            self._tell(output.id)

    def _write(self, output: _Output, stream: str, entries: list[bytes]) -> None:
        if not entries:
            return
        try:
            output.file.write(stream, entries, time.time())
            output.full = False
        except OSError as error:
            # Lost lines are better than a container that hangs since its disk is full.
            if not output.full:
                log.error("output of container %s is lost: %s", output.id, error)
            output.full = True
        self._tell(output.id)

    def _tell(self, container_id: str) -> None:
        if container_id in self._followers and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._set, container_id)

    def _set(self, container_id: str) -> None:
        for event in self._followers.get(container_id, ()):
            event.set()
