"""What a node must be for a task; each rule that refuses also says so, in words for the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from manager.placement.constraint import satisfied
from manager.placement.fit import platform_fits
from manager.scheduler import refusal
from manager.scheduler.masks import takes_tasks
from manager.scheduler.nodeinfo import NodeInfo, host_ports
from pyswarm.model import Task

Check = Callable[[Task, NodeInfo], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """One rule. `explanation` takes the number of refused nodes, as text with its noun; `detail`
    says of one node what is wrong with it. `concerns` says whether a task asks for anything here.
    A rule that is `indexed` is held by the pools, so placing need not ask it again."""

    passes: Check
    explanation: str
    detail: Callable[[Task, NodeInfo], str]
    concerns: Callable[[Task], bool] = lambda task: True
    indexed: bool = False

    def explain(self, count: int) -> str:
        """Why `count` nodes were refused."""
        return self.explanation.format(f"{count} node" if count == 1 else f"{count} nodes")


def is_ready(task: Task, info: NodeInfo) -> bool:
    """The node is there and takes tasks."""
    return takes_tasks(info.node)


def has_resources(task: Task, info: NodeInfo) -> bool:
    """What the task reserves is free; a task that reserves nothing fits everywhere."""
    wanted = task.spec.resources.reservations
    return (
        (wanted.nano_cpus <= info.nano_cpus_free or not wanted.nano_cpus)
        and (wanted.memory_bytes <= info.memory_bytes_free or not wanted.memory_bytes)
        and (not wanted.generic or info.generic.has(wanted.generic))
    )


def _reserves(task: Task) -> bool:
    wanted = task.spec.resources.reservations
    return bool(wanted.nano_cpus or wanted.memory_bytes or wanted.generic)


def meets_constraints(task: Task, info: NodeInfo) -> bool:
    """Every constraint holds."""
    return satisfied(task.spec.placement.constraints, info.node)


def has_platform(task: Task, info: NodeInfo) -> bool:
    """The image runs on the node's processor and system."""
    return platform_fits(task.spec.placement.platforms, info.node)


def has_free_ports(task: Task, info: NodeInfo) -> bool:
    """Nothing else on the node has the task's ports, a task that is still stopping included."""
    return not any(port in info.ports for port in host_ports(task))


def has_room_for_replica(task: Task, info: NodeInfo) -> bool:
    """The service has fewer tasks there than it may have."""
    most = task.spec.placement.max_replicas
    return not most or info.alive(task.service_id) < most


FILTERS: Final = (
    Filter(is_ready, "{} not available for new tasks", refusal.not_ready, indexed=True),
    Filter(
        meets_constraints,
        "scheduling constraints not satisfied on {}",
        refusal.constraints,
        indexed=True,
    ),
    Filter(has_platform, "unsupported platform on {}", refusal.platform, indexed=True),
    Filter(has_resources, "insufficient resources on {}", refusal.resources, _reserves),
    Filter(
        has_free_ports,
        "host-mode port already in use on {}",
        refusal.ports,
        lambda task: bool(task.ports),
    ),
    Filter(
        has_room_for_replica,
        "max replicas per node limit exceeded on {}",
        refusal.replicas,
        lambda task: task.spec.placement.max_replicas > 0,
    ),
)
"""In this order: what no waiting can change comes before what frees itself."""


def fitting(example: Task) -> tuple[Check, ...]:
    """The rules that a member of the task's pool must still pass."""
    return tuple(f.passes for f in FILTERS if not f.indexed and f.concerns(example))


def passes(task: Task, info: NodeInfo) -> bool:
    """Whether the node passes all rules."""
    return all(f.passes(task, info) for f in FILTERS)


def refusing(task: Task, info: NodeInfo) -> Iterator[Filter]:
    """The rules that refuse the node."""
    return (f for f in FILTERS if not f.passes(task, info))


def summary(task: Task, infos: Iterable[NodeInfo]) -> str:
    """Why the task can go nowhere: for each node the first rule that refuses it, the most frequent
    first."""
    counts = [0] * len(FILTERS)
    for info in infos:
        rule = next(refusing(task, info), None)
        if rule is not None:
            counts[FILTERS.index(rule)] += 1
    refusals = sorted((-count, index) for index, count in enumerate(counts) if count)
    if not refusals:
        return "no suitable node"
    reasons = "; ".join(FILTERS[index].explain(-count) for count, index in refusals)
    return f"no suitable node ({reasons})"
