"""Runs the scheduler on the leader."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from manager.placement.volumes import Homes
from manager.planning import driver as planning
from manager.scheduler.backlog import Backlog
from manager.scheduler.filters import passes
from manager.scheduler.fleet import Fleet, strategy_of
from manager.scheduler.masks import takes_tasks
from manager.scheduler.plan import plan
from manager.state import Changed, Transaction, View
from manager.state.driver import Store
from pyswarm.model import (
    Cluster,
    GenericResource,
    Node,
    Task,
    TaskState,
    TaskStatus,
    Volume,
)
from pyswarm.wire.remake import remaker

ASSIGNED_MESSAGE: Final = "scheduler assigned task to node"
REFUSED_MESSAGE: Final = "pending task scheduling"

SET_MAX: Final = 1000
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
        self._status = TaskStatus()

    def observe(self, changes: tuple[Changed, ...] | None) -> bool:
        """See `planning.Part`."""
        if changes is None:
            self._fleet = None
        if self._fleet is None:
            return True
        for change in changes or ():
            if change.kind is Task:
                new = change.new
                # Our own word is counted already.
                if new is None or (new.status is not self._status and new.status != self._status):
                    self._observe_task(self._fleet, change.old, new)
            elif change.kind is Node:
                self._observe_node(self._fleet, change.id, change.new)
            elif change.kind is Volume:
                self._retry_all = True
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
        found = plan(fleet, self._backlog, now, homes=Homes(view))
        self._status = TaskStatus(state=TaskState.ASSIGNED, timestamp=now, message=ASSIGNED_MESSAGE)
        waiting = list(found.placed)
        while waiting:
            part, waiting = waiting[:SET_MAX], waiting[SET_MAX:]
            nodes = {task_id: found.placed[task_id] for task_id in part}
            assign = partial(self._assign, view=view, nodes=nodes, claimed=found.claimed)
            done = await self._store.update(assign)
            for task_id in part:
                if task_id not in done:
                    self._not_placed(fleet, task_id, nodes[task_id], now)
        if found.refused:
            await self._store.batch(
                found.refused.items(), lambda tx, item: _refuse(tx, item[0], item[1])
            )
        return 0.0 if found.more else found.wake_at

    def _assign(
        self,
        tx: Transaction,
        view: View,
        nodes: Mapping[str, str],
        claimed: Mapping[str, tuple[GenericResource, ...]],
    ) -> set[str]:
        """Place tasks, unless either side has changed its mind since `view`; answers which were."""
        plain = nodes
        if claimed or not tx.has_same(Node, view):
            node_of = tx.reader(Node)
            takes = {
                node_id
                for node_id in set(nodes.values())
                if (node := node_of(node_id)) is not None and takes_tasks(node)
            }
            nodes = {key: node_id for key, node_id in nodes.items() if node_id in takes}
            plain = {key: node_id for key, node_id in nodes.items() if key not in claimed}
        done = set(tx.assign(self._status, plain))
        for task_id in sorted(claimed.keys() & nodes.keys()):
            task = _waiting(tx, task_id)
            if task is not None:
                done.add(task_id)
                tx.put(_assigned(task, nodes[task_id], self._status, claimed[task_id]))
        return done

    def _not_placed(self, fleet: Fleet, task_id: str, node_id: str, now: float) -> None:
        """The task or its node has changed its mind meanwhile: what is stored counts."""
        info = fleet.infos.get(node_id)
        if info is not None and fleet.release(info, task_id):
            self._freed[node_id] = None
        stored = self._store.view.get(Task, task_id)
        if stored is not None:
            fleet.put_task(stored)
            self._backlog.put(stored, now)


def _waiting(tx: Transaction, task_id: str) -> Task | None:
    task = tx.get(Task, task_id)
    if task is None or task.status.state != TaskState.PENDING:
        return None
    return task if task.is_wanted else None


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
