"""Runs the orchestrator on the leader."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, Final

from manager.orchestrator.plan import plan_service
from manager.planning import driver as planning
from manager.planning import revisions
from manager.state import Changed, Transaction
from manager.state.driver import Store
from pyswarm.core import NEVER
from pyswarm.model import Cluster, Node, Service, Task, TaskState, is_terminal
from pyswarm.model.ids import ID_BYTES, encode_id

SERVICES_MAX: Final = 50
"""Services in one round."""


def random_ids() -> Iterator[str]:
    """New ids without end."""
    while True:
        yield encode_id(secrets.token_bytes(ID_BYTES))


class Orchestrator:
    """Which services to look at, and when to look at which without a change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids = random_ids()
        self._dirty: dict[str, None] = {}
        self._wake: dict[str, float] = {}
        self._left: dict[str, tuple[Any, Any]] = {}
        """How the last round left a service: when only that is committed, nothing is to be done."""

    def observe(self, changes: tuple[Changed, ...] | None) -> bool:
        """See `planning.Part`."""
        if changes is None:
            self._mark_all()
        else:
            for change in changes:
                self._mark(change)
        return bool(self._dirty)

    def _mark_all(self) -> None:
        self._left.clear()
        view = self._store.view
        self._dirty |= dict.fromkeys(service.id for service in view.list(Service))
        self._dirty |= dict.fromkeys(sorted(view.service_tasks))

    def _mark(self, change: Changed) -> None:
        if change.kind is Task:
            if _matters(change.old, change.new):
                self._dirty[(change.new or change.old).service_id] = None
        elif change.kind is Service:
            self._dirty[change.id] = None
        elif change.kind is Node:
            if _node_facts(change.old) != _node_facts(change.new):
                self._mark_node(change.id)
        elif change.kind is Cluster:
            self._mark_all()

    def _mark_node(self, node_id: str) -> None:
        self._left.clear()
        view = self._store.view
        self._dirty |= dict.fromkeys(task.service_id for task in view.tasks_of_node(node_id))
        for service in view.list(Service):
            if service.spec.mode.is_global:
                self._dirty[service.id] = None

    async def act(self) -> float:
        """See `planning.Part`."""
        now = self._store.clock()
        woken = sorted(k for k, at in self._wake.items() if at <= now)
        self._dirty |= dict.fromkeys(woken)
        for service_id in woken:
            self._left.pop(service_id, None)
        chosen = list(self._dirty)[:SERVICES_MAX]
        for service_id in chosen:
            del self._dirty[service_id]
        more: set[str] = set()

        def plan(tx: Transaction, service_id: str) -> None:
            if _is_left(self._left.get(service_id), _records(tx, service_id)):
                return
            done = plan_service(tx.view, service_id, tx.now, self._ids)
            for task_id in done.deleted:
                tx.delete(Task, task_id)
            for task in done.tasks:
                tx.put(task)
            if done.service is not None:
                revisions.put_service(tx, done.service, done.service.update_status.message)
            self._wake.pop(service_id, None)
            if done.wake_at != NEVER:
                self._wake[service_id] = done.wake_at
            self._left[service_id] = _records(tx, service_id)
            if done.more or self._left[service_id] == (None, None):
                del self._left[service_id]
            if done.more:
                more.add(service_id)

        if chosen:
            await self._store.batch(chosen, plan)
        self._dirty |= dict.fromkeys(sorted(more))
        return 0.0 if self._dirty else min(self._wake.values(), default=NEVER)


def _records(tx: Transaction, service_id: str) -> tuple[Any, Any]:
    """The service and its tasks, as the objects that they are."""
    view = tx.view
    return view.get(Service, service_id), view.service_tasks.get(service_id)


def _is_left(left: tuple[Any, Any] | None, now: tuple[Any, Any]) -> bool:
    return left is not None and left[0] is now[0] and left[1] is now[1]


def _matters(old: Task | None, new: Task | None) -> bool:
    """Whether a change of a task can change what its service needs."""
    if old is None or new is None or old.desired_state != new.desired_state:
        return True
    state = new.status.state
    return state != old.status.state and (state == TaskState.RUNNING or is_terminal(state))


def _node_facts(node: Node | None) -> Any:
    if node is None:
        return None
    status = node.status
    return (node.spec, node.role, node.description, status.state, status.address, status.left)


async def run(store: Store) -> None:
    """Orchestrate until cancelled; to be run on the leader only."""
    await planning.run("orchestrator", store, Orchestrator(store))
