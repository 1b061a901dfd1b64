"""One writer, many readers, bounded memory: a reader that is too slow is told so."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class Lagged(Exception):
    """This reader missed items: it must read a snapshot and go on from there."""


class Broadcast(Generic[Item]):
    """Sends each item to every subscription; never waits for a reader."""

    def __init__(self) -> None:
        # In their order: a set of objects has another one in each run.
        self._subscriptions: dict[Subscription[Item], None] = {}

    def publish(self, item: Item) -> None:
        """Hand `item` to every reader that is there now."""
        for subscription in self._subscriptions:
            subscription._put(item)

    def lag(self) -> None:
        """Tell every reader that it missed items: the source began again from a snapshot."""
        for subscription in self._subscriptions:
            subscription._lag()

    def subscribe(
        self, limit: int = 1024, wants: Callable[[Item], bool] | None = None
    ) -> Subscription[Item]:
        """A reader that may fall at most `limit` items behind, of those that it `wants`."""
        subscription = Subscription(self, limit, wants)
        self._subscriptions[subscription] = None
        return subscription

    def _drop(self, subscription: Subscription[Item]) -> None:
        self._subscriptions.pop(subscription, None)


class Subscription(Generic[Item]):
    """One reader of a `Broadcast`; close it, or use it as a context manager."""

    def __init__(
        self, source: Broadcast[Item], limit: int, wants: Callable[[Item], bool] | None = None
    ) -> None:
        self._source = source
        self._limit = limit
        self._wants = wants
        self._items: deque[Item] = deque()
        self._lagged = False
        self._ready = asyncio.Event()

    def _put(self, item: Item) -> None:
        if self._lagged or (self._wants is not None and not self._wants(item)):
            return
        if len(self._items) >= self._limit:
            self._lag()
        else:
            if not self._items:
                self._ready.set()
            self._items.append(item)

    def _lag(self) -> None:
        self._items.clear()
        self._lagged = True
        self._ready.set()

    async def get(self) -> Item:
        """The next item; raises `Lagged` once after items were dropped."""
        while not self._items:
            if self._lagged:
                self._lagged = False
                raise Lagged
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()

    def get_nowait(self) -> list[Item]:
        """All items that wait now, possibly none; raises `Lagged` like `get`."""
        if self._lagged:
            self._lagged = False
            raise Lagged
        items = list(self._items)
        self._items.clear()
        return items

    def close(self) -> None:
        """Stop listening."""
        self._source._drop(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
