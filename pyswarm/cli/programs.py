"""`pyswarm exec`: run a program in a task's container, wherever the task runs."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import signal
import sys
import termios
import threading
import tty
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from pyswarm.api.v1 import observe_pb2
from pyswarm.cli.commands import Parsers, command
from pyswarm.cli.connection import Connection
from pyswarm.errors import InvalidArgument, Unavailable

READ_BYTES: Final = 32 * 1024
INPUTS_UNDER_WAY_MAX: Final = 32
"""Messages with input that the program has not taken: what it does not read stays where it is, and
signals pass."""
INTERRUPTS_MAX: Final = 2
"""So many Ctrl-C end the command itself; the one before goes to the program."""
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def register(parsers: Parsers) -> None:
    """Add the command."""
    run = command(parsers, "exec", "Execute a command in a running task", _exec)
    run.add_argument("-i", "--interactive", action="store_true", help="Keep STDIN open")
    run.add_argument("-t", "--tty", action="store_true", help="Allocate a pseudo-TTY")
    run.add_argument("-d", "--detach", action="store_true", help="Run it in the background")
    run.add_argument("-e", "--env", action="append", default=[], help="Set environment variables")
    run.add_argument("--env-file", action="append", default=[], help="Read them from a file")
    run.add_argument("-u", "--user", default="", help="Username or UID (<name|uid>[:<group|gid>])")
    run.add_argument("-w", "--workdir", default="", help="Working directory in the container")
    run.add_argument("task", metavar="TASK", help="id, start of an id, or SERVICE.SLOT")
    run.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER)


def environment(entries: list[str], files: list[str]) -> list[str]:
    """`NAME=VALUE` entries; a name alone takes the value that it has here, if it has one."""
    lines: list[str] = []
    for name in files:
        try:
            text = Path(name).read_text()
        except OSError as error:
            raise InvalidArgument(f"cannot read {name}: {error.strerror}") from error
        stripped = (line.strip() for line in text.splitlines())
        lines += [line for line in stripped if line and not line.startswith("#")]
    found = []
    for entry in (*lines, *entries):
        if not entry or entry.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {entry}")
        if "=" in entry:
            found.append(entry)
        elif entry in os.environ:
            found.append(f"{entry}={os.environ[entry]}")
    return found


def _start(args: Namespace) -> observe_pb2.ExecStart:
    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise InvalidArgument("'pyswarm exec' needs a command: pyswarm exec TASK COMMAND")
    if args.detach and args.interactive:
        raise InvalidArgument("conflicting options: --detach and --interactive")
    if args.tty and args.interactive and not sys.stdin.isatty():
        raise InvalidArgument("the input device is not a TTY")
    return observe_pb2.ExecStart(
        task=args.task,
        command=words,
        env=environment(args.env, args.env_file),
        user=args.user,
        working_directory=args.workdir,
        tty=args.tty,
        stdin=args.interactive,
        detach=args.detach,
        size=_window() if args.tty else None,
        asked_by=os.environ.get("SUDO_USER") or _user(),
    )


def _window() -> observe_pb2.WindowSize | None:
    """The size of the terminal; None where there is none."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            size = os.get_terminal_size(stream.fileno())
            return observe_pb2.WindowSize(rows=size.lines, columns=size.columns)
    return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


class _Inputs:
    """What the program is told."""

    def __init__(self, start: observe_pb2.ExecStart) -> None:
        self._start = start
        self._queue: asyncio.Queue[observe_pb2.ExecInput] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._window = threading.Semaphore(INPUTS_UNDER_WAY_MAX)
        self._taken = 0
        self._interrupts = 0

    async def messages(self) -> AsyncIterator[observe_pb2.ExecInput]:
        """The request stream; it ends with the command."""
        yield observe_pb2.ExecInput(start=self._start)
        if self._start.stdin:
            threading.Thread(target=self._read, name="stdin", daemon=True).start()
        while True:
            yield await self._queue.get()

    def _read(self) -> None:
        """In a thread: standard input may be a file, which no selector takes."""
        data = b"-"
        while data:
            self._window.acquire()
            try:
                data = os.read(sys.stdin.fileno(), READ_BYTES)
            except OSError:
                data = b""
            said = observe_pb2.ExecInput(stdin=data) if data else None
            said = said or observe_pb2.ExecInput(stdin_over=True)
            with suppress(RuntimeError):  # the command has ended, and its loop with it
                self._loop.call_soon_threadsafe(self._queue.put_nowait, said)

    def taken(self, count: int) -> None:
        """The program has taken so many inputs."""
        self._window.release(count - self._taken)
        self._taken = count

    def resized(self) -> None:
        """The window has another size."""
        self._queue.put_nowait(observe_pb2.ExecInput(resize=_window()))

    def signalled(self, number: signal.Signals, task: asyncio.Task[Any]) -> None:
        """A signal for the program; whoever insists ends the command, and so the program."""
        self._interrupts += number == signal.SIGINT
        if self._interrupts >= INTERRUPTS_MAX:
            task.cancel()
        self._queue.put_nowait(observe_pb2.ExecInput(signal=number.name))


@contextmanager
def _terminal(is_raw: bool) -> Iterator[None]:
    """The local terminal passes every key on, and is what it was afterwards."""
    if not is_raw:
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


async def _exec(args: Namespace, connection: Connection) -> int:
    start = _start(args)
    inputs, loop = _Inputs(start), asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None, "a command runs in a task"
    is_raw = start.tty and start.stdin
    if not start.detach:
        for number in () if is_raw else _PASSED_ON:
            loop.add_signal_handler(number, inputs.signalled, number, task)
        if start.tty:
            loop.add_signal_handler(signal.SIGWINCH, inputs.resized)
    with _terminal(is_raw):
        ended = await _follow(connection, inputs, start.detach)
    if ended.error:
        print(f"Error: {ended.error}", file=sys.stderr)
    return ended.exit_code


async def _follow(connection: Connection, inputs: _Inputs, detach: bool) -> observe_pb2.ExecEnded:
    call = connection.observe.Exec(inputs.messages())
    try:
        async for output in connection.stream(call):
            match output.WhichOneof("output"):
                case "stdout":
                    _write(sys.stdout.fileno(), output.stdout)
                case "stderr":
                    _write(sys.stderr.fileno(), output.stderr)
                case "inputs_taken":
                    inputs.taken(output.inputs_taken)
                case "ended":
                    ended: observe_pb2.ExecEnded = output.ended
                    return ended
    finally:
        call.cancel()
    if detach:
        return observe_pb2.ExecEnded()
    raise Unavailable("the connection ended before the program did: how it ended is not known")
