"""Processes known by id and start time, so that a reused id is never mistaken for one of ours."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process: its id here, and its start in clock ticks since boot (proc(5), field 22)."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return _start(self.pid) == self.start

    def send(self, number: int) -> None:
        """Send a signal, if it is still this process."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def namespace(self, kind: str) -> str:
        """The path of one of its namespaces: `net`, `mnt`, ..."""
        return f"/proc/{self.pid}/ns/{kind}"

    def children(self) -> list[int]:
        """The ids of its children; empty when it is gone."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(word) for word in text.split()]

    def save(self, path: Path) -> None:
        """Write it down for a later command."""
        path.write_text(json.dumps(asdict(self)))


def _start(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    # The name in parentheses may hold anything, so fields are counted after its last ")".
    fields = text.rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])


def identify(pid: int) -> Process:
    """The process that has this id now."""
    return Process(pid=pid, start=_start(pid))


def load(path: Path) -> Process | None:
    """The process written down at `path`, if it is still alive."""
    try:
        process = Process(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return None
    return process if process.alive else None


def inner_pid(pid: int) -> int:
    """The id of a process inside the innermost namespace that it lies in; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return int(line.split()[-1])


def wait_dead(process: Process, deadline_seconds: float) -> bool:
    """Whether the process ends within the deadline."""
    end = time.monotonic() + deadline_seconds
    while process.alive:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def kill_all(pids: set[int]) -> None:
    """SIGKILL these processes, which the caller knows to be the lab's own."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
