"""The tasks that wait for a node, in groups of those that are alike."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from operator import attrgetter, itemgetter
from typing import Final

from manager.state import View
from pyswarm.core import NEVER
from pyswarm.model import PortConfig, Task, TaskState

GroupKey = tuple[str, int, tuple[PortConfig, ...]]
"""Service, spec version, host ports: tasks that are equal to a node."""


_SERVICE_AND_VERSION: Final = itemgetter(0, 1)
_SLOT_AND_ID: Final = attrgetter("slot", "id")


def group_key(task: Task) -> GroupKey:
    """The group of a task that has no node yet."""
    return (task.service_id, task.spec_version, task.ports)


def waits(task: Task) -> bool:
    """Whether the scheduler is to give the task a node."""
    return task.status.state == TaskState.PENDING and task.is_wanted


class Backlog:
    """`bound` are tasks that have their node from the start (global services). A group that found
    no node is put aside until something changes for it."""

    def __init__(self) -> None:
        self.bound: dict[str, Task] = {}
        self._parked_bound: dict[str, Task] = {}
        self._groups: dict[GroupKey, dict[str, Task]] = {}
        self._ready: dict[GroupKey, None] = {}
        self._delayed: dict[str, Task] = {}
        self._alarms: list[tuple[float, str]] = []
        self._new_alarm = False

    @staticmethod
    def of(view: View, now: float = 0.0) -> Backlog:
        """All tasks of `view` that wait."""
        backlog = Backlog()
        groups, ready = backlog._groups, backlog._ready
        for task in view.waiting_in(TaskState.PENDING):
            if task.node_id or task.start_after > now or not task.is_wanted:
                backlog.put(task, now)
                continue
            key = (task.service_id, task.spec_version, task.ports)
            group = groups.get(key)
            if group is None:
                group, ready[key] = groups.setdefault(key, {}), None
            group[task.id] = task
        return backlog

    def put(self, task: Task, now: float) -> bool:
        """Take in what is said of a task; answers whether it is to be placed now."""
        task_id = task.id
        if not waits(task):
            self.discard(task)
            return False
        if task.start_after > now:
            if task_id not in self._delayed:
                heapq.heappush(self._alarms, (task.start_after, task_id))
                self._new_alarm = True
            self._delayed[task_id] = task
            return False
        if task.node_id:
            if task_id in self._parked_bound:
                self._parked_bound[task_id] = task
                return False
            self.bound[task_id] = task
            return True
        key = group_key(task)
        group = self._groups.setdefault(key, {})
        is_new = task_id not in group
        group[task_id] = task
        if is_new:
            self._ready[key] = None
        return is_new

    def discard(self, task: Task) -> None:
        """A task waits no longer."""
        self.bound.pop(task.id, None)
        self._parked_bound.pop(task.id, None)
        self._delayed.pop(task.id, None)
        key = group_key(task)
        group = self._groups.get(key)
        if group is not None and group.pop(task.id, None) is not None and not group:
            del self._groups[key]
            self._ready.pop(key, None)

    def wake(self, now: float) -> float:
        """Let tasks in whose time has come; answers the time of the next."""
        self._new_alarm = False
        while self._alarms and self._alarms[0][0] <= now:
            task = self._delayed.pop(heapq.heappop(self._alarms)[1], None)
            if task is not None:
                self.put(task, now)
        return self._alarms[0][0] if self._alarms else NEVER

    def ready(self) -> list[GroupKey]:
        """The groups to place, by service."""
        return sorted(self._ready, key=_SERVICE_AND_VERSION)

    def group(self, key: GroupKey) -> list[Task]:
        """Its tasks: the lower slot first."""
        return sorted(self._groups.get(key, {}).values(), key=_SLOT_AND_ID)

    def placed(self, key: GroupKey, tasks: list[Task]) -> None:
        """These of the group's tasks, which have no node of their own, wait no longer."""
        group = self._groups[key]
        if len(tasks) == len(group):
            group.clear()
        for task in tasks if group else ():
            del group[task.id]
        if not group:
            del self._groups[key]
            self._ready.pop(key, None)

    def park(self, key: GroupKey) -> None:
        """The group's tasks find no node."""
        self._ready.pop(key, None)

    def park_bound(self, task: Task) -> None:
        """The task's own node does not take it."""
        self.bound.pop(task.id, None)
        self._parked_bound[task.id] = task

    def parked(self) -> Iterable[tuple[GroupKey, Task]]:
        """Each group that was put aside, with one of its tasks."""
        for key, group in self._groups.items():
            if key not in self._ready:
                yield key, next(iter(group.values()))

    def retry(self, key: GroupKey) -> None:
        """Something has changed for this group."""
        self._ready[key] = None

    def retry_bound(self) -> None:
        """Something has changed for tasks that are bound to their nodes."""
        self.bound |= self._parked_bound
        self._parked_bound.clear()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to place now, and no time to come back that is not known."""
        return not self._ready and not self.bound and not self._new_alarm
