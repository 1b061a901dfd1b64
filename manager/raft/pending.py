"""Callers that wait: for their entry, for a read, for an index, for something to become true."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from manager.raft.messages import Entry
from pyswarm.errors import DeadlineExceeded, NotLeader, SwarmError, Unavailable


class Waiter(Protocol):
    """The part of a future that is needed here."""

    def done(self) -> bool:
        """Whether it has a result, or nobody waits any more."""
        ...

    def set_result(self, result: int, /) -> None:
        """Wake the caller."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Wake the caller with an error."""
        ...


def answer(waiter: Waiter, index: int) -> None:
    """Give the result, if it is still wanted."""
    if not waiter.done():
        waiter.set_result(index)


def refuse(waiter: Waiter, error: SwarmError) -> None:
    """Give the error, if it is still wanted."""
    if not waiter.done():
        waiter.set_exception(error)


BATCHES_MOST = 1
"""Batches of proposals on their way at once. With more, busy callers would be sent one by one,
each with messages and writes of its own; while one batch is on its way, the next one gathers."""

GATHER_SECONDS = 0.06
"""How long after the start of a batch the next one waits for as many callers. Those of an API come
back one by one, and each batch has a price of its own (two messages to each peer, a write, a
wake-up of each watcher), so small batches would be most of the work of a busy leader."""

GAP_SECONDS = 0.02
"""Nobody came for this long: those who are missing will not come now. A leader with much to do
takes in a caller each millisecond."""

CLOCK_SECONDS = 0.001
"""The step of libuv's clock: a timer for less would be due at once, again and again."""

CROWD_FADES = 0.9
"""The part of the expected callers that is left after a batch with fewer."""


REPLACED = "another leader has replaced this change here: whether it took effect is not known"


class Proposals:
    """Payloads on their way: queued for the next append, or in the log and not yet applied."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, int]] = deque()  # term and last index of each
        self._queue: deque[tuple[bytes, Waiter]] = deque()
        self._flights: dict[int, tuple[int, Waiter, int]] = {}
        self._begun = 0.0
        self._arrived = 0.0
        self._crowd = 1.0  # callers that share a batch, as far as the last ones tell
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._flights)

    @property
    def queued(self) -> bool:
        """Whether something waits to be appended."""
        return bool(self._queue)

    def wait_seconds(self, term: int, now: float) -> float:
        """How long a leader of this term lets its queue gather; infinite while a batch is under
        way. A lone caller never waits, nor do callers that come back all at once.
        """
        # What an earlier term left behind may never be applied.
        while self._batches and self._batches[0][0] != term:
            self._batches.popleft()
        if len(self._batches) >= BATCHES_MOST:
            return math.inf
        if len(self._queue) >= int(self._crowd):
            return 0.0
        wait = min(self._begun + GATHER_SECONDS, self._arrived + GAP_SECONDS) - now
        return wait if wait >= CLOCK_SECONDS else 0.0

    def begin(self, now: float) -> list[tuple[bytes, Waiter]]:
        """Take all that is queued as the next batch."""
        batch = self.take()
        self._begun = now
        self._crowd = max(float(len(batch)), CROWD_FADES * self._crowd)
        return batch

    def add(self, data: bytes, waiter: Waiter, now: float) -> None:
        """Queue a payload."""
        self._queue.append((data, waiter))
        self._arrived = now
        self.bytes += len(data)

    def take(self) -> list[tuple[bytes, Waiter]]:
        """All that is queued; callers that gave up are left out."""
        batch = [item for item in self._queue if not item[1].done()]
        self.bytes -= sum(len(data) for data, waiter in self._queue if waiter.done())
        self._queue.clear()
        return batch

    def refused(self, batch: list[tuple[bytes, Waiter]], error: SwarmError) -> None:
        """The batch did not get into the log."""
        for data, waiter in batch:
            self.bytes -= len(data)
            refuse(waiter, error)

    def appended(self, first: int, term: int, batch: list[tuple[bytes, Waiter]]) -> None:
        """The batch is in the log from `first` on."""
        self._batches.append((term, first + len(batch) - 1))
        for index, (data, waiter) in enumerate(batch, first):
            old = self._flights.pop(index, None)
            if old is not None:
                # It was cut off this log, but a member that has it may still lead and commit it.
                self._settle(old, Unavailable(REPLACED))
            self._flights[index] = (term, waiter, len(data))

    def applied(self, entry: Entry) -> None:
        """An entry was applied: its caller, or the one whose place it took, learns it."""
        while self._batches and self._batches[0][1] <= entry.index:
            self._batches.popleft()
        flight = self._flights.pop(entry.index, None)
        if flight is None:
            return
        lost = flight[0] != entry.term
        self._settle(flight, NotLeader("another leader has replaced this change") if lost else None)
        if not lost:
            answer(flight[1], entry.index)

    def skipped(self, index: int) -> None:
        """A snapshot up to `index` came instead of the entries."""
        error = Unavailable("a snapshot came instead: whether the change took effect is not known")
        self._batches.clear()
        for place in [place for place in self._flights if place <= index]:
            self._settle(self._flights.pop(place), error)

    def fail(self, error: SwarmError) -> None:
        """Nothing will be known of any of them here."""
        self.refused(self.take(), error)
        self._batches.clear()
        for flight in self._flights.values():
            self._settle(flight, error)
        self._flights.clear()

    def _settle(self, flight: tuple[int, Waiter, int], error: SwarmError | None) -> None:
        self.bytes -= flight[2]
        if error is not None:
            refuse(flight[1], error)


class Deadlines:
    """Until when callers wait, looked at once a tick: a timer for each would be a good part of what
    a write costs the leader."""

    def __init__(self) -> None:
        self._ends: dict[Waiter, tuple[float, float]] = {}

    def add(self, waiter: Waiter, now: float, timeout: float) -> None:
        """The caller waits for `timeout` seconds from now, and up to a tick more."""
        self._ends[waiter] = (now + timeout, timeout)

    def remove(self, waiter: Waiter) -> None:
        """The caller waits no more."""
        del self._ends[waiter]

    def look(self, now: float) -> None:
        """Refuse those whose time is over."""
        for waiter, (end, timeout) in self._ends.items():
            if end <= now:
                error = f"no majority of the managers answered within {timeout:g} s: whether the "
                refuse(waiter, DeadlineExceeded(f"{error}change took effect is not known"))


class Waiting:
    """Callers that wait for an index to be applied, or for a condition."""

    def __init__(self) -> None:
        self._indexes: list[tuple[int, int, Waiter]] = []
        self._conditions: list[tuple[Callable[[], bool], Waiter]] = []
        self._order = itertools.count()

    @property
    def for_conditions(self) -> bool:
        """Whether somebody waits for more than an index."""
        return bool(self._conditions)

    def for_index(self, index: int, waiter: Waiter) -> None:
        """Answer when `index` is applied."""
        heapq.heappush(self._indexes, (index, next(self._order), waiter))

    def until(self, condition: Callable[[], bool], waiter: Waiter) -> None:
        """Answer when `condition` holds; it is asked after each round."""
        self._conditions.append((condition, waiter))

    def check(self, applied: int) -> None:
        """After a round."""
        while self._indexes and self._indexes[0][0] <= applied:
            answer(heapq.heappop(self._indexes)[2], applied)
        if self._conditions:
            left = []
            for condition, waiter in self._conditions:
                if not waiter.done() and condition():
                    answer(waiter, applied)
                elif not waiter.done():
                    left.append((condition, waiter))
            self._conditions = left

    def fail(self, error: SwarmError) -> None:
        """Nothing comes any more."""
        for _, _, waiter in self._indexes:
            refuse(waiter, error)
        for _, waiter in self._conditions:
            refuse(waiter, error)
        self._indexes.clear()
        self._conditions.clear()
