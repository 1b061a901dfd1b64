"""What the calls of all kinds of objects share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from manager.control import edits
from manager.control.roots import Roots
from manager.logs.driver import LogBroker
from manager.state.driver import Store
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.errors import SequenceConflict
from pyswarm.model import Config, Network, Node, NodeRole, Secret, Service, Task, Volume
from pyswarm.wire import to_message

Stored = TypeVar("Stored", Node, Service, Task, Network, Secret, Config, Volume)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlContext:
    """What the control API is given beside the store."""

    store: Store
    logs: Callable[[], LogBroker]
    new_id: Callable[[], str]
    new_token: Callable[[str], str]
    """A fresh join token for this root digest."""
    new_key: Callable[[], bytes]
    """A fresh unlock key."""
    clock: Callable[[], float]
    with_raft_status: Callable[[Node], Node]
    manager_address: Callable[[], str]
    check_role: Callable[[View, Node, NodeRole], None]
    """Raises where the node cannot take this role."""
    check_unused: Callable[[Node], None]
    """Raises where the node is still a manager."""
    roots: Roots


class Calls:
    """Base of the servicers: the store, and how a record is read and changed in it."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        self._store = context.store

    def _now(self) -> float:
        return self._context.clock()

    def _get(self, kind: type[Stored], ref: str) -> Any:
        return to_message(self._store.view.resolve(kind, ref))

    def _current(self, tx: Transaction, kind: type[Stored], ref: str, version: int) -> Stored:
        """The record to change; raises SequenceConflict where it is not as it was at `version`.

        What is in flight bears no version yet, so a record counts as unchanged where it is equal
        to the committed one.
        """
        record: Stored = tx.view.resolve(kind, ref)
        committed: Stored | None = self._store.view.get(kind, record.id)
        if version and not edits.is_at(record, committed, version):
            raise SequenceConflict(
                "update out of sequence: it changed since it was read, try again"
            )
        return record

    async def _changed(self, change: Callable[[Transaction], Stored]) -> Any:
        """Store what `change` makes, and answer it as it stands then."""

        def put(tx: Transaction) -> Stored:
            record = change(tx)
            tx.put(record)
            return record

        record = await self._store.update(put)
        return to_message(self._store.view.get(type(record), record.id) or record)
