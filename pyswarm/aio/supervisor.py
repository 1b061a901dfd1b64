"""A scope for background tasks: named, cancelled together, and none of them fails unseen.

asyncio keeps only a weak reference to a task, so a bare `create_task` can vanish in the middle of
its work, and its error with it. `asyncio.TaskGroup` solves that for a block of code; a daemon's
parts live longer than a block, so this is the same promise with `start` and `close`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)


class Supervisor:
    """Owns background tasks. A task that raises is logged, and `failed` is set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failed = asyncio.Event()
        self.error: BaseException | None = None
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` until it ends or `close` cancels it."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}/{name}")
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("%s stopped on an error", task.get_name(), exc_info=error)
            self.error = error
            self.failed.set()

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
