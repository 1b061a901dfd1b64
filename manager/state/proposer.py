"""The one small thing that the store knows of consensus."""

from __future__ import annotations

from typing import Protocol


class Proposer(Protocol):
    """Puts bytes into the replicated log."""

    async def propose(self, data: bytes, timeout: float) -> int:
        """The index at which `data` was committed.

        Proposals are appended in the order in which the calls begin, so the call reaches the log
        before its first suspension. Raises NotLeader where another manager leads, Unavailable or
        DeadlineExceeded (after `timeout` seconds) where the outcome is unknown: the entry may
        still be committed later.
        """
        ...
