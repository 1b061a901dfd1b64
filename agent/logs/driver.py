"""Reads the output of this node's tasks, and publishes it to the manager that asked.

Each request is answered by one stream with one `done` at its end. Lines are gathered for a moment,
since a chunk costs as much as its lines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final

from agent.client import LogLine, LogPiece, LogsAsked
from agent.executor.containers import Containers, OutputLine, container_id
from pyswarm.aio import Supervisor
from pyswarm.errors import NotFound, SwarmError
from pyswarm.model import Task

log = logging.getLogger(__name__)

REQUESTS_MAX: Final = 64
LINES_MAX: Final = 200
CHUNK_BYTES_MAX: Final = 512 * 1024
GATHER_SECONDS: Final = 0.1

Publish = Callable[[str, AsyncIterator[LogPiece]], Coroutine[Any, Any, None]]


class LogPublisher:
    """All requests under way; `task` answers an assigned task by id."""

    def __init__(
        self, containers: Containers, publish: Publish, task: Callable[[str], Task | None]
    ) -> None:
        self._containers = containers
        self._publish = publish
        self._task = task
        self._running: dict[str, set[asyncio.Task[Any]]] = {}
        self._supervisor = Supervisor("logs")

    def take(self, asked: LogsAsked) -> None:
        """Begin to answer, or stop where the request is closed."""
        if asked.close:
            for task in self._running.pop(asked.id, ()):
                task.cancel()
            return
        if sum(map(len, self._running.values())) >= REQUESTS_MAX:
            work = self._answer(asked, _refusal("this node answers too many requests for logs"))
        else:
            work = self._answer(asked, self._pieces(asked))
        task = self._supervisor.start(work, f"request {asked.id}")
        self._running.setdefault(asked.id, set()).add(task)
        task.add_done_callback(lambda ended: self._ended(asked.id, ended))

    def cancel_all(self) -> None:
        """Nobody reads any more."""
        for request_id in list(self._running):
            self.take(LogsAsked(id=request_id, close=True))

    async def close(self) -> None:
        """Stop every answer."""
        await self._supervisor.close()

    def _ended(self, request_id: str, task: asyncio.Task[Any]) -> None:
        tasks = self._running.get(request_id, set())
        tasks.discard(task)
        if not tasks:
            self._running.pop(request_id, None)

    async def _answer(self, asked: LogsAsked, pieces: AsyncGenerator[LogPiece, None]) -> None:
        try:
            async with aclosing(pieces):
                await self._publish(asked.id, pieces)
        except SwarmError as error:
            log.info("logs %s: %s", asked.id, error.message)

    async def _pieces(self, asked: LogsAsked) -> AsyncGenerator[LogPiece, None]:
        """The output of all tasks together, gathered; bounded by the queue, so that a reader that
        is slow slows the reading and fills no memory."""
        queue: asyncio.Queue[LogLine | LogPiece | None] = asyncio.Queue(LINES_MAX)
        async with Supervisor("log readers") as readers:
            for task_id in asked.tasks:
                readers.start(self._read(task_id, asked, queue), task_id)
            open_readers = len(asked.tasks)
            while open_readers:
                lines: list[LogLine] = []
                item = await queue.get()
                while True:
                    if isinstance(item, LogPiece):
                        yield item
                    elif item is None:
                        open_readers -= 1
                    else:
                        lines.append(item)
                    if not open_readers or _is_full(lines):
                        break
                    if queue.empty():
                        await asyncio.sleep(GATHER_SECONDS)
                    if queue.empty():
                        break
                    item = queue.get_nowait()
                if lines:
                    yield LogPiece(lines=tuple(lines))

    async def _read(
        self,
        task_id: str,
        asked: LogsAsked,
        queue: asyncio.Queue[LogLine | LogPiece | None],
    ) -> None:
        task = self._task(task_id)
        try:
            if task is None:
                raise NotFound(f"task {task_id} is not on this node any more: its logs are gone")
            output = self._containers.logs(
                container_id(task), follow=asked.follow, tail=asked.tail, since=asked.since
            )
            async for line in output:
                await queue.put(_line(task, line))
        except NotFound as error:
            # A task that never came to a start has no output, and that is no problem.
            if task is None:
                await queue.put(LogPiece(problem=error.message))
        except SwarmError as error:
            await queue.put(LogPiece(problem=error.message))
        await queue.put(None)


def _line(task: Task, line: OutputLine) -> LogLine:
    return LogLine(
        task_id=task.id,
        service_id=task.service_id,
        timestamp=line.timestamp,
        stderr=line.stderr,
        data=line.data,
    )


def _is_full(lines: list[LogLine]) -> bool:
    return len(lines) >= LINES_MAX or sum(len(x.data) for x in lines) >= CHUNK_BYTES_MAX


async def _refusal(problem: str) -> AsyncGenerator[LogPiece, None]:
    yield LogPiece(problem=problem)
