"""Runs a program in a container for somebody who talks with it: terminal, input, signals."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agent.executor.programs import ProgramOutput, ProgramRequest, cannot_run
from agent.runtime import schema, users
from agent.runtime.client import Containerd
from agent.runtime.collector import make_fifo
from agent.runtime.command import signal_number
from agent.runtime.failures import sentence
from agent.runtime.locks import in_thread, to_the_end
from agent.runtime.rootfs import Root
from pyswarm.aio import Backoff, Closed, Pipe, Supervisor
from pyswarm.errors import FailedPrecondition, InvalidArgument, NotFound, SwarmError, Unavailable

log = logging.getLogger(__name__)

READ_BYTES: Final = 32 * 1024
PIECES_WAITING_MAX: Final = 4
LINGER_SECONDS: Final = 0.5
"""For output after the program's end: a child of it may hold the pipe open for ever."""
HANGUP_SECONDS: Final = 2.0
"""Between SIGHUP and SIGKILL."""
_RUNNING: Final = 2  # containerd.v1.types.Status
_TERMINAL: Final = "TERM=xterm"


class ContainerProgram:
    """One program; `start` makes it run, `close` must come last."""

    def __init__(
        self, containerd: Containerd, directory: Path, container_id: str, request: ProgramRequest
    ) -> None:
        exec_id = f"exec-{secrets.token_hex(8)}"
        self._containerd = containerd
        self._request = request
        self._names: dict[str, Any] = {"container_id": container_id, "exec_id": exec_id}
        self._paths = {s: directory / f"{container_id}.{exec_id}.{s}" for s in ("in", "out", "err")}
        self._input = -1
        self._outputs: dict[int, bool] = {}
        self._pieces: Pipe[ProgramOutput] = Pipe(PIECES_WAITING_MAX)
        self._ended = asyncio.Event()
        self._exit_code: int | None = None
        self._problem: SwarmError | None = None
        self._limits: set[asyncio.Timeout] = set()
        """Of whoever waits for a pipe; after the program's end nobody does for long."""
        self._work = Supervisor("program")
        self._is_started = False

    async def start(self) -> None:
        """Raises CannotRun with Docker's exit codes, NotFound where no such container is."""
        process = await self._process()
        streams = self._open_fifos()
        try:
            await self._containerd.tasks.Exec(
                spec=schema.pack_json("Process", process),
                terminal=self._request.tty,
                **streams,
                **self._names,
            )
            self._work.start(self._read(), "output")
            await to_the_end(self._containerd.tasks.Start(**self._names))
        except SwarmError as error:
            if error.temporary or isinstance(error, NotFound):
                raise
            raise cannot_run(sentence(error, "the program cannot be run").message) from None
        self._is_started = True
        self._work.start(self._wait(), "end")
        if self._request.tty and self._request.rows:
            await self.resize(self._request.rows, self._request.columns)

    async def _process(self) -> dict[str, Any]:
        container_id = self._names["container_id"]
        record = (await self._containerd.containers.Get(id=container_id)).container
        running = (await self._containerd.tasks.Get(container_id=container_id)).process
        if running.status != _RUNNING:
            raise FailedPrecondition(f"container {container_id} is not running")
        process: dict[str, Any] = json.loads(record.spec.value)["process"]
        if self._request.user:
            try:
                process |= await in_thread(_as_user, process, self._request.user, running.pid)
            except (InvalidArgument, OSError) as error:
                raise cannot_run(f"the program cannot be run: {error}") from None
        return process | {
            "args": list(self._request.argv),
            "env": merged_env(process.get("env", []), self._request),
            "cwd": self._request.workdir or process["cwd"],
            "terminal": self._request.tty,
        }

    def _open_fifos(self) -> dict[str, str]:
        self._outputs[make_fifo(self._paths["out"])] = False
        if not self._request.tty:
            self._outputs[make_fifo(self._paths["err"])] = True
        if self._request.stdin:
            os.mkfifo(self._paths["in"], 0o600)
            # Read-write, since nobody reads so far; the reading end is never used here.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
            self._input = os.open(self._paths["in"], flags)
        return {
            "stdin": str(self._paths["in"]) if self._request.stdin else "",
            "stdout": str(self._paths["out"]),
            "stderr": "" if self._request.tty else str(self._paths["err"]),
        }

    # ---- what it says ----

    def output(self) -> AsyncIterator[ProgramOutput]:
        """What it writes, to its end."""
        return self._pieces

    async def _read(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for descriptor, stderr in self._outputs.items():
                    group.create_task(self._pump(descriptor, stderr))
        finally:
            self._pieces.close()

    async def _pump(self, descriptor: int, stderr: bool) -> None:
        loop = asyncio.get_running_loop()
        while await self._ready(descriptor, loop.add_reader, loop.remove_reader):
            try:
                data = os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                continue
            if not data:
                return
            try:
                await self._pieces.put(ProgramOutput(stderr=stderr, data=data))
            except Closed:
                return

    async def _ready(
        self, descriptor: int, add: Callable[..., None], remove: Callable[[int], object]
    ) -> bool:
        """Wait for a pipe; False where the program has ended and the pipe stays as it is."""
        ready = asyncio.Event()
        add(descriptor, ready.set)
        try:
            seconds = LINGER_SECONDS if self._ended.is_set() else None
            async with asyncio.timeout(seconds) as limit:
                self._limits.add(limit)
                try:
                    await ready.wait()
                finally:
                    self._limits.discard(limit)
            return True
        except TimeoutError:
            return False
        finally:
            remove(descriptor)

    # ---- what it is told ----

    async def write(self, data: bytes) -> None:
        """Give it input; waits while it reads none."""
        loop, left = asyncio.get_running_loop(), memoryview(data)
        while left and self._input >= 0 and not self._ended.is_set():
            try:
                left = left[os.write(self._input, left) :]
            except BlockingIOError:
                await self._ready(self._input, loop.add_writer, loop.remove_writer)

    async def close_input(self) -> None:
        """Its input is over: our end goes, and then the one that the shim holds open."""
        if self._input < 0:
            return
        os.close(self._input)
        self._input = -1
        with suppress(SwarmError):
            await self._containerd.tasks.CloseIO(stdin=True, **self._names)

    async def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size."""
        with suppress(SwarmError):  # it may have ended
            await self._containerd.tasks.ResizePty(height=rows, width=columns, **self._names)

    async def signal(self, name: str) -> None:
        """Send a signal; one that has ended needs none."""
        number = signal_number(name)
        with suppress(NotFound):
            await self._containerd.tasks.Kill(signal=number, **self._names)

    async def _wait(self) -> None:
        try:
            ended = await self._containerd.tasks.Wait(timeout_seconds=None, **self._names)
            self._exit_code = int(ended.exit_status)
        except SwarmError as error:
            self._problem = error
        finally:
            self._end_now()

    def _end_now(self) -> None:
        self._ended.set()
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time() + LINGER_SECONDS)

    async def wait(self) -> int:
        """Its exit code."""
        await self._ended.wait()
        if self._exit_code is None:
            raise self._problem or Unavailable("the program was left alone")
        return self._exit_code

    # ---- its end ----

    async def close(self) -> None:
        """Clean up; what still runs hears SIGHUP, and a moment later SIGKILL."""
        try:
            await to_the_end(self._end())
        finally:
            self._end_now()
            self._pieces.close()
            await self._work.close()
            if self._input >= 0:
                os.close(self._input)
            for descriptor in self._outputs:
                os.close(descriptor)
            for path in self._paths.values():
                path.unlink(missing_ok=True)

    async def _end(self) -> None:
        for name in ("SIGHUP", "SIGKILL"):
            if self._is_started and not self._ended.is_set():
                with suppress(SwarmError, TimeoutError):
                    await self.signal(name)
                    async with asyncio.timeout(HANGUP_SECONDS):
                        await self._ended.wait()
        await delete_process(self._containerd, self._names)


def merged_env(own: list[str], request: ProgramRequest) -> list[str]:
    """The container's environment with the request's on top, and a terminal's name where one is
    wanted and none is said."""
    values = dict(entry.partition("=")[::2] for entry in own)
    if request.tty and "TERM" not in values:
        values |= dict([_TERMINAL.partition("=")[::2]])
    values |= dict(entry.partition("=")[::2] for entry in request.env)
    return [f"{key}={value}" for key, value in values.items()]


def _as_user(process: Mapping[str, Any], user: str, pid: int) -> dict[str, Any]:
    """The parts of the process that go with another user of the container."""
    descriptor = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        root = Root(descriptor)
        passwd, group = root.read_text("/etc/passwd"), root.read_text("/etc/group")
    finally:
        os.close(descriptor)
    found = users.resolve(user, (), passwd, group)
    kept = process.get("capabilities", {}).get("bounding", [])
    # As at the container's own start: a user other than root has only the bound.
    sets = ("bounding", "effective", "permitted") if found.uid == 0 else ("bounding",)
    return {
        "user": {"uid": found.uid, "gid": found.gid, "additionalGids": list(found.additional)},
        "capabilities": {name: list(kept) for name in sets},
    }


async def delete_process(containerd: Containerd, names: Mapping[str, Any]) -> None:
    """Have containerd forget a program that has ended."""
    try:
        await containerd.tasks.DeleteProcess(**names)
    except NotFound:
        return
    except SwarmError as error:
        log.warning("a program in %s is not cleaned up: %s", names["container_id"], error.message)


async def sweep(containerd: Containerd, left: Sequence[Path]) -> None:
    """End what the last daemon left running for callers that it cannot answer any more: `left`
    are the FIFOs that it made for them."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in left:
        container_id, _, rest = path.name.partition(".")
        found.setdefault((container_id, rest.partition(".")[0]), []).append(path)
    for (container_id, exec_id), paths in found.items():
        names = {"container_id": container_id, "exec_id": exec_id}
        backoff = Backoff(0.5, 5.0)
        while True:
            if await _kill(containerd, names):
                break
            await asyncio.sleep(backoff.next())
        for path in paths:
            path.unlink(missing_ok=True)


async def _kill(containerd: Containerd, names: Mapping[str, Any]) -> bool:
    """False where containerd does not answer."""
    try:
        await containerd.tasks.Kill(signal=signal_number("SIGKILL"), **names)
        await containerd.tasks.Wait(timeout_seconds=HANGUP_SECONDS, **names)
    except Unavailable:
        return False
    except SwarmError as error:
        log.info("a program in %s has ended: %s", names["container_id"], error.message)
    await delete_process(containerd, names)
    return True


async def run_program(
    containerd: Containerd, directory: Path, container_id: str, request: ProgramRequest
) -> ContainerProgram:
    """A program that runs; the caller closes it."""
    program = ContainerProgram(containerd, directory, container_id, request)
    try:
        await program.start()
    except BaseException:
        await program.close()
        raise
    return program
