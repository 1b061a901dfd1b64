"""Keeps the events of one manager: follows its store and its leadership, and tells who asks.

What is kept is in memory. A manager that restarts has the events of the log behind its last
snapshot again, since it applies them again; older ones are gone there. The other managers, and so
the next leader, have theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from manager.events.derive import Event, difference, events_of, leader_event
from manager.events.ring import EventRing, Filters, check, matches
from manager.state.changes import Changed
from manager.state.driver import Store
from pyswarm.aio import Broadcast, Lagged
from pyswarm.model import Node

LOOK_SECONDS: Final = 0.5
BATCH_MAX: Final = 500
LEADER_PLACE: Final = 1 << 32
"""Behind the events of a commit; the term, which grows, is added."""


class EventLog:
    """`leader` answers node id and term of the leader that this manager knows; the id is empty
    where there is none. Subscribes when it is made, so make it before raft starts."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        leader: Callable[[], tuple[str, int]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._leader = leader
        self._leads = ""
        self._commits = store.watch()
        self._view = store.view
        self._news: Broadcast[Event] = Broadcast()
        self._ring = EventRing()
        self._latest = 0.0
        self.replayed_to = 0
        """The raft index up to which commits are applied again: they are not of now."""

    async def run(self) -> None:
        """Follow, for as long as the manager lives."""
        with self._commits:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._follow_commits())
                both.create_task(self._follow_leader())

    async def _follow_commits(self) -> None:
        while True:
            try:
                commits = [await self._commits.get(), *self._commits.get_nowait()]
            except Lagged:
                self._catch_up()
                continue
            for commit in commits:
                self._take(commit.changes, commit.version)
            self._view = self._store.view
            self._look_at_leader()

    async def _follow_leader(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._look_at_leader()

    def _take(self, changes: tuple[Changed, ...], version: int) -> None:
        now = self._clock()
        if version <= self.replayed_to:
            times = [c.new.meta.updated_at for c in changes if c.new is not None]
            now = self._latest = max(self._latest, *times, 0.0)
        for event in events_of(changes, version, now, self._node_name):
            self._tell(event)

    def _catch_up(self) -> None:
        """A snapshot came, or too many commits at once. At the first one there is nothing to
        compare with, and what it holds is no news."""
        view = self._store.view
        if self._view.version:
            self._take(tuple(difference(self._view, view)), view.version)
        self._view = view

    def _look_at_leader(self) -> None:
        leads, term = self._leader()
        if not leads or leads == self._leads:
            return
        before, self._leads = self._leads, leads
        view, place = self._store.view, LEADER_PLACE + 2 * term
        for index, node_id in enumerate((before, leads)):
            node = view.get(Node, node_id) if node_id else None
            if node is not None:
                self._tell(
                    leader_event(
                        node,
                        leads=bool(index),
                        now=self._clock(),
                        version=view.version,
                        place=place + index,
                    )
                )

    def _tell(self, event: Event) -> None:
        self._ring.add(event)
        self._news.publish(event)

    def _node_name(self, node_id: str) -> str:
        node = self._store.view.get(Node, node_id)
        return node.hostname if node is not None else node_id

    async def read(
        self,
        filters: Filters,
        *,
        since: float,
        until: float,
        follow: bool,
        after: tuple[int, int] = (0, 0),
    ) -> AsyncGenerator[list[Event], None]:
        """Events that pass, of times in [since, until] (0: no bound), behind the key `after`; then
        what comes, to `until`. Who follows and names neither `since` nor `after` gets only what
        comes. Raises InvalidArgument for a filter that does not exist."""
        check(filters)
        asks_past = bool(since) or not follow or after > (0, 0)

        def wanted(event: Event) -> bool:
            in_time = since <= event.time and (not until or event.time <= until)
            return in_time and event.key > after and matches(event, filters)

        with self._news.subscribe() as news:
            while True:
                past = self._ring.all() if asks_past else []
                kept = [event for event in past if wanted(event)]
                for begin in range(0, len(kept), BATCH_MAX):
                    yield kept[begin : begin + BATCH_MAX]
                after = kept[-1].key if kept else after
                if not follow:
                    return
                try:
                    while True:
                        left = until - self._clock() if until else None
                        if left is not None and left <= 0:
                            return
                        try:
                            async with asyncio.timeout(left):
                                batch = [await news.get(), *news.get_nowait()]
                        except TimeoutError:
                            continue
                        if fresh := [event for event in batch if wanted(event)]:
                            after, asks_past = fresh[-1].key, True
                            yield fresh
                except Lagged:
                    continue
