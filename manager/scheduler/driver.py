"""Runs the scheduler on the leader."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from manager.planning import driver as planning
from manager.scheduler.nodeinfo import Fleet
from manager.scheduler.plan import plan
from manager.state import Changed, Transaction
from manager.state.driver import Store
from pyswarm.core import NEVER
from pyswarm.model import (
    Availability,
    Node,
    NodeState,
    Task,
    TaskState,
    TaskStatus,
    Volume,
    is_terminal,
)

ASSIGNED_MESSAGE: Final = "scheduler assigned task to node"
REFUSED_MESSAGE: Final = "pending task scheduling"


class Scheduler:
    """Whether there is anything to place or anything became free, and the nodes meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fleet = Fleet()
        self._dirty = True

    def observe(self, changes: tuple[Changed, ...] | None) -> bool:
        """See `planning.Part`."""
        self._fleet.observe(changes)
        self._dirty = self._dirty or changes is None or any(map(_matters, changes))
        return self._dirty

    async def act(self) -> float:
        """See `planning.Part`."""
        self._dirty = False
        view = self._store.view
        if not view.tasks_in_state(TaskState.PENDING):
            return NEVER
        nodes = self._fleet.refresh(view)
        found = plan(view, nodes, self._store.clock())
        # The plan counted its tasks on these nodes; the next round reads the state again.
        self._fleet.touch(found.placed.values())
        if found.placed:
            await self._store.batch(
                found.placed.items(), lambda tx, item: _assign(tx, item[0], item[1])
            )
        if found.refused:
            await self._store.batch(
                found.refused.items(), lambda tx, item: _refuse(tx, item[0], item[1])
            )
        return 0.0 if found.more else found.wake_at


def _matters(change: Changed) -> bool:
    if change.kind is Node or change.kind is Volume:
        return True
    if change.kind is not Task:
        return False
    old, new = change.old, change.new
    if new is None:
        return True
    state = new.status.state
    if state == TaskState.PENDING:
        # A refusal that was just written is no news.
        return old is None or old.status.state != state or old.desired_state != new.desired_state
    return is_terminal(state) and (old is None or not is_terminal(old.status.state))


def _waiting(tx: Transaction, task_id: str) -> Task | None:
    task = tx.get(Task, task_id)
    if task is None or task.status.state != TaskState.PENDING:
        return None
    return task if task.is_wanted else None


def _assign(tx: Transaction, task_id: str, node_id: str) -> None:
    """Place the task, unless either has changed its mind meanwhile."""
    task, node = _waiting(tx, task_id), tx.get(Node, node_id)
    if task is None or node is None or node.status.state != NodeState.READY:
        return
    if node.spec.availability != Availability.ACTIVE:
        return
    status = TaskStatus(state=TaskState.ASSIGNED, timestamp=tx.now, message=ASSIGNED_MESSAGE)
    tx.put(replace(task, node_id=node_id, status=status))


def _refuse(tx: Transaction, task_id: str, reason: str) -> None:
    task = _waiting(tx, task_id)
    if task is not None:
        status = replace(task.status, message=REFUSED_MESSAGE, error=reason)
        tx.put(replace(task, status=status))


async def run(store: Store) -> None:
    """Schedule until cancelled; to be run on the leader only."""
    await planning.run("scheduler", store, Scheduler(store))
