"""Runs the upkeep on the leader."""

from __future__ import annotations

from manager.planning import driver as planning
from manager.state import Changed, Transaction
from manager.state.driver import Store
from manager.upkeep.plan import plan
from pyswarm.core import NEVER
from pyswarm.model import Config, Node, Secret, Service, Task, Volume, is_terminal


class Upkeep:
    """Whether anything changed on which the records that it keeps depend."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dirty = True

    def observe(self, changes: tuple[Changed, ...] | None) -> bool:
        """See `planning.Part`."""
        self._dirty = self._dirty or changes is None or any(map(_matters, changes))
        return self._dirty

    async def act(self) -> float:
        """See `planning.Part`."""
        self._dirty = False
        found = plan(self._store.view)
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


def _matters(change: Changed) -> bool:
    if change.kind in (Secret, Config, Service, Volume):
        return True
    if change.kind is Node:
        return change.new is None
    if change.kind is not Task:
        return False
    container = (change.new or change.old).spec.container
    if not (container.secrets or container.configs):
        return False
    return change.new is None or is_terminal(change.new.status.state)


async def run(store: Store) -> None:
    """Keep up until cancelled; to be run on the leader only."""
    await planning.run("upkeep", store, Upkeep(store))
