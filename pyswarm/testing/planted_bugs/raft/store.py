"""Bugs of the store on top of the log: the chain of proposals, snapshots, answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from manager.state import driver, store
from manager.state.changes import Chain, Change, Put, follows
from manager.state.driver import Store
from manager.state.snapshot import decode_snapshot
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.testing import store_sim
from pyswarm.testing.planted_bugs import Catalogue, Seeds, patched

Planted = AbstractContextManager[None]
BUGS = Catalogue()
stores = Seeds("store_sim", store_sim.run_seed)


@BUGS.add("An entry is applied whatever state it was computed on.", stores)
def chain_not_checked() -> Planted:
    """It overwrites what it never saw."""
    return patched((store, "follows", lambda view, chain: True))


@BUGS.add("The first entry of a chain is applied whatever came before.", stores)
def chain_base_not_checked() -> Planted:
    """A leader's first write undoes its predecessor's last."""

    def loose(view: View, chain: Chain) -> bool:
        return chain.sequence == 1 or follows(view, chain)

    return patched((store, "follows", loose))


@BUGS.add("An entry of a chain is applied although the one before it was lost.", stores)
def chain_with_a_gap() -> Planted:
    """It carries the lost write along."""

    def loose(view: View, chain: Chain) -> bool:
        return (chain.sequence > 1 and view.epoch == chain.epoch) or follows(view, chain)

    return patched((store, "follows", loose))


@BUGS.add("A snapshot does not say where the chain stood.", stores)
def snapshot_forgets_the_chain() -> Planted:
    """Who starts from it skips what others apply."""
    decode = decode_snapshot

    def forgetful(data: bytes) -> View:
        view = decode(data)
        view.epoch = view.sequence = 0
        return view

    return patched((driver, "decode_snapshot", forgetful))


@BUGS.add("After a lost proposal a leader goes on to build on it.", stores)
def head_kept_after_a_loss() -> Planted:
    """Every later change is skipped."""
    return patched((Store, "reset_head", lambda self: None))


@BUGS.add("A client hears that its change counts when all managers skipped it.", stores)
def skipped_change_acknowledged() -> Planted:
    """The log has it, and the state has not."""
    land = Store._land
    return patched((Store, "_land", lambda self, flight, counted: land(self, flight, True)))


@BUGS.add("Proposals in flight are computed on the committed state only.", stores)
def head_without_the_flights() -> Planted:
    """The second of two that wait together undoes the first."""
    propose = Store._propose

    async def alone(self: Store, tx: Transaction, timeout: float) -> bool:
        self._sequence = 0
        self._epoch, self._base = self._epoch + 1, self.view.version
        return await propose(self, tx, timeout)

    return patched((Store, "_propose", alone), (store, "follows", lambda view, chain: True))


@BUGS.add("Applying an entry reads a clock.", stores)
def clock_while_applying() -> Planted:
    """Each manager comes to another state."""
    stamp: Callable[[Change, int], Change] = store._stamp
    clock = itertools.count()

    def timed(change: Change, index: int) -> Change:
        stamped = stamp(change, index)
        if isinstance(stamped, Put):
            record: Any = stamped.record
            meta = replace(record.meta, updated_at=float(next(clock)))
            return Put(replace(record, meta=meta))
        return stamped

    return patched((store, "_stamp", timed))
