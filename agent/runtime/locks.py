"""A lock for each key: what is done to one image, volume or container at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")


class KeyedLocks:
    """Locks that exist as long as somebody holds or awaits them."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait for the key's lock, and hold it."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)


async def in_thread(call: Callable[..., Result], *arguments: Any) -> Result:
    """Run a blocking call in a thread, and wait for its end even when cancelled: what it does to
    mounts and files must not go on behind the back of who cleans up."""
    return await to_the_end(asyncio.to_thread(call, *arguments))


async def to_the_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` to its end also when the caller is cancelled, who is told afterwards."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_outcome(work))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                await asyncio.wait([task])
            raise
    result, error = task.result()
    if error is not None:
        raise error
    assert result is not None
    return result[0]


async def _outcome(
    work: Coroutine[Any, Any, Result],
) -> tuple[tuple[Result] | None, Exception | None]:
    try:
        return (await work,), None
    except Exception as error:  # not raised inside the group, which would wrap it
        return None, error
