"""Many sources, each in the order of its times, as one in the order of all times; bounded memory.

A source that has not caught up holds the others up while it has nothing to give: what it gives
next may be older than what they have. One that has caught up gives what happens now, and then only
a moment is waited for others, since clocks and ways differ.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from typing import Generic, TypeVar

from pyswarm.aio.pipe import Closed

Item = TypeVar("Item")


class Source(Generic[Item]):
    """One source; `OrderedMerge.add` makes it. `empty_since` is the loop's time since which it has
    given nothing that was not taken."""

    def __init__(self, merge: OrderedMerge[Item], limit: int, now: float) -> None:
        self._merge = merge
        self._limit = limit
        self._items: deque[tuple[float, float, Item]] = deque()
        self._last = 0.0
        self._room = asyncio.Event()
        self.empty_since = now
        self.is_open = True
        self.is_caught_up = False

    async def put(self, time: float, item: Item) -> None:
        """Give one item; waits for room. Raises `Closed` once the source was ended."""
        while len(self._items) >= self._limit and self.is_open:
            self._room.clear()
            await self._room.wait()
        if not self.is_open:
            raise Closed
        # Within a source its own order counts, whatever a clock that was set back says.
        self._last = max(self._last, time)
        now = asyncio.get_running_loop().time()
        self._items.append((self._last, now, item))
        self._merge._given(self)

    def alive(self) -> None:
        """It has nothing to give so far, and works on it."""
        self.empty_since = asyncio.get_running_loop().time()

    def caught_up(self) -> None:
        """What was there was given; what follows is new."""
        self.is_caught_up = True
        self._merge._changed.set()

    def end(self) -> None:
        """Nothing more comes; may be repeated."""
        self.is_open = False
        self._room.set()
        self._merge._ended(self)


class OrderedMerge(Generic[Item]):
    """`hold_seconds` is what one that has caught up is waited for; each source may have `limit`
    items waiting."""

    def __init__(self, hold_seconds: float, limit: int) -> None:
        self._hold_seconds = hold_seconds
        self._limit = limit
        self._sources: dict[Source[Item], None] = {}
        self._empty: dict[Source[Item], None] = {}
        """Those that are open and have nothing waiting: only they can hold others up."""
        self._heads: list[tuple[float, int, Source[Item]]] = []
        self._number = 0
        self._changed = asyncio.Event()
        self._was_live = False

    def add(self) -> Source[Item]:
        """One more source."""
        source = Source(self, self._limit, asyncio.get_running_loop().time())
        self._sources[source] = self._empty[source] = None
        return source

    @property
    def is_over(self) -> bool:
        """Whether every source has ended and everything was taken."""
        return not self._sources

    @property
    def is_live(self) -> bool:
        """Whether all have caught up, or ended, and everything of before was taken."""
        return not self._heads and not self.blocking()

    def blocking(self) -> list[Source[Item]]:
        """The sources that the others wait for."""
        return [source for source in self._empty if not source.is_caught_up]

    async def take(self, limit: int, seconds: float) -> list[Item]:
        """Up to `limit` items in order: as soon as there are some; none after `seconds`, and once
        when everything is over or all have caught up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            self._changed.clear()
            now = loop.time()
            items, again = self._release(limit, now)
            became_live = self.is_live and not self._was_live
            self._was_live = self._was_live or became_live
            if items or self.is_over or became_live or now >= deadline:
                return items
            try:
                async with asyncio.timeout(min(deadline, again) - now):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _release(self, limit: int, now: float) -> tuple[list[Item], float]:
        """What may go now, and when to look again."""
        items: list[Item] = []
        while self._heads and len(items) < limit:
            if self.blocking():
                break
            source = self._heads[0][2]
            _, arrived, item = source._items[0]
            if self._empty and arrived + self._hold_seconds > now:
                return items, arrived + self._hold_seconds
            heapq.heappop(self._heads)
            source._items.popleft()
            source._room.set()
            items.append(item)
            self._settle(source, now)
        return items, float("inf")

    def _settle(self, source: Source[Item], now: float) -> None:
        if source._items:
            self._push(source)
            return
        source.empty_since = now
        if source.is_open:
            self._empty[source] = None
        else:
            self._sources.pop(source, None)

    def _push(self, source: Source[Item]) -> None:
        self._number += 1
        heapq.heappush(self._heads, (source._items[0][0], self._number, source))

    def _given(self, source: Source[Item]) -> None:
        if len(source._items) == 1:
            self._empty.pop(source, None)
            self._push(source)
        self._changed.set()

    def _ended(self, source: Source[Item]) -> None:
        self._empty.pop(source, None)
        if not source._items:
            self._sources.pop(source, None)
        self._changed.set()
