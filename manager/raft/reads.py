"""Linearizable reads without a write (ReadIndex: Ongaro's thesis, section 6.4).

A read is safe at the commit index of the moment when it arrived, once a majority has answered a
heartbeat that was sent later: then no newer leader had committed anything before. All reads that
wait share one round of heartbeats.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from manager.raft import quorum


@dataclass(frozen=True, slots=True)
class Read:
    """A read of member `origin`; it may be served once `index` is applied."""

    origin: int
    request: int
    index: int = 0


class Reads:
    """The reads of one leader's time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.waiting: list[Read] = []  # for the next round
        self._open: deque[tuple[int, Read]] = deque()
        self._heard: dict[int, int] = {}
        self.round = 0

    @property
    def open(self) -> bool:
        """Whether a round is under way."""
        return bool(self._open)

    def ask(self, origin: int, request: int) -> None:
        """A read arrives; beyond the limit it is dropped, and asked again."""
        if len(self.waiting) + len(self._open) < self._limit:
            self.waiting.append(Read(origin, request))

    def begin(self, commit: int) -> None:
        """Start a round for what waits."""
        self.round += 1
        self._open.extend(
            (self.round, Read(read.origin, read.request, commit)) for read in self.waiting
        )
        self.waiting.clear()

    def heard(self, sender: int, context: int) -> None:
        """A member answered the heartbeat of round `context`."""
        if context > self._heard.get(sender, 0):
            self._heard[sender] = min(context, self.round)

    def served(self, me: int, voters: Iterable[int]) -> list[Read]:
        """The reads that a majority has confirmed."""
        done = quorum.reached(
            self.round if voter == me else self._heard.get(voter, 0) for voter in voters
        )
        found = []
        while self._open and self._open[0][0] <= done:
            found.append(self._open.popleft()[1])
        return found
