"""Slots, and the draft in which one round of planning collects its changes.

A slot is a place that a service wants filled: a number in a replicated service, a node in a global
one. Its tasks are the history and, at most, one that is wanted (two while an update starts the new
one first).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from manager.orchestrator.tasks import Ids, has_ended, new_task
from manager.placement.lost import held_until, is_lost, must_leave
from manager.state import View
from pyswarm.core import NEVER
from pyswarm.model import Service, Task, TaskState, UpdateOrder

Key = int | str
"""Slot number, or node id."""


@dataclass(slots=True)
class Slot:
    """The tasks of one slot by id; those that shall be removed belong to none."""

    key: Key
    tasks: dict[str, Task] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Those of whose node nothing is heard."""

    @property
    def wanted(self) -> list[Task]:
        """The tasks that shall run, oldest first."""
        return [task for task in self.history if task.is_wanted]

    @property
    def history(self) -> list[Task]:
        """All tasks, oldest first."""
        tasks = list(self.tasks.values())
        if len(tasks) > 1:
            tasks.sort(key=lambda task: (task.meta.created_at, task.id))
        return tasks

    @property
    def is_running(self) -> bool:
        """Whether a wanted task runs."""
        return any(
            t.is_wanted and t.status.state == TaskState.RUNNING and t.id not in self.lost
            for t in self.tasks.values()
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What one round wants: records to write, tasks to delete, when to come back without a
    change, and whether it stopped at its limit with more to do."""

    tasks: tuple[Task, ...] = ()
    service: Service | None = None
    deleted: tuple[str, ...] = ()
    wake_at: float = NEVER
    more: bool = False


class Draft:
    """One service in the middle of planning: later steps see what earlier ones decided."""

    def __init__(self, view: View, service_id: str, now: float, ids: Ids, limit: int) -> None:
        self.view = view
        self.service_id = service_id
        self.now = now
        self.service = view.get(Service, service_id)
        self.tasks = {task.id: task for task in view.tasks_of_service(service_id)}
        self.slots: dict[Key, Slot] = {}
        self.wake_at = NEVER
        self._service_changed = False
        self._ids = ids
        self._limit = limit
        self._changed: dict[str, None] = {}
        self._deleted: dict[str, None] = {}
        self._leased = [task for task in self.tasks.values() if task.spec.stop_after_seconds]
        for task in self.tasks.values():
            self._enter(task)

    @property
    def full(self) -> bool:
        """Whether this round has done enough."""
        return len(self._changed) + len(self._deleted) >= self._limit

    @property
    def settled_service(self) -> Service:
        """The service, in steps that run only for one that exists."""
        assert self.service is not None, f"service {self.service_id} is gone"
        return self.service

    def slot(self, key: Key) -> Slot:
        """The slot of that key, made where it is new."""
        return self.slots.setdefault(key, Slot(key))

    def put(self, task: Task) -> None:
        """Write a task."""
        self.tasks[task.id] = task
        self._changed[task.id] = None
        self._enter(task)

    def delete(self, task: Task) -> None:
        """Remove a task's record, if it has one: it may have been made in this very round."""
        del self.tasks[task.id]
        self._changed.pop(task.id, None)
        if self.view.get(Task, task.id) is not None:
            self._deleted[task.id] = None
        self.slot(task.slot or task.node_id).tasks.pop(task.id, None)

    def put_service(self, service: Service) -> None:
        """Write the service."""
        self._service_changed = self._service_changed or service != self.service
        self.service = service

    def create(
        self,
        key: Key,
        *,
        start_after: float = 0.0,
        desired_state: TaskState = TaskState.RUNNING,
        quick_ends: int = 0,
    ) -> None:
        """A new task of the current spec in a slot; only prepared while another one of the slot
        still stops, or while a lost one may run."""
        if self.held_until(key) > self.now or self._stops(key):
            desired_state = min(desired_state, TaskState.READY)
        self.put(
            new_task(
                self.settled_service,
                next(self._ids),
                self.now,
                slot=key if isinstance(key, int) else 0,
                node_id=key if isinstance(key, str) else "",
                desired_state=desired_state,
                start_after=start_after,
                quick_ends=quick_ends,
            )
        )

    def held_until(self, key: Key) -> float:
        """Until when a lost task of the slot may run by its lease, a removed one included."""
        held = (held_until(self.view, t) for t in self._leased if (t.slot or t.node_id) == key)
        return max(held, default=0.0)

    def _stops(self, key: Key) -> bool:
        spec = self.settled_service.spec
        if UpdateOrder.START_FIRST in (spec.update.order, spec.rollback.order):
            return False
        return any(
            not (t.is_wanted or has_ended(t) or is_lost(self.view, t))
            for t in self.slot(key).tasks.values()
        )

    def wake(self, at: float) -> None:
        """Come back at `at`, at the latest."""
        self.wake_at = min(self.wake_at, at)

    def plan(self) -> Plan:
        """What was decided."""
        return Plan(
            tasks=tuple(self.tasks[task_id] for task_id in self._changed),
            service=self.service if self._service_changed else None,
            deleted=tuple(self._deleted),
            wake_at=self.wake_at,
            more=self.full,
        )

    def check(self) -> None:
        """Assert that no slot has two tasks that are wanted and alive beside an update."""
        for slot in self.slots.values():
            alive = [t for t in slot.wanted if not has_ended(t) and not must_leave(self.view, t)]
            versions = {t.spec_version for t in alive}
            assert len(alive) == len(versions), f"slot {slot.key} has {len(alive)} wanted tasks"

    def _enter(self, task: Task) -> None:
        slot = self.slot(task.slot or task.node_id)
        if task.desired_state == TaskState.REMOVE:
            slot.tasks.pop(task.id, None)
        else:
            slot.tasks[task.id] = task
            if is_lost(self.view, task):
                slot.lost.add(task.id)
