"""A bounded queue that can be closed: a slow reader holds its writer up, and an end is an end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Closed(Exception):
    """Nothing more goes in, or nothing more comes out."""


class Pipe(Generic[Item]):
    """At most `limit` items wait; what was put before `close` can still be taken."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[Item] = deque()
        self._is_closed = False
        self._changed = asyncio.Event()

    async def put(self, item: Item) -> None:
        """Wait for room; raises `Closed`, also where it is closed meanwhile."""
        while len(self._items) >= self._limit and not self._is_closed:
            await self._change()
        if self._is_closed:
            raise Closed
        self._items.append(item)
        self._tell()

    async def get(self) -> Item:
        """The next item; raises `Closed` behind the last one."""
        while not self._items:
            if self._is_closed:
                raise Closed
            await self._change()
        item = self._items.popleft()
        self._tell()
        return item

    def close(self) -> None:
        """End it for both sides; may be repeated."""
        self._is_closed = True
        self._tell()

    def __aiter__(self) -> Pipe[Item]:
        return self

    async def __anext__(self) -> Item:
        try:
            return await self.get()
        except Closed:
            raise StopAsyncIteration from None

    def _tell(self) -> None:
        # Whoever waits holds the event of that moment, so each change wakes all of them once.
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        await self._changed.wait()
