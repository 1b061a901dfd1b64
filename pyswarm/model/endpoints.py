"""Versioned endpoint sets: the one truth about who can be reached where in a network.

The managers derive a set per network from the store; `version` is the raft index at which it was
derived. An agent programs routes, virtual addresses, published ports and DNS answers from the
same set, so they cannot disagree. Task ids are never used twice, so there are no tombstones.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from operator import attrgetter
from typing import Final

from pyswarm.model.network import PortConfig, ResolutionMode


class EndpointState(IntEnum):
    """UP: takes connections; DRAINING: keeps the old ones, takes no new ones."""

    UP = 0
    DRAINING = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEndpoint:
    """A task in this network. `address` is bare ("10.0.1.5"); `ready` says whether it belongs in
    its service's virtual address and DNS answer (its route exists from the start)."""

    task_id: str = ""
    service_id: str = ""
    node_id: str = ""
    slot: int = 0
    address: str = ""
    aliases: tuple[str, ...] = ()
    ready: bool = False
    state: EndpointState = EndpointState.UP


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEndpoint:
    """A service in this network. `virtual_ip` is bare, and empty with DNSRR; `ports` are its
    ingress ports, present in the ingress network's set only."""

    service_id: str = ""
    name: str = ""
    aliases: tuple[str, ...] = ()
    mode: ResolutionMode = ResolutionMode.VIP
    virtual_ip: str = ""
    ports: tuple[PortConfig, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEndpoint:
    """A node that has tasks in this network: its underlay address and its small number."""

    node_id: str = ""
    address: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSet:
    """Everything that a node must know of one network; each tuple is sorted by its id."""

    network_id: str = ""
    network_name: str = ""
    version: int = 0
    subnet: str = ""
    gateway: str = ""
    vni: int = 0
    internal: bool = False
    ingress: bool = False
    mtu_bytes: int = 0
    """Wanted by the network's driver option; 0: what the underlay leaves."""
    services: tuple[ServiceEndpoint, ...] = ()
    tasks: tuple[TaskEndpoint, ...] = ()
    nodes: tuple[NodeEndpoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDelta:
    """What turns the set of `applies_to` into that of `results_in`; removals are ids."""

    network_id: str = ""
    applies_to: int = 0
    results_in: int = 0
    services: tuple[ServiceEndpoint, ...] = ()
    tasks: tuple[TaskEndpoint, ...] = ()
    nodes: tuple[NodeEndpoint, ...] = ()
    removed_services: tuple[str, ...] = ()
    removed_tasks: tuple[str, ...] = ()
    removed_nodes: tuple[str, ...] = ()


def delta(old: EndpointSet, new: EndpointSet) -> EndpointDelta:
    """The difference of two sets of one network whose head (subnet, vni...) is the same."""
    assert same_head(old, new), f"the head of network {new.network_id} changed: send the whole set"
    old_services = {s.service_id: s for s in old.services}
    old_tasks = {t.task_id: t for t in old.tasks}
    old_nodes = {n.node_id: n for n in old.nodes}
    new_services = {s.service_id for s in new.services}
    new_tasks = {t.task_id for t in new.tasks}
    new_nodes = {n.node_id for n in new.nodes}
    return EndpointDelta(
        network_id=new.network_id,
        applies_to=old.version,
        results_in=new.version,
        services=tuple(s for s in new.services if old_services.get(s.service_id) != s),
        tasks=tuple(t for t in new.tasks if old_tasks.get(t.task_id) != t),
        nodes=tuple(n for n in new.nodes if old_nodes.get(n.node_id) != n),
        removed_services=tuple(sorted(old_services.keys() - new_services)),
        removed_tasks=tuple(sorted(old_tasks.keys() - new_tasks)),
        removed_nodes=tuple(sorted(old_nodes.keys() - new_nodes)),
    )


def apply(old: EndpointSet, change: EndpointDelta) -> EndpointSet:
    """The set after `change`; the caller has compared `applies_to` with `old.version`."""
    assert old.version == change.applies_to, f"{old.version} is not {change.applies_to}"
    services = {s.service_id: s for s in old.services}
    tasks = {t.task_id: t for t in old.tasks}
    nodes = {n.node_id: n for n in old.nodes}
    for service_id in change.removed_services:
        services.pop(service_id, None)
    for task_id in change.removed_tasks:
        tasks.pop(task_id, None)
    for node_id in change.removed_nodes:
        nodes.pop(node_id, None)
    services |= {s.service_id: s for s in change.services}
    tasks |= {t.task_id: t for t in change.tasks}
    nodes |= {n.node_id: n for n in change.nodes}
    return replace(
        old,
        version=change.results_in,
        services=tuple(services[key] for key in sorted(services)),
        tasks=tuple(tasks[key] for key in sorted(tasks)),
        nodes=tuple(nodes[key] for key in sorted(nodes)),
    )


def same_head(old: EndpointSet, new: EndpointSet) -> bool:
    """Whether only services, tasks and nodes can differ."""
    return _head(old) == _head(new)


_head: Final = attrgetter(
    *(
        f.name
        for f in fields(EndpointSet)
        if f.name not in ("version", "services", "tasks", "nodes")
    )
)
