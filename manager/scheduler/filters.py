"""What a node must be for a task; each rule that refuses also says so, in words for the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from manager.placement.constraint import satisfied
from manager.placement.fit import platform_fits
from manager.scheduler.nodeinfo import NodeInfo, host_ports
from pyswarm.model import Availability, NodeState, Task

Check = Callable[[Task, NodeInfo], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """`explain` takes the number of refused nodes, as text with its noun."""

    passes: Check
    explanation: str

    def explain(self, count: int) -> str:
        """Why `count` nodes were refused."""
        return self.explanation.format(f"{count} node" if count == 1 else f"{count} nodes")


def is_ready(task: Task, info: NodeInfo) -> bool:
    """The node is there and takes tasks."""
    node = info.node
    return node.status.state == NodeState.READY and node.spec.availability == Availability.ACTIVE


def has_resources(task: Task, info: NodeInfo) -> bool:
    """What the task reserves is free; a task that reserves nothing fits everywhere."""
    wanted = task.spec.resources.reservations
    return (not wanted.nano_cpus or wanted.nano_cpus <= info.nano_cpus_free) and (
        not wanted.memory_bytes or wanted.memory_bytes <= info.memory_bytes_free
    )


def meets_constraints(task: Task, info: NodeInfo) -> bool:
    """Every constraint holds."""
    return satisfied(task.spec.placement.constraints, info.node)


def has_platform(task: Task, info: NodeInfo) -> bool:
    """The image runs on the node's processor and system."""
    return platform_fits(task.spec.placement.platforms, info.node)


def has_free_ports(task: Task, info: NodeInfo) -> bool:
    """Nothing else on the node has the task's ports, a task that is still stopping included."""
    return not task.ports or info.ports.isdisjoint(host_ports(task))


def has_room_for_replica(task: Task, info: NodeInfo) -> bool:
    """The service has fewer tasks there than it may have."""
    most = task.spec.placement.max_replicas
    return not most or info.alive_by_service.get(task.service_id, 0) < most


FILTERS: Final = (
    Filter(is_ready, "{} not available for new tasks"),
    Filter(meets_constraints, "scheduling constraints not satisfied on {}"),
    Filter(has_platform, "unsupported platform on {}"),
    Filter(has_resources, "insufficient resources on {}"),
    Filter(has_free_ports, "host-mode port already in use on {}"),
    Filter(has_room_for_replica, "max replicas per node limit reached on {}"),
)
"""In this order: what no waiting can change comes before what frees itself."""

CHANGING: Final = FILTERS[3:]
"""Those whose answer changes as tasks are placed."""
