"""What the scheduler knows of each node: what is free, and what runs there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from manager.state import Changed, View
from pyswarm.model import Node, Protocol, Task, TaskState, is_terminal

FAILURES_MAX: Final = 5
FAILURE_SECONDS: Final = 300.0
"""A node on which this many tasks of one spec failed within this time comes last for that spec."""

SpecKey = tuple[str, int]
"""Service id and spec version."""

_FAILED: Final = (TaskState.FAILED, TaskState.REJECTED)


@dataclass(slots=True)
class NodeInfo:
    """A node with its tasks. A task holds its share until it has ended; it counts for the spread
    only while it is wanted."""

    node: Node
    nano_cpus_free: int = 0
    memory_bytes_free: int = 0
    tasks: int = 0
    by_service: dict[str, int] = field(default_factory=dict)
    alive_by_service: dict[str, int] = field(default_factory=dict)
    ports: set[tuple[Protocol, int]] = field(default_factory=set)
    failures: dict[SpecKey, list[float]] = field(default_factory=dict)

    def add(self, task: Task) -> None:
        """Take a task in."""
        reserved = task.spec.resources.reservations
        self.nano_cpus_free -= reserved.nano_cpus
        self.memory_bytes_free -= reserved.memory_bytes
        self.ports |= host_ports(task)
        service_id = task.service_id
        self.alive_by_service[service_id] = self.alive_by_service.get(service_id, 0) + 1
        if task.is_wanted:
            self.tasks += 1
            self.by_service[service_id] = self.by_service.get(service_id, 0) + 1

    def is_failing(self, key: SpecKey, now: float) -> bool:
        """Whether tasks of that spec keep failing here."""
        times = self.failures.get(key, ())
        return sum(1 for at in times if now - at <= FAILURE_SECONDS) >= FAILURES_MAX


def host_ports(task: Task) -> set[tuple[Protocol, int]]:
    """The ports that the task opens on its own host."""
    return {(p.protocol, p.published_port) for p in task.ports if p.published_port}


def survey(view: View, node: Node) -> NodeInfo:
    """What the state says of one node."""
    size = node.description.resources
    info = NodeInfo(node, size.nano_cpus, size.memory_bytes)
    for task in view.tasks_of_node(node.id):
        state = task.status.state
        if state in _FAILED:
            key = (task.service_id, task.spec_version)
            info.failures.setdefault(key, []).append(task.status.timestamp)
        elif state >= TaskState.ASSIGNED and not is_terminal(state):
            info.add(task)
    return info


class Fleet:
    """All nodes, surveyed again where something changed: a late or doubled change is harmless."""

    def __init__(self) -> None:
        self._infos: dict[str, NodeInfo] = {}
        self._stale: set[str] | None = None

    def observe(self, changes: Iterable[Changed] | None) -> None:
        """Note which nodes to survey again (None: all)."""
        if changes is None:
            self._stale = None
        if self._stale is None:
            return
        for change in changes or ():
            if change.kind is Node:
                self._stale.add(change.id)
            elif change.kind is Task:
                self._stale |= {t.node_id for t in (change.old, change.new) if t is not None}

    def touch(self, node_ids: Iterable[str]) -> None:
        """Survey these nodes again next time: a plan has counted tasks on them."""
        if self._stale is not None:
            self._stale |= set(node_ids)

    def refresh(self, view: View) -> dict[str, NodeInfo]:
        """The nodes by id, as of `view`; who counts tasks on them must `touch` them."""
        if self._stale is None:
            self._infos = {node.id: survey(view, node) for node in view.list(Node)}
        else:
            for node_id in sorted(self._stale):
                node = view.get(Node, node_id)
                if node is None:
                    self._infos.pop(node_id, None)
                else:
                    self._infos[node_id] = survey(view, node)
        self._stale = set()
        return self._infos
