"""Transactions, and a committed change set on a view."""

from __future__ import annotations

from typing import Any, Final, TypeVar

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
from manager.state.writing import Writing
from pyswarm.errors import SequenceConflict
from pyswarm.model import Meta, Task
from pyswarm.wire.remake import maker, remaker

R = TypeVar("R", bound=Record)

_meta: Final = maker(Meta)
_changed: Final = maker(Changed)
_put: Final = maker(Put)


class Transaction:
    """A view that can be written: it reads its own writes, and refuses at once what cannot be.

    `view` is the state with these writes; `now` is seconds since the epoch. The writes are kept
    one by one in their order, so that applying them again can only succeed again. Those that
    cannot be refused are applied together, when someone looks.
    """

    __slots__ = ("_frames", "_size_bytes", "_writing", "befores", "changes", "now")

    def __init__(self, base: View, now: float) -> None:
        self._writing = Writing(base)
        self.now = now
        self.changes: list[Change] = []
        self.befores: list[View] = []  # the state before each change, as far as it concerns it
        self._frames: list[bytes] = []
        self._size_bytes = 0

    @property
    def view(self) -> View:
        """The state with these writes."""
        return self._writing.view

    def get(self, kind: type[R], record_id: str) -> R | None:
        """The record of that id, with this transaction's own writes."""
        return self._writing.get(kind, record_id)

    def require(self, kind: type[R], record_id: str) -> R:
        """The record of that id; raises NotFound."""
        return self._writing.require(kind, record_id)

    def put(self, record: Record) -> None:
        """Create or replace a record; its `meta` is filled here, whatever it says.

        Raises AlreadyExists where its name, address or port belongs to another record.
        """
        kind = record.__class__
        old: Any = self._writing.get(kind, record.id)
        created = old.meta.created_at if old is not None else self.now
        meta = _meta(UNCOMMITTED, created, self.now)
        self._write(_put(remaker(kind, "meta")(record, meta)), old)

    def update(self, kind: type[R], record_id: str, expected_version: int, record: R) -> None:
        """Replace a record that was read at `expected_version`.

        Raises NotFound, and SequenceConflict where it has changed since.
        """
        old = self.require(kind, record_id)
        assert record.id == record_id, f"{record.id} is not {record_id}"
        if old.meta.version != expected_version:
            raise SequenceConflict(
                f"update out of sequence: {word(kind)} {name_of(old) or record_id} was changed "
                "by someone else since it was read; read it again and repeat"
            )
        self.put(record)

    def delete(self, kind: type[Record], record_id: str) -> None:
        """Remove a record; raises NotFound."""
        self._write(Delete(kind, record_id), None)

    def _write(self, change: Change, old: Any) -> None:
        self.befores.append(self._writing.apply(change, old))
        self.changes.append(change)

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
    writing = Writing(view)
    merged: dict[tuple[type[Record], str], tuple[Any, Any]] = {}
    for change in known if known is not None else decode_changes(data, lambda: writing):
        if isinstance(change, Put):
            record = _stamped(change.record, index)
            key = (record.__class__, record.id)
            old = writing.get(*key)
            writing.apply(_put(record), old)
        else:
            record, key = None, (change.kind, change.id)
            old = writing.get(*key)
            writing.apply(change, old)
        merged[key] = (merged[key][0] if key in merged else old, record)
    new = writing.view.copy()
    new.version = index
    new.epoch = chain.epoch
    new.sequence = chain.sequence
    changes = tuple(
        [
            _changed(kind, record_id, old, record)
            for (kind, record_id), (old, record) in merged.items()
            if old is not None or record is not None
        ]
    )
    return new, Commit(index, changes)


def _stamped(record: Any, index: int) -> Any:
    old = record.meta
    meta = _meta(index, old.created_at, old.updated_at)
    return remaker(record.__class__, "meta")(record, meta)
