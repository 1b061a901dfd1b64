"""The store of a manager: what raft applies to, and what a leader writes through.

On the leader a transaction runs on the **head**: the committed view plus the proposals in flight,
so that many may be in flight without losing one another's work. What it wrote is rehearsed there
as every manager will apply it, and only then proposed. An entry that does not follow the
state it was computed on is skipped by all managers (`manager.state.changes`); the transactions
behind it then run again on a fresh head.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from manager.state.changes import Chain, Change, Commit, decode_chain, encode_set
from manager.state.proposer import Proposer
from manager.state.snapshot import (
    Capture,
    TaskRows,
    decode_snapshot,
    encode_again,
    encode_snapshot,
)
from manager.state.store import Transaction, commit, conclude, rehearse
from manager.state.tables import View
from pyswarm.aio import Broadcast, Subscription
from pyswarm.errors import (
    DataLoss,
    Internal,
    NotLeader,
    ResourceExhausted,
    SequenceConflict,
    SwarmError,
    Unavailable,
)

__all__ = ["Commit", "Store"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")

CHANGES_MAX: Final = 120
"""Changes in one set of a batch: larger, and one apply would hold the loop for too long."""

BATCH_BYTES: Final = 3 * 512 * 1024
"""A batch is cut when it has reached this size."""

ENTRY_BYTES_MAX: Final = 3 * 1024 * 1024
"""Bytes of one entry of the log, below the 4 MiB that a gRPC message may have."""

ATTEMPTS_MAX: Final = 8
"""Runs of one transaction when the chain breaks before it; then the caller is told."""


@dataclass(eq=False, slots=True)
class _Flight:
    """A proposal whose end is not known; its transaction led from `before` to `after`. `applied`
    answers whether its entry counted, or None
    where a snapshot came instead of the entry, so that nobody can tell."""

    chain: Chain
    before: View | None
    after: View
    changes: list[Change]
    applied: asyncio.Future[bool | None]


class Store:
    """The replicated state: `view` is what is committed here, on every manager.

    It is raft's state machine (`apply`, `capture`, `restore`) and, where `proposer` leads, the way
    to write (`update`, `batch`).
    """

    def __init__(
        self, proposer: Proposer | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.proposer = proposer
        self.clock = clock
        self.view = View()
        self._commits: Broadcast[Commit] = Broadcast()
        self._flights: dict[tuple[int, int], _Flight] = {}
        self._head: View | None = None
        self._reached = self.view  # the state of the head's making that is as `view` is
        self._epoch = 0
        self._sequence = 0
        self._base = 0
        self._landed = asyncio.Event()
        self._rows = TaskRows()
        self._encoding = threading.Lock()  # held by whoever works on the rows

    def watch(self, limit: int = 4096, kinds: Collection[type] = ()) -> Subscription[Commit]:
        """Every commit from now on, or every one in which a record of these kinds changes; read
        `view` after this call, and nothing is missed."""
        wants = partial(_has_one_of, frozenset(kinds)) if kinds else None
        return self._commits.subscribe(limit, wants)

    # What raft calls.

    def apply(self, index: int, data: bytes) -> None:
        """Take the committed entry at `index`; raises DataLoss where this manager cannot."""
        chain = decode_chain(data)
        flight = self._flights.pop((chain.epoch, chain.sequence), None)
        try:
            after = None
            if flight is not None and flight.before is self._reached:
                after = flight.after
                done = conclude(self.view, after, index, chain, flight.changes)
            else:
                done = commit(self.view, index, data)
        except Exception as error:
            # The leader could, so this manager is of another version, or its state is not theirs.
            raise DataLoss(
                f"entry {index} of the log cannot be applied on this manager ({error}): run the "
                "version of pyswarm that the other managers run, or demote and remove this node "
                "there, delete its state directory and let it join again"
            ) from error
        if done is not None:
            self.view, news = done
            self._reached = after or self.view
            self._commits.publish(news)
        if done is None or chain.epoch != self._epoch:
            # Somebody else's entry, or one of ours that came too late: the head is not built on it.
            self.reset_head()
        if self._head is not None and not self._flights:
            # Everything in flight has landed, so the head is what is committed, and now its
            # records carry their versions too.
            self._head = self._reached = self.view
        if flight is not None:
            self._land(flight, done is not None)

    def capture(self) -> Capture:
        """A function that encodes the state of this moment, in any thread."""
        view = self.view

        def encode() -> bytes:
            if not self._encoding.acquire(blocking=False):
                return encode_snapshot(view)  # two at once: this one does without
            try:
                known, self._rows = self._rows, TaskRows()
                data = encode_again(view, known)
                self._rows = known
                return data
            finally:
                self._encoding.release()

        return encode

    def restore(self, index: int, data: bytes) -> None:
        """Replace the state by a snapshot taken at `index`; raises DataLoss."""
        # Many objects are made and none is thrown away, so collections would only look at them
        # over and over. Records that were just read live long: without the freeze, each full
        # collection walks them.
        gc.disable()
        try:
            view = decode_snapshot(data)
        finally:
            gc.enable()
        gc.freeze()
        assert view.version <= index, f"the snapshot at {index} holds version {view.version}"
        self.view = self._reached = view
        self.reset_head()
        for flight in list(self._flights.values()):
            self._flights.pop((flight.chain.epoch, flight.chain.sequence))
            self._land(flight, None)
        self._commits.lag()

    # What writers call.

    def reset_head(self) -> None:
        """Forget what is in flight; called when leadership begins or ends, or a proposal fails."""
        self._head = None

    async def update(
        self, fn: Callable[[Transaction], T], timeout: float = 10.0, *, confirm: bool = False
    ) -> T:
        """Run `fn` on the head, and answer its result once its writes are committed here.

        Where it wrote nothing, its result may rest on what is in flight and gets lost, unless
        `confirm` says that this is to be committed like a write.

        `fn` is a plain function without effects of its own: it runs again where the proposals
        before it were lost. What it raises reaches the caller, and nothing is written. Records
        that it answers carry no version yet: answer ids, and read `view`. Raises NotLeader,
        Unavailable, DeadlineExceeded (the writes may still come), ResourceExhausted.
        """
        for _ in range(ATTEMPTS_MAX):
            tx = Transaction(await self._current_head(), self.clock())
            result = fn(tx)
            if not (tx.changes or confirm) or await self._propose(tx, timeout):
                return result
        raise SequenceConflict("the state keeps changing under this change: try again")

    async def batch(
        self,
        items: Iterable[Item],
        fn: Callable[[Transaction, Item], None],
        timeout: float = 10.0,
        *,
        changes_max: int = CHANGES_MAX,
    ) -> None:
        """Run `fn` for each item, in as few change sets as the limits allow.

        Each set is computed when it is proposed, so `fn` sees the state of that moment and must
        look at its item again. When a set fails, those before it stay committed.
        """
        waiting = list(items)
        while waiting:
            fill = partial(_fill, waiting, fn, changes_max)
            waiting = waiting[await self.update(fill, timeout) :]

    async def _current_head(self) -> View:
        while self._head is None:
            if self._flights:
                # A new chain may only begin when the fate of the old one is known, or the two
                # would race for the same base.
                self._landed.clear()
                await self._landed.wait()
                continue
            self._head = self._reached = self.view
            self._epoch = secrets.randbits(63)
            self._sequence = 0
            self._base = self.view.version
        return self._head

    async def _propose(self, tx: Transaction, timeout: float) -> bool:
        if self.proposer is None:
            raise NotLeader
        frames, size_bytes = tx.encoded()
        if size_bytes > ENTRY_BYTES_MAX:
            raise ResourceExhausted(
                f"this change has {size_bytes} bytes, and one change may have {ENTRY_BYTES_MAX}"
            )
        chain = Chain(self._epoch, self._sequence + 1, self._base)
        entry = encode_set(chain, frames)
        before = self._head
        self._head, changes = _rehearsed(tx, entry)
        self._sequence = chain.sequence
        if changes is not tx.changes:
            before = None  # what was read is not what was made: all read it again
        flight = _Flight(
            chain, before, self._head, changes, asyncio.get_running_loop().create_future()
        )
        self._flights[chain.epoch, chain.sequence] = flight
        try:
            await self.proposer.propose(entry, timeout)
            # Raft may answer before it has applied the entry here.
            counted = await flight.applied
        except SwarmError:
            if not flight.applied.done():
                self._lost(chain)
                raise
            counted = flight.applied.result()
        except BaseException:
            self._lost(chain)
            raise
        finally:
            self._flights.pop((chain.epoch, chain.sequence), None)
            self._landed.set()
        if counted is None:
            raise Unavailable("leadership moved on: whether the change took effect is not known")
        return counted

    def _land(self, flight: _Flight, counted: bool | None) -> None:
        if not flight.applied.done():
            flight.applied.set_result(counted)
        self._landed.set()

    def _lost(self, chain: Chain) -> None:
        if self._epoch == chain.epoch:
            self.reset_head()


def _has_one_of(kinds: Collection[type], commit: Commit) -> bool:
    return any(change.kind in kinds for change in commit.changes)


def _rehearsed(tx: Transaction, entry: bytes) -> tuple[View, list[Change]]:
    """An entry that is in the log stops every manager that cannot apply it, again after each
    restart. So none gets there that was not applied once, from the same bytes, on the same state.
    """
    try:
        return rehearse(tx, entry)
    except Exception as error:
        log.exception("a change was refused, since no manager could apply it: this is a bug")
        raise Internal(
            f"this change was refused and nothing was written, since no manager could apply it "
            f"({type(error).__name__}: {error}): please report it with the daemon's log"
        ) from error


def _fill(
    items: Sequence[Item],
    fn: Callable[[Transaction, Item], None],
    changes_max: int,
    tx: Transaction,
) -> int:
    """Run `fn` for the first items until the set is full; answers how many."""
    for count, item in enumerate(items, 1):
        fn(tx, item)
        if len(tx.changes) >= changes_max or tx.encoded()[1] >= BATCH_BYTES:
            return count
    return len(items)
