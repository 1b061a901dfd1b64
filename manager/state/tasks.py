"""The tasks as one immutable value: by id, and those of a service together.

Tasks of one service are made, placed and moved on together. Where they lie together, too, a write
copies what is theirs, once; by id alone each of them would lie among a hundred thousand others.
Which service a task is of does not change in its life, so to find one by its id costs a second
step and its writes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Final, cast

from immutables import Map

from manager.state.parts import Parts
from pyswarm.model import Task

Own = Mapping[str, Task]
"""The tasks of one service by their ids; never changed."""

_NONE: Map[str, Task] = Map()

BEGINNING: Final = 2
beginning: Final[Callable[[str], str]] = itemgetter(slice(BEGINNING))
"""Where a task's id lies: of 100,000 some 80 begin alike."""


class Tasks(Mapping[str, Task]):
    """Task id -> task. `by_service` has each service's own; who has none is not there."""

    __slots__ = ("_services", "by_service")

    def __init__(
        self, services: Parts[str, str] | None = None, by_service: Map[str, Own] | None = None
    ) -> None:
        self._services: Parts[str, str] = Parts(beginning) if services is None else services
        self.by_service: Map[str, Own] = Map() if by_service is None else by_service

    def __getitem__(self, task_id: str) -> Task:
        return self.by_service[self._services[task_id]][task_id]

    def get(self, task_id: str, default: Any = None) -> Any:
        """The task of that id."""
        service_id = self._services.get(task_id)
        return default if service_id is None else self.by_service[service_id][task_id]

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._services

    def __iter__(self) -> Iterator[str]:
        return iter(self._services)

    def __len__(self) -> int:
        return len(self._services)

    def reader(self) -> Callable[[str], Task | None]:
        """`get` for many: mostly the next one is of the same service."""
        services, by_service = self._services, self.by_service
        own: Own = _NONE

        def read(task_id: str) -> Task | None:
            nonlocal own
            found = own.get(task_id)
            if found is None and (service_id := services.get(task_id)) is not None:
                own = by_service[service_id]
                found = own[task_id]
            return found

        return read

    def set(self, task_id: str, task: Task) -> Tasks:
        """With a task that is new or takes the place of the one of its id."""
        changing = self.mutate()
        changing.put(task, self.get(task_id))
        return changing.finish()

    def delete(self, task_id: str) -> Tasks:
        """Without a task that is there."""
        service_id = self._services[task_id]
        rest = _persistent(self.by_service[service_id]).delete(task_id)
        by_service = self.by_service
        by_service = by_service.set(service_id, rest) if rest else by_service.delete(service_id)
        return Tasks(self._services.delete(task_id), by_service)

    def mutate(self) -> Changing:
        """To change many."""
        return Changing(self._services, self.by_service)


def _persistent(own: Own) -> Map[str, Task]:
    """What was built at once is plain until its first change."""
    return own if isinstance(own, Map) else Map(own)


class Changing:
    """Tasks that are changed, and read as they are by then; `finish` answers what they came to."""

    def __init__(self, services: Parts[str, str], by_service: Map[str, Own]) -> None:
        self._services = services
        self._made: Any = None
        self._by_service = by_service
        self._open: dict[str, Any] = {}

    def get(self, task_id: str) -> Task | None:
        """The task as it is now."""
        service_id = (self._services if self._made is None else self._made).get(task_id)
        if service_id is None:
            return None
        own = self._open.get(service_id)
        return cast(Task, (self._by_service[service_id] if own is None else own)[task_id])

    def own(self, service_id: str) -> Any:
        """The tasks of a service, to be replaced: none comes or goes."""
        own = self._open.get(service_id)
        if own is None:
            base = self._by_service.get(service_id, _NONE)
            own = self._open[service_id] = _persistent(base).mutate()
        return own

    def put(self, task: Task, old: Task | None) -> None:
        """Create a task, or replace `old`."""
        task_id, service_id = task.id, task.service_id
        if old is None or old.service_id != service_id:
            if self._made is None:
                self._made = self._services.mutate()
            self._made[task_id] = service_id
            if old is not None:
                del self.own(old.service_id)[task_id]
        self.own(service_id)[task_id] = task

    def finish(self) -> Tasks:
        """The tasks with all changes; to be called once."""
        by_service = self._by_service.mutate()
        for service_id, own in self._open.items():
            if own:
                by_service[service_id] = own.finish()
            elif service_id in by_service:
                del by_service[service_id]
        services = self._services if self._made is None else self._made.finish()
        return Tasks(services, by_service.finish())
