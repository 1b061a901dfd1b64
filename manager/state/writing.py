"""One change after the other on a view; writes of tasks that cannot be refused, many at once.

Most writes move tasks on: nobody's name, port or address is concerned, so there is nothing to
check, and no one looks at the state between them. They share one pass over the tables, which copies
what they have in common once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from immutables import Map

from manager.state import apply
from manager.state.apply import apply_change
from manager.state.assign import Assign
from manager.state.changes import Change, Put
from manager.state.ids import Ids, exchanged
from manager.state.tables import Record, View, waiting_key
from manager.state.tasks import Changing
from pyswarm.model import Task, TaskState

R = TypeVar("R", bound=Record)

_NOBODY: frozenset[str] = frozenset()


def is_plain(old: Task | None, new: Task) -> bool:
    """Whether writing `new` over `old` leaves all addresses with their owners."""
    if not new.networks and (old is None or not old.networks):
        return True
    return apply.task_addresses(old) == apply.task_addresses(new)


class Writing:
    """A view that changes one by one. It answers what a record is now as a view does."""

    __slots__ = ("_run", "base")

    def __init__(self, base: View) -> None:
        self.base = base
        """The state before the writes that wait, which are of tasks, and of each task once."""
        self._run: TaskRun | None = None

    @property
    def view(self) -> View:
        """The state of now."""
        if self._run is not None:
            self.base = self._run.finish()
            self._run = None
        return self.base

    def get(self, kind: type[R], record_id: str) -> R | None:
        """The record of that id."""
        if self._run is not None and kind is Task:
            return self._run.get(record_id)  # type: ignore[return-value]
        return self.base.get(kind, record_id)

    def reader(self, kind: type[R]) -> Callable[[str], R | None]:
        """`get` of one kind, for many records, until the next write."""
        if self._run is not None and kind is Task:
            return self._run.get  # type: ignore[return-value]
        return self.base.reader(kind)

    def require(self, kind: type[R], record_id: str) -> R:
        """The record of that id; raises NotFound."""
        found = self.get(kind, record_id)
        return found if found is not None else self.base.require(kind, record_id)

    def apply(self, change: Change, old: Any) -> View:
        """Make one change over `old`; answers the state before it as far as it concerns this
        record. Raises what `apply_change` raises, and then nothing is changed."""
        if isinstance(change, Assign):
            before = self.view
            run = TaskRun(before)
            run.assign(change)
            self.base = run.finish()
            return before
        if isinstance(change, Put) and isinstance(change.record, Task):
            task = change.record
            if is_plain(old, task):
                if self._run is None or task.id in self._run.written:
                    self._run = TaskRun(self.view)
                self._run.put(task, old)
                return self.base
        before = self.view
        self.base = apply_change(before, change)
        return before


class TaskRun:
    """Plain writes on top of `base`, whose other tables stay; `finish` answers the view."""

    def __init__(self, base: View) -> None:
        self._base = base
        self._table: Changing = base.tables[Task].mutate()
        self._indexes: dict[str, _Index] = {}
        self.written: set[str] = set()

    def get(self, task_id: str) -> Task | None:
        """The task as it is now."""
        return self._table.get(task_id)

    def put(self, task: Task, old: Task | None) -> None:
        """Create a task, or replace `old`."""
        task_id = task.id
        self.written.add(task_id)
        self._table.put(task, old)
        if old is None:
            self._move("node_tasks", task_id, None, task.node_id)
            self._move("waiting", task_id, None, waiting_key(task))
            return
        if old.node_id != task.node_id:
            self._move("node_tasks", task_id, old.node_id, task.node_id)
        if old.status is not task.status or old.service_id != task.service_id:
            was, now = waiting_key(old), waiting_key(task)
            if was != now:
                self._move("waiting", task_id, was, now)

    def assign(self, change: Assign) -> None:
        """Give tasks their nodes."""
        nodes, waiting = self._index("node_tasks").come, self._index("waiting").gone
        service_id: str | None = None
        own: Any = {}
        ids: set[str] = set()
        for old, task in zip(change.olds, change.tasks, strict=True):
            if task.service_id is not service_id:
                service_id = task.service_id
                own, ids = self._table.own(service_id), waiting[TaskState.PENDING.name, service_id]
            task_id = task.id
            own[task_id] = task
            ids.add(task_id)
            if not old.node_id:  # one of a global service has it from the start
                nodes[task.node_id].append(task_id)

    def _index(self, name: str) -> _Index:
        index = self._indexes.get(name)
        if index is None:
            index = self._indexes[name] = _Index(getattr(self._base, name))
        return index

    def _move(self, name: str, task_id: str, old: Any, new: Any) -> None:
        index = self._index(name)
        if old:
            index.gone[old].add(task_id)
        if new:
            index.come[new].append(task_id)

    def finish(self) -> View:
        """The view with all that was put; to be called once."""
        view = self._base.copy()
        view.tables = {**view.tables, Task: self._table.finish()}
        for name, index in self._indexes.items():
            setattr(view, name, index.finish())
        return view


class _Index:
    """Key -> ids, and which of them come and go: each id once under one key."""

    def __init__(self, base: Map[Any, Ids]) -> None:
        self._base = base
        self.come: defaultdict[Any, list[str]] = defaultdict(list)
        self.gone: defaultdict[Any, set[str]] = defaultdict(set)

    def finish(self) -> Map[Any, Ids]:
        """The index with all changes."""
        index = self._base.mutate()
        come, gone = self.come, self.gone
        for key, ids in come.items():
            index[key] = exchanged(index.get(key, ()), gone.pop(key, _NOBODY), ids)
        for key, left in gone.items():
            rest = exchanged(index[key], left, ())
            if rest:
                index[key] = rest
            else:
                del index[key]
        return index.finish()
