"""Observe, plan, commit: the one loop of allocator, orchestrator and scheduler.

The first change after a quiet time is acted on at once, since a user waits for it; while changes
keep coming, a planner acts at most every `GAP_SECONDS`, and rests three times as long as it worked
(at most a second), so that the process stays free for raft and for the sessions.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from typing import Final, Protocol

from manager.state import Changed
from manager.state.driver import Commit, Store
from pyswarm.aio import Lagged, Subscription
from pyswarm.core import NEVER
from pyswarm.errors import NotLeader, SwarmError

log = logging.getLogger(__name__)

GAP_SECONDS: Final = 0.01
REST_SECONDS_MAX: Final = 1.0
RETRY_SECONDS: Final = 1.0


class Part(Protocol):
    """A planner with its memory of what is dirty."""

    def observe(self, changes: tuple[Changed, ...] | None) -> bool:
        """Take changes (None: anything may have changed); whether there is work now."""
        ...

    async def act(self) -> float:
        """Plan from the store's view and commit; answers when to act again without a change, in
        seconds since the epoch (0: at once, `NEVER`: only on changes)."""
        ...


async def run(name: str, store: Store, part: Part, kinds: Collection[type] = ()) -> None:
    """Keep `part` at work until cancelled; a failed round is made again from a fresh view. With
    `kinds` it is shown only the commits in which a record of these changes."""
    with store.watch(kinds=kinds) as commits:
        part.observe(None)
        wake_at = 0.0
        while True:
            await _wait(store, commits, part, wake_at)
            started = time.monotonic()
            try:
                wake_at = await part.act()
            except NotLeader:
                # The loop ends with leadership; until that is noticed there is nothing to do.
                part.observe(None)
                wake_at = store.clock() + RETRY_SECONDS
            except SwarmError as error:
                log.warning("%s: %s; trying again", name, error.message)
                part.observe(None)
                wake_at = store.clock() + RETRY_SECONDS
            worked = time.monotonic() - started
            await asyncio.sleep(min(max(GAP_SECONDS, 3 * worked), REST_SECONDS_MAX))


async def _wait(store: Store, commits: Subscription[Commit], part: Part, wake_at: float) -> None:
    """Return when there is work, or at `wake_at`."""
    delay = None if wake_at == NEVER else max(wake_at - store.clock(), 0.0)
    try:
        async with asyncio.timeout(delay):
            work = _drain(commits, part)
            while not work:
                work = await _next(commits, part)
    except TimeoutError:
        return


def _drain(commits: Subscription[Commit], part: Part) -> bool:
    try:
        waiting = commits.get_nowait()
    except Lagged:
        return part.observe(None)
    work = False
    for commit in waiting:
        work = part.observe(commit.changes) or work
    return work


async def _next(commits: Subscription[Commit], part: Part) -> bool:
    try:
        commit = await commits.get()
    except Lagged:
        return part.observe(None)
    work = part.observe(commit.changes)
    return _drain(commits, part) or work
