"""Reads the output of this node's tasks, and publishes it to the manager that asked.

Each request is answered by one stream with one `done` at its end, the lines of all its tasks in the
order of their times.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any, Final

from agent.client import LogLine, LogPiece, LogsAsked
from agent.executor.containers import Containers, OutputLine, container_id
from pyswarm.aio import OrderedMerge, Source, Supervisor
from pyswarm.errors import NotFound, SwarmError
from pyswarm.model import Task

log = logging.getLogger(__name__)

REQUESTS_MAX: Final = 64
LINES_MAX: Final = 200
CHUNK_BYTES_MAX: Final = 512 * 1024
LINES_WAITING_MAX: Final = 100
"""Of each task; a line may have 256 KiB."""
GATHER_SECONDS: Final = 0.1
ALIVE_SECONDS: Final = 2.0
"""Without a line for so long, the manager hears that the reading goes on."""

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
        """The output of all tasks together, in the order of time; a reader that is slow slows the
        reading and fills no memory."""
        merge: OrderedMerge[LogLine | LogPiece] = OrderedMerge(GATHER_SECONDS, LINES_WAITING_MAX)
        is_live = False
        async with Supervisor("log readers") as readers:
            for task_id in asked.tasks:
                readers.start(self._read(task_id, asked, merge.add()), task_id)
            while not merge.is_over:
                items = await merge.take(LINES_MAX, ALIVE_SECONDS)
                for item in items:
                    if isinstance(item, LogPiece):
                        yield item
                for lines in _chunks([item for item in items if isinstance(item, LogLine)]):
                    yield LogPiece(lines=lines)
                if asked.follow and merge.is_live and not is_live:
                    is_live = True
                    yield LogPiece(caught_up=True)
                elif not items:
                    yield LogPiece()

    async def _read(
        self, task_id: str, asked: LogsAsked, source: Source[LogLine | LogPiece]
    ) -> None:
        task = self._task(task_id)
        try:
            if task is None:
                raise NotFound(f"task {task_id} is not on this node any more: its logs are gone")
            output = self._containers.logs(
                container_id(task),
                follow=asked.follow,
                tail=asked.tail,
                since=asked.since,
                until=asked.until,
            )
            async for line in output:
                if line is None:
                    source.caught_up()
                else:
                    await source.put(line.timestamp, _line(task, line))
        except NotFound as error:
            # A task that never came to a start has no output, and that is no problem.
            if task is None:
                await source.put(0.0, LogPiece(problem=error.message))
        except SwarmError as error:
            await source.put(0.0, LogPiece(problem=error.message))
        finally:
            source.end()


def _line(task: Task, line: OutputLine) -> LogLine:
    return LogLine(
        task_id=task.id,
        service_id=task.service_id,
        timestamp=line.timestamp,
        stderr=line.stderr,
        data=line.data,
    )


def _chunks(lines: list[LogLine]) -> Iterator[tuple[LogLine, ...]]:
    """The lines in messages of a bounded size."""
    chunk: list[LogLine] = []
    size = 0
    for line in lines:
        if chunk and size + len(line.data) > CHUNK_BYTES_MAX:
            yield tuple(chunk)
            chunk, size = [], 0
        chunk.append(line)
        size += len(line.data)
    if chunk:
        yield tuple(chunk)


async def _refusal(problem: str) -> AsyncGenerator[LogPiece, None]:
    yield LogPiece(problem=problem)
