"""A live rotation: tasks refer to another version, and their files follow while they run.

Level-triggered: the files of a task bear the ids that they show, so whatever was broken off by a
restart of the daemon is done when the managers next speak of the task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from pyswarm.aio import Backoff, Supervisor
from pyswarm.errors import NotFound, SwarmError
from pyswarm.model import Task

log = logging.getLogger(__name__)


class LiveFiles:
    """`is_stale` says whether a task's files show other versions than it refers to, `refresh`
    replaces them; `current` answers the task where it runs and everything for it is here."""

    def __init__(
        self,
        *,
        is_stale: Callable[[Task], bool],
        refresh: Callable[[Task], Awaitable[None]],
        current: Callable[[str], Task | None],
    ) -> None:
        self._is_stale = is_stale
        self._refresh = refresh
        self._current = current
        self._busy: dict[str, asyncio.Task[Any]] = {}
        self._supervisor = Supervisor("live files")

    def look(self, task: Task) -> None:
        """The task, or what it needs, may have changed."""
        if task.id in self._busy or not self._is_stale(task):
            return
        work = self._supervisor.start(self._follow(task.id), f"files of {task.id[:12]}")
        self._busy[task.id] = work
        work.add_done_callback(lambda _: self._busy.pop(task.id, None))

    async def _follow(self, task_id: str) -> None:
        backoff = Backoff(0.2, 5.0)
        while True:
            task = self._current(task_id)
            if task is None or not self._is_stale(task):
                return
            try:
                await self._refresh(task)
                log.info("task %s: its secrets and configs were replaced", task.name)
            except NotFound:
                return  # the container ended meanwhile
            except SwarmError as error:
                log.warning("task %s: its files stay as they are: %s", task.name, error.message)
                if not error.temporary:
                    return
                await asyncio.sleep(backoff.next())

    async def close(self) -> None:
        """Stop; what is under way is done again later."""
        await self._supervisor.close()
