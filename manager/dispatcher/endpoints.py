"""Endpoint sets derived from the store: who is where in each network.

A task has a route from the moment it has a node until it has ended. It takes new connections while
it is RUNNING and wanted; once it shall stop, or its agent stops it since it is unhealthy, it is
DRAINING: its connections live on, and nobody starts a new one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from pyswarm.model import (
    EndpointSet,
    EndpointState,
    HealthState,
    Network,
    Node,
    NodeEndpoint,
    NodeState,
    PortConfig,
    PublishMode,
    ResolutionMode,
    Service,
    ServiceEndpoint,
    Task,
    TaskEndpoint,
    TaskState,
    is_terminal,
)

MTU_OPTION = "com.docker.network.driver.mtu"


@dataclass(slots=True)
class _Members:
    """What was found for one network so far."""

    tasks: list[TaskEndpoint] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


def is_reachable(task: Task) -> bool:
    """Whether packets may go to the task: it has a place and has not ended."""
    return bool(task.node_id) and (
        task.status.state >= TaskState.ASSIGNED and not is_terminal(task.status.state)
    )


def _bare(address: str) -> str:
    return address.partition("/")[0]


def _endpoint(
    task: Task, address: str, aliases: tuple[str, ...], down: Container[str]
) -> TaskEndpoint:
    health = task.status.health
    unhealthy = health is not None and health.state == HealthState.UNHEALTHY
    # What a node that is down ran is still wanted for a while, but nobody can say that it answers.
    wanted = task.is_wanted and not unhealthy and task.node_id not in down
    return TaskEndpoint(
        task_id=task.id,
        service_id=task.service_id,
        node_id=task.node_id,
        slot=task.slot,
        address=_bare(address),
        aliases=aliases,
        ready=wanted and task.status.state == TaskState.RUNNING,
        state=EndpointState.UP if wanted else EndpointState.DRAINING,
    )


def _collect(
    tasks: Iterable[Task], networks: set[str], down: Container[str]
) -> dict[str, _Members]:
    found: dict[str, _Members] = {network_id: _Members() for network_id in networks}
    for task in tasks:
        if not is_reachable(task):
            continue
        for attachment in task.networks:
            members = found.get(attachment.network_id)
            if members is None or not attachment.address:
                continue
            members.tasks.append(_endpoint(task, attachment.address, attachment.aliases, down))
            members.services.add(task.service_id)
            members.nodes.add(task.node_id)
    return found


def _aliases(service: Service, network: Network) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                alias
                for attachment in service.spec.task.networks
                if attachment.target in (network.id, network.spec.name)
                for alias in attachment.aliases
            }
        )
    )


def _ports(service: Service, network: Network) -> tuple[PortConfig, ...]:
    if not network.spec.ingress:
        return ()
    return tuple(p for p in service.endpoint.ports if p.publish_mode == PublishMode.INGRESS)


def _service(service: Service, network: Network) -> ServiceEndpoint:
    vips = [v.address for v in service.endpoint.virtual_ips if v.network_id == network.id]
    return ServiceEndpoint(
        service_id=service.id,
        name=service.spec.name,
        aliases=_aliases(service, network),
        mode=ResolutionMode.VIP if vips else ResolutionMode.DNSRR,
        virtual_ip=_bare(vips[0]) if vips else "",
        ports=_ports(service, network),
    )


def _mtu(network: Network) -> int:
    text = network.spec.driver_options.get(MTU_OPTION, "")
    return int(text) if text.isdigit() else 0


def derive(
    networks: Iterable[Network],
    tasks: Iterable[Task],
    services: Iterable[Service],
    nodes: Iterable[Node],
    version: int,
) -> dict[str, EndpointSet]:
    """The set of each of `networks`, from all tasks, services and nodes at store `version`.

    A service belongs to a network in which it has a virtual address or a task. The ingress
    network spans every node that is not down, since each of them takes connections from outside.
    """
    chosen = {network.id: network for network in networks if network.subnet}
    by_node = {node.id: node for node in nodes}
    down = {node_id for node_id, node in by_node.items() if node.status.state == NodeState.DOWN}
    members = _collect(tasks, set(chosen), down)
    by_service = {service.id: service for service in services}
    for service in by_service.values():
        for vip in service.endpoint.virtual_ips:
            if vip.network_id in members:
                members[vip.network_id].services.add(service.id)
    sets = {}
    for network_id in sorted(chosen):
        network, found = chosen[network_id], members[network_id]
        if network.spec.ingress:
            found.nodes |= {n.id for n in by_node.values() if n.status.state == NodeState.READY}
        sets[network_id] = EndpointSet(
            network_id=network_id,
            network_name=network.spec.name,
            version=version,
            subnet=network.subnet,
            gateway=_bare(network.gateway),
            vni=network.vni,
            internal=network.spec.internal,
            ingress=network.spec.ingress,
            mtu_bytes=_mtu(network),
            services=tuple(
                _service(by_service[key], network)
                for key in sorted(found.services)
                if key in by_service
            ),
            tasks=tuple(sorted(found.tasks, key=lambda t: t.task_id)),
            nodes=tuple(
                NodeEndpoint(node_id=n.id, address=n.status.address, index=n.index)
                for n in (by_node[key] for key in sorted(found.nodes) if key in by_node)
                if n.status.address and n.index
            ),
        )
    return sets


def networks_of_node(tasks: Iterable[Task], ingress: Iterable[Network]) -> set[str]:
    """The networks that a node must know: those of its tasks that have not ended, and ingress."""
    own = {a.network_id for task in tasks if is_reachable(task) for a in task.networks}
    return own | {network.id for network in ingress}
