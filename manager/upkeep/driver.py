"""Runs the upkeep on the leader."""

from __future__ import annotations

from manager.planning import driver as planning
from manager.state import Changed, Transaction
from manager.state.driver import Store
from manager.upkeep.plan import plan
from pyswarm.core import NEVER
from pyswarm.model import Config, Node, Secret, Service, Task, Volume, is_terminal
from pyswarm.model.payload import VERSIONS_KEPT


class Upkeep:
    """Whether anything changed on which the records that it keeps depend. The plan looks at all of
    them, so most changes must not call for one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dirty = True
        self._held = False

    def observe(self, changes: tuple[Changed, ...] | None) -> bool:
        """See `planning.Part`."""
        self._dirty = self._dirty or changes is None or any(map(self._matters, changes))
        return self._dirty

    def _matters(self, change: Changed) -> bool:
        kind, new = change.kind, change.new
        if kind is Volume:
            return True
        if kind is Node:
            return new is None
        if kind in (Secret, Config):
            return new is not None and new.version > VERSIONS_KEPT
        if not self._held:
            return False
        if kind is Task:
            return new is None or is_terminal(new.status.state)
        return kind is Service

    async def act(self) -> float:
        """See `planning.Part`."""
        self._dirty = False
        found = plan(self._store.view)
        self._held = found.held
        if not (found.deleted or found.changed):
            return NEVER

        def clean(tx: Transaction) -> None:
            due = plan(tx.view)
            for record in due.deleted:
                tx.delete(type(record), record.id)
            for volume in due.changed:
                tx.put(volume)

        await self._store.update(clean)
        return NEVER


async def run(store: Store) -> None:
    """Keep up until cancelled; to be run on the leader only."""
    await planning.run("upkeep", store, Upkeep(store))
