"""What the scheduler knows of each node: what is free, and what runs there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeVar

from manager.placement.failures import FAILURES_MAX, has_failed, is_recent
from manager.placement.generic import Stock
from manager.state import View
from pyswarm.model import (
    GenericResource,
    Node,
    PlacementStrategy,
    Protocol,
    Task,
    TaskState,
    is_terminal,
)

SpecKey = tuple[str, int]
"""Service id and spec version."""

Key = TypeVar("Key")

_PERMILLE: Final = 1000


@dataclass(slots=True)
class NodeInfo:
    """A node with its tasks. A task holds its share until it has ended; it counts for the spread
    only while it is wanted, and is one of those `stopping` after that. `order` is the node's place
    among those that are equal otherwise, and smaller is better; `bit` is the node in the fleet's
    sets."""

    node: Node
    strategy: PlacementStrategy
    nano_cpus_free: int
    memory_bytes_free: int
    generic: Stock
    order: int = 0
    bit: int = 0
    tasks: int = 0
    by_service: dict[str, int] = field(default_factory=dict)
    stopping: dict[str, int] = field(default_factory=dict)
    ports: dict[tuple[Protocol, int], int] = field(default_factory=dict)
    held: dict[str, Task] = field(default_factory=dict)
    """Task id -> the task, or another that takes the same."""
    failed: dict[SpecKey, dict[str, float]] = field(default_factory=dict)
    """Spec -> task id -> when it failed, in seconds since the epoch."""

    def hold(self, task_id: str, task: Task) -> None:
        """Take a task in, which is not here yet; `task` may be another that takes the
        same."""
        reserved = task.spec.resources.reservations
        self.nano_cpus_free -= reserved.nano_cpus
        self.memory_bytes_free -= reserved.memory_bytes
        if task.generic_resources:
            self.generic.take(task.generic_resources)
        if task.ports:
            for port in host_ports(task):
                self.ports[port] = self.ports.get(port, 0) + 1
        self.held[task_id] = task
        if task.is_wanted:
            self.tasks += 1
            counts = self.by_service
        else:
            counts = self.stopping
        service_id = task.service_id
        counts[service_id] = counts.get(service_id, 0) + 1
        self._reorder()

    def release(self, task_id: str) -> Task | None:
        """Let a task go, if it is here."""
        task = self.held.pop(task_id, None)
        if task is None:
            return None
        reserved = task.spec.resources.reservations
        self.nano_cpus_free += reserved.nano_cpus
        self.memory_bytes_free += reserved.memory_bytes
        self.generic.give_back(task.generic_resources)
        for port in host_ports(task):
            _drop(self.ports, port)
        if task.is_wanted:
            self.tasks -= 1
            _drop(self.by_service, task.service_id)
        else:
            _drop(self.stopping, task.service_id)
        self._reorder()
        return task

    def alive(self, service_id: str) -> int:
        """How many tasks of a service have not ended here."""
        return self.by_service.get(service_id, 0) + self.stopping.get(service_id, 0)

    def claim(self, wanted: tuple[GenericResource, ...]) -> tuple[GenericResource, ...]:
        """The pieces that a task is given; they stay free until it is held with them."""
        pieces = self.generic.claim(wanted)
        self.generic.give_back(pieces)
        return pieces

    def _reorder(self) -> None:
        if self.strategy is PlacementStrategy.SPREAD:
            self.order = self.tasks
        else:
            self.order = -self.load_permille

    @property
    def load_permille(self) -> int:
        """How much of CPU and memory is reserved, whichever is more."""
        size = self.node.description.resources
        shares = (
            (size.nano_cpus - self.nano_cpus_free, size.nano_cpus),
            (size.memory_bytes - self.memory_bytes_free, size.memory_bytes),
        )
        return max((_PERMILLE * taken // whole for taken, whole in shares if whole), default=0)

    def failures(self, key: SpecKey, now: float) -> int:
        """How many tasks of that spec failed here lately."""
        times = self.failed.get(key)
        return sum(1 for at in times.values() if is_recent(at, now)) if times else 0

    def penalty(self, key: SpecKey, now: float) -> int:
        """What stands before all else in the node's rank for that spec: 0, or more for a node that
        shall have its tasks only where no better one is left."""
        return 1 if self.failures(key, now) >= FAILURES_MAX else 0


def _drop(counts: dict[Key, int], key: Key) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]


def holds(task: Task) -> bool:
    """Whether the task takes something from its node."""
    state = task.status.state
    return state >= TaskState.ASSIGNED and not is_terminal(state)


def host_ports(task: Task) -> list[tuple[Protocol, int]]:
    """The ports that the task opens on its own host."""
    return [(p.protocol, p.published_port) for p in task.ports if p.published_port]


def empty(node: Node, strategy: PlacementStrategy = PlacementStrategy.SPREAD) -> NodeInfo:
    """A node without tasks."""
    size = node.description.resources
    return NodeInfo(node, strategy, size.nano_cpus, size.memory_bytes, Stock(size.generic))


def survey(
    view: View, node: Node, strategy: PlacementStrategy = PlacementStrategy.SPREAD
) -> NodeInfo:
    """What the state says of one node."""
    info = empty(node, strategy)
    for task in view.tasks_of_node(node.id):
        if has_failed(task):
            key = (task.service_id, task.spec_version)
            info.failed.setdefault(key, {})[task.id] = task.status.timestamp
        elif holds(task):
            info.hold(task.id, task)
    return info
