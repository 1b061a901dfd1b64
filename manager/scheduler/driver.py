"""Runs the scheduler on the leader."""

from __future__ import annotations

from typing import Final

from manager.planning import driver as planning
from manager.scheduler.backlog import Backlog
from manager.scheduler.filters import passes
from manager.scheduler.fleet import Fleet, strategy_of
from manager.scheduler.plan import plan
from manager.state import Changed, Transaction
from manager.state.driver import Store
from pyswarm.core import NEVER
from pyswarm.model import (
    Availability,
    Cluster,
    Node,
    NodeState,
    Task,
    TaskState,
    TaskStatus,
)
from pyswarm.wire.remake import remaker

ASSIGNED_MESSAGE: Final = "scheduler assigned task to node"
REFUSED_MESSAGE: Final = "pending task scheduling"

SET_MAX: Final = 500
"""Assignments in one change set: they are small, and applied together."""

FREED_MAX: Final = 20
"""Of more nodes on which something became free, it is not asked which task that helps."""


class Scheduler:
    """The nodes, the tasks that wait, and what became free, kept by the changes of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fleet: Fleet | None = None
        self._backlog = Backlog()
        self._freed: dict[str, None] = {}
        self._retry_all = False

    def observe(self, changes: tuple[Changed, ...] | None) -> bool:
        """See `planning.Part`."""
        if changes is None:
            self._fleet = None
        if self._fleet is None:
            return True
        for change in changes or ():
            if change.kind is Task:
                self._observe_task(self._fleet, change.old, change.new)
            elif change.kind is Node:
                self._observe_node(self._fleet, change.id, change.new)
            elif change.kind is Cluster and strategy_of(self._store.view) != self._fleet.strategy:
                self._fleet = None
                return True
        return self._has_work

    @property
    def _has_work(self) -> bool:
        return not self._backlog.is_empty or self._retry_all or bool(self._freed)

    def _observe_task(self, fleet: Fleet, old: Task | None, new: Task | None) -> None:
        if new is None:
            self._backlog.discard(old)  # type: ignore[arg-type]
            if fleet.drop_task(old):  # type: ignore[arg-type]
                self._freed[old.node_id] = None  # type: ignore[union-attr]
            return
        self._backlog.put(new, self._store.clock())
        if fleet.put_task(new):
            self._freed[new.node_id] = None

    def _observe_node(self, fleet: Fleet, node_id: str, node: Node | None) -> None:
        if node is None:
            fleet.remove_node(node_id)
            self._retry_all = True
            return
        is_new = node_id not in fleet.infos
        self._retry_all = fleet.put_node(node) or self._retry_all
        if is_new:
            for task in self._store.view.tasks_of_node(node_id):
                fleet.put_task(task)

    def _retry(self, fleet: Fleet) -> None:
        """Groups that were put aside have another chance where something changed for them."""
        if not (self._retry_all or self._freed):
            return
        every = self._retry_all or len(self._freed) > FREED_MAX
        infos = [fleet.infos[key] for key in self._freed if key in fleet.infos]
        for key, example in list(self._backlog.parked()):
            if every or any(passes(example, info) for info in infos):
                self._backlog.retry(key)
        self._backlog.retry_bound()
        self._freed.clear()
        self._retry_all = False

    async def act(self) -> float:
        """See `planning.Part`."""
        now, view = self._store.clock(), self._store.view
        fleet = self._fleet
        if fleet is None:
            fleet = self._fleet = Fleet.of(view)
            self._backlog = Backlog.of(view, now)
            self._freed.clear()
            self._retry_all = False
        self._retry(fleet)
        found = plan(fleet, self._backlog, now)
        if found.placed:
            assign = _Assign()
            await self._store.batch(found.placed.values(), assign, changes_max=SET_MAX)
            for task_id in found.placed.keys() - assign.done:
                self._not_placed(fleet, found.placed[task_id], now)
        if found.refused:
            await self._store.batch(
                found.refused.items(), lambda tx, item: _refuse(tx, item[0], item[1])
            )
        return 0.0 if found.more else found.wake_at

    def _not_placed(self, fleet: Fleet, task: Task, now: float) -> None:
        """The task or its node has changed its mind meanwhile: what is stored counts."""
        fleet.release(task.node_id, task.id)
        stored = self._store.view.get(Task, task.id)
        if stored is not None:
            fleet.put_task(stored)
            self._backlog.put(stored, now)


def _waiting(tx: Transaction, task_id: str) -> Task | None:
    task = tx.get(Task, task_id)
    if task is None or task.status.state != TaskState.PENDING:
        return None
    return task if task.desired_state <= TaskState.COMPLETE else None


class _Assign:
    """Places tasks, unless either side has changed its mind; `done` are those that were. The
    transaction may run again, and then its last word counts."""

    def __init__(self) -> None:
        self.done: set[str] = set()
        self._status = TaskStatus()

    def __call__(self, tx: Transaction, placed: Task) -> None:
        """One task."""
        self.done.discard(placed.id)
        task, node = _waiting(tx, placed.id), tx.get(Node, placed.node_id)
        if task is None or node is None or node.status.state != NodeState.READY:
            return
        if node.spec.availability != Availability.ACTIVE:
            return
        if self._status.timestamp != tx.now:
            self._status = TaskStatus(
                state=TaskState.ASSIGNED, timestamp=tx.now, message=ASSIGNED_MESSAGE
            )
        tx.put(_assigned(task, placed.node_id, self._status, placed.generic_resources))
        self.done.add(placed.id)


_assigned: Final = remaker(Task, "node_id", "status", "generic_resources")
_refused: Final = remaker(Task, "status")
_status: Final = remaker(TaskStatus, "message", "error")


def _refuse(tx: Transaction, task_id: str, reason: str) -> None:
    task = _waiting(tx, task_id)
    if task is not None:
        tx.put(_refused(task, _status(task.status, REFUSED_MESSAGE, reason)))


async def run(store: Store) -> None:
    """Schedule until cancelled; to be run on the leader only."""
    await planning.run("scheduler", store, Scheduler(store))
