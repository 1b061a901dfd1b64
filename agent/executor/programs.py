"""Programs that somebody runs in a container beside its own, and what a container uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from pyswarm.errors import SwarmError

NOT_FOUND_CODE: Final = 127
CANNOT_RUN_CODE: Final = 126


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRequest:
    """What to run. `env` comes on top of the container's own; an empty `user` or `workdir` is the
    container's. `rows` and `columns` count with a terminal; 0 is the kernel's default."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    stdin: bool = False
    rows: int = 0
    columns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramOutput:
    """Some bytes that a program wrote; a terminal has no standard error."""

    stderr: bool
    data: bytes


class Program(Protocol):
    """A program that runs. Every call raises SwarmError, but a program that has ended is none."""

    def output(self) -> AsyncIterator[ProgramOutput]:
        """What it writes, to its end; whoever does not read holds it up."""
        ...

    async def write(self, data: bytes) -> None:
        """Give it input; waits while it reads none."""

    async def close_input(self) -> None:
        """Its input is over."""

    async def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size."""

    async def signal(self, name: str) -> None:
        """Send a signal, "SIGINT" or "INT"."""

    async def wait(self) -> int:
        """Its exit code, 128 and the signal's number where a signal ended it."""
        ...

    async def close(self) -> None:
        """Clean up; what still runs hears SIGHUP, and a moment later SIGKILL."""


class CannotRun(SwarmError):
    """The program cannot be run: `exit_code` is what a shell and Docker answer then."""

    code = "FAILED_PRECONDITION"

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def cannot_run(message: str) -> CannotRun:
    """The error with the exit code that goes with runc's words, as Docker tells them apart."""
    missing = ("executable file not found", "no such file or directory")
    code = NOT_FOUND_CODE if any(words in message for words in missing) else CANNOT_RUN_CODE
    return CannotRun(message, code)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUse:
    """What a container has used: `cpu_seconds`, and bytes on disks and network since its start;
    memory and processes now. A limit of 0 is none. `at` is of a monotonic clock, in seconds."""

    at: float
    cpu_seconds: float
    memory_bytes: int
    memory_limit_bytes: int
    block_read_bytes: int
    block_written_bytes: int
    network_received_bytes: int
    network_sent_bytes: int
    pids: int
    pids_limit: int


def cpu_percent(before: ContainerUse, after: ContainerUse) -> float:
    """The share of one processor between two looks, in percent."""
    seconds = after.at - before.at
    used = after.cpu_seconds - before.cpu_seconds
    return max(0.0, 100.0 * used / seconds) if seconds > 0 else 0.0
