"""Transactions, and a committed change set on a view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

from manager.state.assign import UNCOMMITTED, Assign, assign, ids_of
from manager.state.changes import (
    Chain,
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
from pyswarm.model import Meta, Task, TaskStatus
from pyswarm.wire.remake import maker, remaker

R = TypeVar("R", bound=Record)

_meta: Final = maker(Meta)
_changed: Final = maker(Changed)
_put: Final = maker(Put)


@cache
def _with_meta(kind: Any) -> Callable[..., Any]:
    return remaker(kind, "meta")


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
        kind: Any = record.__class__
        old: Any = self._writing.get(kind, record.id)
        created = old.meta.created_at if old is not None else self.now
        meta = _meta(UNCOMMITTED, created, self.now)
        self._write(_put(_with_meta(kind)(record, meta)), old)

    def reader(self, kind: type[R]) -> Callable[[str], R | None]:
        """`get` of one kind, for many records, until the next write."""
        return self._writing.reader(kind)

    def has_same(self, kind: type[Record], view: View) -> bool:
        """Whether the records of a kind are just those of `view`: a quick no may be wrong."""
        return self._writing.base.tables[kind] is view.tables[kind]

    def assign(self, status: TaskStatus, nodes: Mapping[str, str]) -> list[str]:
        """Give tasks that wait their nodes, task id -> node id; answers the ids of those that did
        wait, for this node or for any."""
        change = assign(self._writing.reader(Task), self.now, status, nodes)
        if change.tasks:
            self._write(change, None)
        return ids_of(change)

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
    known = {change.body: change for change in tx.changes if isinstance(change, Assign)}
    changes = list(decode_changes(data, lambda: next(before), known))
    if changes == tx.changes:
        return tx.view, tx.changes
    # The bytes say something else than the records did. They are what counts.
    writing = Writing(tx.befores[0])
    for change in changes:
        writing.apply(change, _before(writing, change))
    return writing.view, changes


def _before(records: Writing | View, change: Change) -> Any:
    if isinstance(change, Put):
        return records.get(change.record.__class__, change.record.id)
    return records.get(change.kind, change.id) if isinstance(change, Delete) else None


def commit(view: View, index: int, data: bytes) -> tuple[View, Commit] | None:
    """The view after the entry `data` at raft `index`, and what it did.

    `None` where the entry does not follow the view: every manager skips it alike.
    """
    chain = decode_chain(data)
    if not follows(view, chain):
        return None
    writing = Writing(view)
    changes = []
    for read in decode_changes(data, lambda: writing):
        change = _stamp(read, index)
        writing.apply(change, _before(writing, change))
        changes.append(change)
    return _concluded(view, writing.view, chain, index, changes)


def conclude(
    view: View, after: View, index: int, chain: Chain, changes: list[Change]
) -> tuple[View, Commit] | None:
    """`commit` where the transaction was computed here on this very view: `after` is the view that
    it came to and `changes` are its own, made for it alone, so they need not be made again. Their
    records get their versions; until now they were seen in a head only."""
    if not follows(view, chain):
        return None
    for change in changes:
        if isinstance(change, Put):
            _set_version(change.record.meta, index)
        elif isinstance(change, Assign):
            _stamp(change, index)
    return _concluded(view, after, chain, index, changes)


def _concluded(
    view: View, after: View, chain: Chain, index: int, changes: list[Change]
) -> tuple[View, Commit]:
    new = after.copy()
    new.version = index
    new.epoch = chain.epoch
    new.sequence = chain.sequence
    if len(changes) == 1 and isinstance(changes[0], Assign):
        pairs = zip(changes[0].olds, changes[0].tasks, strict=True)
        return new, Commit(
            index, tuple([_changed(Task, task.id, old, task) for old, task in pairs])
        )
    last: dict[tuple[type[Record], str], Any] = {}
    for change in changes:
        if isinstance(change, Put):
            last[change.record.__class__, change.record.id] = change.record
        elif isinstance(change, Delete):
            last[change.kind, change.id] = None
        else:
            for task in change.tasks:
                last[Task, task.id] = task
    told = []
    for (kind, record_id), record in last.items():
        old = view.tables[kind].get(record_id)
        if old is not None or record is not None:
            told.append(_changed(kind, record_id, old, record))
    return new, Commit(index, tuple(told))


def _stamp(change: Change, index: int) -> Change:
    """The change with the version of its records. Those of an `Assign` were made when it was read,
    for it alone."""
    if isinstance(change, Assign):
        meta = None
        for task in change.tasks:
            if task.meta is not meta:  # tasks that were made together have one
                meta = task.meta
                _set_version(meta, index)
    elif isinstance(change, Put):
        record: Any = change.record
        meta = _meta(index, record.meta.created_at, record.meta.updated_at)
        return Put(_with_meta(record.__class__)(record, meta))
    return change


def _set_version(meta: Meta, index: int) -> None:
    object.__setattr__(meta, "version", index)
