"""A store without raft: each proposal is committed in its turn, on the next round of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from manager.state.driver import Store
from pyswarm.errors import SwarmError


class InstantLog:
    """A log of one manager that is never slow. `refuse` is raised by the next proposals once."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.entries: list[bytes] = []
        self.refusals: list[SwarmError] = []

    async def propose(self, data: bytes, timeout: float) -> int:
        """Append, let the loop turn once, apply, answer the index."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.entries.append(data)
        index = len(self.entries)
        await asyncio.sleep(0)
        assert self.store is not None, "the log has no store yet"
        self.store.apply(index, data)
        return index


def instant_store(clock: Callable[[], float]) -> Store:
    """A store that commits alone."""
    journal = InstantLog()
    journal.store = Store(journal, clock)
    return journal.store
