"""Transactions, and a committed change set on a view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from manager.state.apply import apply_change
from manager.state.changes import (
    UNCOMMITTED,
    Change,
    Changed,
    Commit,
    Delete,
    Put,
    decode_chain,
    decode_changes,
    encode_change,
    follows,
)
from manager.state.query import name_of, word
from manager.state.tables import Record, View
from pyswarm.errors import SequenceConflict
from pyswarm.model import Meta

R = TypeVar("R", bound=Record)


class Transaction:
    """A view that can be written: it reads its own writes, and refuses at once what cannot be.

    `view` is the state with these writes; `now` is seconds since the epoch. The writes are kept
    one by one in their order, so that applying them again can only succeed again.
    """

    __slots__ = ("_frames", "_size_bytes", "befores", "changes", "now", "view")

    def __init__(self, base: View, now: float) -> None:
        self.view = base
        self.now = now
        self.changes: list[Change] = []
        self.befores: list[View] = []  # the state before each change
        self._frames: list[bytes] = []
        self._size_bytes = 0

    def get(self, kind: type[R], record_id: str) -> R | None:
        """The record of that id, with this transaction's own writes."""
        return self.view.get(kind, record_id)

    def require(self, kind: type[R], record_id: str) -> R:
        """The record of that id; raises NotFound."""
        return self.view.require(kind, record_id)

    def put(self, record: Record) -> None:
        """Create or replace a record; its `meta` is filled here, whatever it says.

        Raises AlreadyExists where its name, address or port belongs to another record.
        """
        old: Any = self.view.get(record.__class__, record.id)
        created = old.meta.created_at if old is not None else self.now
        meta = Meta(version=UNCOMMITTED, created_at=created, updated_at=self.now)
        self._write(Put(replace(record, meta=meta)))

    def update(self, kind: type[R], record_id: str, expected_version: int, record: R) -> None:
        """Replace a record that was read at `expected_version`.

        Raises NotFound, and SequenceConflict where it has changed since.
        """
        old = self.view.require(kind, record_id)
        assert record.id == record_id, f"{record.id} is not {record_id}"
        if old.meta.version != expected_version:
            raise SequenceConflict(
                f"update out of sequence: {word(kind)} {name_of(old) or record_id} was changed "
                "by someone else since it was read; read it again and repeat"
            )
        self.put(record)

    def delete(self, kind: type[Record], record_id: str) -> None:
        """Remove a record; raises NotFound."""
        self._write(Delete(kind, record_id))

    def _write(self, change: Change) -> None:
        before = self.view
        self.view = apply_change(before, change)
        self.changes.append(change)
        self.befores.append(before)

    def encoded(self) -> tuple[list[bytes], int]:
        """The frames of all changes so far and their size in bytes; each is encoded once."""
        done = len(self._frames)
        for before, change in zip(self.befores[done:], self.changes[done:], strict=True):
            frame = encode_change(before, change)
            self._frames.append(frame)
            self._size_bytes += len(frame)
        return self._frames, self._size_bytes


def rehearse(tx: Transaction, data: bytes) -> tuple[View, list[Change]]:
    """Read the entry `data` of a transaction as every manager will, on the state that it will meet
    there. Raises what would be raised there; answers the changes, and the state after them.
    """
    before = iter(tx.befores)
    changes = list(decode_changes(data, lambda: next(before)))
    if changes == tx.changes:
        return tx.view, tx.changes
    # The bytes say something else than the records did. They are what counts.
    view = tx.befores[0]
    for change in changes:
        view = apply_change(view, change)
    return view, changes


def commit(
    view: View, index: int, data: bytes, known: list[Change] | None = None
) -> tuple[View, Commit] | None:
    """The view after the entry `data` at raft `index`, and what it did.

    `None` where the entry does not follow the view: every manager skips it alike. `known` are the
    changes of the entry where the caller has them already.
    """
    chain = decode_chain(data)
    if not follows(view, chain):
        return None
    current = view

    def state() -> View:
        return current

    merged: dict[tuple[type[Record], str], tuple[Any, Any]] = {}
    for change in known if known is not None else decode_changes(data, state):
        stamped = _stamp(change, index)
        key = (
            (stamped.record.__class__, stamped.record.id)
            if isinstance(stamped, Put)
            else (stamped.kind, stamped.id)
        )
        first = merged[key][0] if key in merged else current.get(*key)
        current = apply_change(current, stamped)
        merged[key] = (first, stamped.record if isinstance(stamped, Put) else None)
    new = current.copy()
    new.version = index
    new.epoch = chain.epoch
    new.sequence = chain.sequence
    changes = tuple(
        Changed(kind, record_id, old, record)
        for (kind, record_id), (old, record) in merged.items()
        if old is not None or record is not None
    )
    return new, Commit(index, changes)


def _stamp(change: Change, index: int) -> Change:
    if isinstance(change, Delete):
        return change
    record: Any = change.record
    old = record.meta
    meta = Meta(version=index, created_at=old.created_at, updated_at=old.updated_at)
    return Put(replace(record, meta=meta))
