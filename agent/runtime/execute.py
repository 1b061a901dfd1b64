"""Runs a program in a container that runs: health checks."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agent.runtime import schema
from agent.runtime.client import Containerd
from agent.runtime.collector import make_fifo
from agent.runtime.failures import sentence
from agent.runtime.locks import to_the_end
from pyswarm.errors import DeadlineExceeded, NotFound, SwarmError

OUTPUT_BYTES_MAX: Final = 4096
LINGER_SECONDS: Final = 1.0
"""For output after the program's end: a child of it may hold the pipe open for ever."""
SIGKILL: Final = 9


class _Output:
    """The first bytes that come through a FIFO; the rest is read and forgotten."""

    def __init__(self, path: Path) -> None:
        self.data = bytearray()
        self.over = asyncio.Event()
        self._path = path
        self._descriptor = make_fifo(path)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 64 * 1024)
        except BlockingIOError:
            return
        if data:
            self.data += data[: OUTPUT_BYTES_MAX - len(self.data)]
        else:
            self._loop.remove_reader(self._descriptor)
            self.over.set()

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


async def execute(
    containerd: Containerd,
    fifos: Path,
    container_id: str,
    argv: Sequence[str],
    timeout_seconds: float,
) -> tuple[int, bytes]:
    """Run `argv` as the container's own user; answers exit code and first bytes of output.

    Raises DeadlineExceeded, the program killed, and NotFound where no such container runs.
    """
    record = (await containerd.containers.Get(id=container_id)).container
    process = json.loads(record.spec.value)["process"]
    process |= {"args": list(argv), "terminal": False}
    exec_id = f"exec-{secrets.token_hex(8)}"
    names: dict[str, Any] = {"container_id": container_id, "exec_id": exec_id}
    output = _Output(fifos / exec_id)
    try:
        await containerd.tasks.Exec(
            spec=schema.pack_json("Process", process),
            stdout=str(fifos / exec_id),
            stderr=str(fifos / exec_id),
            **names,
        )
        try:
            code = await _run(containerd, names, timeout_seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await output.over.wait()
            return code, bytes(output.data)
        finally:
            await to_the_end(_remove(containerd, names))
    finally:
        output.close()


async def _run(containerd: Containerd, names: dict[str, Any], timeout_seconds: float) -> int:
    try:
        async with asyncio.timeout(timeout_seconds):
            try:
                await containerd.tasks.Start(**names)
            except SwarmError as error:
                raise sentence(error, "the program cannot be run") from None
            ended = await containerd.tasks.Wait(timeout_seconds=None, **names)
            return int(ended.exit_status)
    except TimeoutError:
        raise DeadlineExceeded(f"the program did not end in {timeout_seconds:g} s") from None


async def _remove(containerd: Containerd, names: dict[str, Any]) -> None:
    for _ in range(2):
        try:
            await containerd.tasks.DeleteProcess(**names)
            return
        except NotFound:
            return
        except SwarmError:
            # It runs still, since its time was over or the caller was cancelled.
            with suppress(SwarmError):
                await containerd.tasks.Kill(signal=SIGKILL, all=True, **names)
                await containerd.tasks.Wait(timeout_seconds=5.0, **names)
