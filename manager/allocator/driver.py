"""Runs the allocator on the leader."""

from __future__ import annotations

import logging
from typing import Any, Final

from manager.allocator.plan import (
    Cursors,
    allocate_network,
    allocate_node,
    allocate_service,
    allocate_task,
    frees_addresses,
)
from manager.placement.lost import is_forgotten
from manager.planning import driver as planning
from manager.state import Changed, Transaction
from manager.state.driver import Store
from pyswarm.core import NEVER
from pyswarm.model import Network, Node, NodeState, Service, Task, TaskState

log = logging.getLogger(__name__)

ITEMS_MAX: Final = 400
"""Objects in one round: about 20 ms of work."""

_ORDER: Final = (Node, Network, Service, Task)
"""A service needs its networks, and a task its service."""


class Allocator:
    """What may lack something (`dirty`), and what could not be given it (`stuck`)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cursors = Cursors()
        self._dirty: dict[type[Any], dict[str, None]] = {kind: {} for kind in _ORDER}
        self._stuck: dict[tuple[type[Any], str], str] = {}

    def observe(self, changes: tuple[Changed, ...] | None) -> bool:
        """See `planning.Part`."""
        if changes is None:
            view = self._store.view
            for kind in (Node, Network, Service):
                self._dirty[kind] = dict.fromkeys(record.id for record in view.list(kind))
            self._dirty[Task] = dict.fromkeys(t.id for t in view.tasks_in_state(TaskState.NEW))
        else:
            for change in changes:
                self._mark(change)
        return any(self._dirty.values())

    def _mark(self, change: Changed) -> None:
        new = change.new
        if self._stuck and frees_addresses(change.old, new):
            for kind, record_id in self._stuck:
                self._dirty[kind][record_id] = None
        if isinstance(new, Task):
            if new.status.state == TaskState.NEW and change.old is None:
                self._dirty[Task][new.id] = None
            elif is_forgotten(self._store.view, new):
                self._mark_leaving(new.service_id)
        elif new is None and change.kind is Task:
            self._mark_leaving(change.old.service_id)
        elif new is not None and change.kind in self._dirty:
            self._dirty[change.kind][change.id] = None
            if change.kind is Node and new.status.state == NodeState.DOWN:
                for task in self._store.view.tasks_of_node(new.id):
                    self._mark_leaving(task.service_id)

    def _mark_leaving(self, service_id: str) -> None:
        service = self._store.view.get(Service, service_id)
        if service is not None and service.pending_delete:
            self._dirty[Service][service.id] = None

    async def act(self) -> float:
        """See `planning.Part`."""
        items = self._take()
        if items:
            await self._store.batch(items, self._allocate)
        return 0.0 if any(self._dirty.values()) else NEVER

    def _take(self) -> list[tuple[type[Any], str]]:
        items: list[tuple[type[Any], str]] = []
        for kind in _ORDER:
            waiting = self._dirty[kind]
            chosen = list(waiting)[: ITEMS_MAX - len(items)]
            for record_id in chosen:
                del waiting[record_id]
            items += [(kind, record_id) for record_id in chosen]
        return items

    def _allocate(self, tx: Transaction, item: tuple[type[Any], str]) -> None:
        kind, record_id = item
        if kind is Node:
            problem = allocate_node(tx, record_id)
        elif kind is Network:
            problem = allocate_network(tx, record_id)
        elif kind is Service:
            problem = allocate_service(tx, record_id, self._cursors)
        else:
            problem = allocate_task(tx, record_id, self._cursors)
        if not problem:
            self._stuck.pop(item, None)
        elif self._stuck.get(item) != problem:
            self._stuck[item] = problem
            log.warning("%s %s: %s", kind.__name__.lower(), record_id, problem)


async def run(store: Store) -> None:
    """Allocate until cancelled; to be run on the leader only."""
    await planning.run("allocator", store, Allocator(store))
