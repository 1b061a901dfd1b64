"""What a node, a network, a service or a task still lacks, and giving it.

Each function runs inside a transaction and looks at its object again, so that a doubled or late
call changes nothing. It answers a problem in words, or an empty string. What is taken is read from
the view's indexes, which no two transactions can both claim from: nothing is given twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from immutables import Map

from manager.allocator import ipam, ports, vni
from manager.placement.lost import is_forgotten
from manager.planning import revisions
from manager.state import Transaction, View
from manager.state.apply import number_of
from pyswarm.model import (
    Endpoint,
    Network,
    NetworkAttachment,
    Node,
    ResolutionMode,
    Service,
    Task,
    TaskState,
    TaskStatus,
    VirtualIP,
    is_terminal,
)

PENDING_MESSAGE: Final = "pending task scheduling"
WAITING_MESSAGE: Final = "waiting for its networks"
_FREE: Map[int, str] = Map()


@dataclass(slots=True)
class Cursors:
    """The address given last in each network: a hint for the order, not a claim."""

    last: dict[str, int] = field(default_factory=dict)

    def of(self, view: View, network_id: str) -> int:
        """Where to go on; at first behind the highest address in use."""
        if network_id not in self.last:
            self.last[network_id] = max(view.addresses.get(network_id, _FREE), default=0)
        return self.last[network_id]


def allocate_node(tx: Transaction, node_id: str) -> str:
    """Give a node its small number: the smallest that is free, from 1."""
    node = tx.get(Node, node_id)
    if node is None or node.index:
        return ""
    taken = {other.index for other in tx.view.list(Node)}
    index = next(i for i in range(1, len(taken) + 2) if i not in taken)
    tx.put(replace(node, index=index))
    return ""


def allocate_network(tx: Transaction, network_id: str) -> str:
    """Give a network its subnet, gateway and VNI."""
    network = tx.get(Network, network_id)
    if network is None or network.subnet:
        return ""
    others = [n for n in tx.view.list(Network) if n.subnet]
    used = [IPv4Network(n.subnet) for n in others]
    subnet = _subnet(tx.view, network, used)
    if isinstance(subnet, str):
        return subnet
    number = vni.next_vni(n.vni for n in others)
    if number is None:
        return f"no VXLAN number is left for network {network.spec.name}"
    gateway = network.spec.gateway or str(ipam.first_host(subnet))
    if IPv4Address(gateway) not in subnet:
        return f"gateway {gateway} of network {network.spec.name} is not in {subnet}"
    tx.put(replace(network, subnet=str(subnet), gateway=gateway, vni=number))
    return ""


def _subnet(view: View, network: Network, used: list[IPv4Network]) -> IPv4Network | str:
    name = network.spec.name
    if network.spec.subnet:
        try:
            subnet = IPv4Network(network.spec.subnet)
        except ValueError as error:
            return f"subnet {network.spec.subnet} of network {name} is not valid: {error}"
        other = ipam.overlapping(subnet, used)
        if other is not None:
            return f"subnet {subnet} of network {name} overlaps {other} of another network"
        return subnet
    cluster = view.cluster
    if cluster is None:
        return "the swarm has no cluster record yet"
    found = ipam.next_subnet(cluster.address_pools, cluster.subnet_bits, used)
    if found is None:
        pools = ", ".join(cluster.address_pools)
        return f"no subnet of /{cluster.subnet_bits} is left in {pools} for network {name}"
    return found


def find_network(view: View, target: str) -> Network | None:
    """The network of an attachment, which names it by id or by name."""
    return view.get(Network, target) or view.by_name(Network, target)


def _networks(view: View, service: Service, targets: Iterable[str]) -> list[Network] | str:
    """The service's networks that are ready, each once, or which one is missing."""
    found: dict[str, Network] = {}
    for target in targets:
        network = find_network(view, target)
        if network is None:
            return f"network {target} not found"
        found[network.id] = network
    if any(ports.is_ingress(port) for port in service.spec.endpoint.ports):
        ingress = [network for network in view.list(Network) if network.spec.ingress]
        if not ingress:
            return "the swarm has no ingress network for the published ports"
        found[ingress[0].id] = ingress[0]
    for network in found.values():
        if not network.subnet:
            return f"network {network.spec.name} has no subnet yet"
    return list(found.values())


def _next_address(tx: Transaction, network: Network, cursors: Cursors) -> str | None:
    subnet = IPv4Network(network.subnet)
    taken = tx.view.addresses.get(network.id, _FREE)
    cursor = cursors.of(tx.view, network.id)
    address = ipam.next_address(subnet, number_of(network.gateway), taken, cursor)
    if address is None:
        return None
    cursors.last[network.id] = address
    return ipam.with_prefix(address, subnet)


def _exhausted(network: Network) -> str:
    return f"network {network.spec.name} has no free address left in {network.subnet}"


def allocate_service(tx: Transaction, service_id: str, cursors: Cursors) -> str:
    """Give a service its ports and virtual addresses, and take back those no longer asked for.

    A service that is being removed keeps what it has until its tasks have ended.
    """
    service = tx.get(Service, service_id)
    if service is None:
        return ""
    if service.pending_delete:
        _deallocate(tx, service)
        return ""
    spec = service.spec
    networks = _networks(tx.view, service, (a.target for a in spec.task.networks))
    if isinstance(networks, str):
        return networks
    given = ports.assign(spec.endpoint.ports, service.endpoint.ports, tx.view.ports, service_id)
    if isinstance(given, str):
        return given
    addresses = _virtual_ips(tx, service, networks, cursors)
    if isinstance(addresses, str):
        return addresses
    endpoint = Endpoint(ports=given, virtual_ips=addresses)
    if endpoint != service.endpoint:
        tx.put(replace(service, endpoint=endpoint))
    return ""


def _virtual_ips(
    tx: Transaction, service: Service, networks: list[Network], cursors: Cursors
) -> tuple[VirtualIP, ...] | str:
    if service.spec.endpoint.mode != ResolutionMode.VIP:
        return ()
    has = {vip.network_id: vip for vip in service.endpoint.virtual_ips}
    given = []
    for network in networks:
        vip = has.get(network.id)
        if vip is None:
            address = _next_address(tx, network, cursors)
            if address is None:
                return _exhausted(network)
            vip = VirtualIP(network_id=network.id, address=address)
        given.append(vip)
    return tuple(given)


def _deallocate(tx: Transaction, service: Service) -> None:
    # The virtual address must not reach another service while tasks of this one still answer it.
    # What is left on a node that is down keeps its own addresses, and the service goes.
    if all(is_forgotten(tx.view, task) for task in tx.view.tasks_of_service(service.id)):
        revisions.forget(tx, service)
        tx.delete(Service, service.id)


def allocate_task(tx: Transaction, task_id: str, cursors: Cursors) -> str:
    """Give a NEW task its addresses, all or none, and make it PENDING.

    What is in the way is written into its status, so that the user sees it there.
    """
    task = tx.get(Task, task_id)
    if task is None or task.status.state != TaskState.NEW or not task.is_wanted:
        return ""
    service = tx.get(Service, task.service_id)
    if service is None or service.pending_delete:
        return ""
    problem = allocate_service(tx, service.id, cursors)
    attachments: tuple[NetworkAttachment, ...] = ()
    if not problem:
        found = _attachments(tx, task, tx.require(Service, service.id), cursors)
        if isinstance(found, str):
            problem = found
        else:
            attachments = found
    if problem:
        if task.status.error != problem:
            status = replace(task.status, message=WAITING_MESSAGE, error=problem)
            tx.put(replace(task, status=status))
        return problem
    status = TaskStatus(state=TaskState.PENDING, timestamp=tx.now, message=PENDING_MESSAGE)
    tx.put(replace(task, networks=attachments, status=status))
    return ""


def _attachments(
    tx: Transaction, task: Task, service: Service, cursors: Cursors
) -> tuple[NetworkAttachment, ...] | str:
    networks = _networks(tx.view, service, (a.target for a in task.spec.networks))
    if isinstance(networks, str):
        return networks
    aliases = {
        network.id: attachment.aliases
        for attachment in task.spec.networks
        if (network := find_network(tx.view, attachment.target)) is not None
    }
    given = []
    for network in networks:
        address = _next_address(tx, network, cursors)
        if address is None:
            return _exhausted(network)
        given.append(
            NetworkAttachment(
                network_id=network.id, address=address, aliases=aliases.get(network.id, ())
            )
        )
    return tuple(given)


def frees_addresses(old: object, new: object) -> bool:
    """Whether a change may let something succeed that had failed before."""
    if isinstance(new, Task):
        return is_terminal(new.status.state) and bool(new.networks)
    return isinstance(new, Network | Service) or (new is None and isinstance(old, Task | Service))
