"""What the kernel of this node shall hold, derived from endpoint sets and local containers.

Endpoint sets say who is where; legs say which containers are really here. Everything below is
derived from these two alone, so applying a set twice, or after any loss, ends in the same state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Final

from overlay.fdb import Peer, peers, remote_routes
from overlay.names import container_mac, link_address, veth_name, vtep_mac
from overlay.vip import backends
from pyswarm.errors import ResourceExhausted
from pyswarm.model import EndpointSet, NetworkAttachment, PortConfig

LOCAL_NETWORK: Final = "local"
"""The node's own network, without VXLAN, for tasks that have no other way out."""
VXLAN_OVERHEAD_BYTES: Final = 50
MTU_MIN_BYTES: Final = 576
MTU_MAX_BYTES: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A container's foot in one network; `exit` marks the leg with the default route."""

    task_id: str
    network_id: str
    device: str
    address: str
    exit: bool = False

    @property
    def veth(self) -> str:
        """The device at the router's end."""
        return veth_name(self.task_id, self.network_id)

    @property
    def mac(self) -> str:
        """The hardware address inside the container."""
        return container_mac(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A task that has a network namespace here."""

    task_id: str
    legs: tuple[Leg, ...] = ()
    host_ports: tuple[PortConfig, ...] = ()
    nameservers: tuple[str, ...] = ()

    @property
    def exit_address(self) -> str:
        """Where host-mode ports lead; empty for a task that only knows internal networks."""
        return next((leg.address for leg in self.legs if leg.exit), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a router is made with; another head means another router. `vni` 0: without VXLAN."""

    vni: int = 0
    mtu_bytes: int = 0
    subnet: str = ""
    gateway: str = ""
    underlay: str = ""
    link_address: str = ""
    mac: str = ""
    egress: bool = False
    ingress: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """One network on this node: `remote` is task address to the next hop's link address, `vips`
    virtual address to backends, `members` every address in use to the id of its task."""

    network_id: str
    head: Head
    peers: frozenset[Peer] = frozenset()
    remote: Mapping[str, str] = field(default_factory=dict)
    legs: frozenset[Leg] = frozenset()
    vips: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    members: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Everything that the desired state follows from. `closed` are the tasks whose host-mode ports
    take no new connection. `complete`: the managers have named every network, so one that is not in
    `sets` is gone."""

    sets: Mapping[str, EndpointSet]
    attached: Mapping[str, Attached]
    dead: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()
    complete: bool = False


def legs_of(
    task_id: str,
    attachments: Sequence[NetworkAttachment],
    sets: Mapping[str, EndpointSet],
    *,
    has_host_ports: bool,
    local_address: str,
) -> tuple[Leg, ...]:
    """The legs of a container, eth0 first, in the order of `attachments`.

    The way out is the first network that is neither internal nor the ingress one, so that an
    application's own traffic does not share the ingress router; then ingress; then the node's
    local network, which is joined only by a task without networks or with host-mode ports.
    """
    order = sorted(
        (sets[a.network_id].ingress, place)
        for place, a in enumerate(attachments)
        if not sets[a.network_id].internal
    )
    way_out = order[0][1] if order else -1
    legs = [
        Leg(
            task_id=task_id,
            network_id=a.network_id,
            device=f"eth{place}",
            address=a.address.partition("/")[0],
            exit=place == way_out,
        )
        for place, a in enumerate(attachments)
    ]
    if not attachments or (has_host_ports and way_out < 0):
        legs.append(
            Leg(
                task_id=task_id,
                network_id=LOCAL_NETWORK,
                device=f"eth{len(legs)}",
                address=local_address,
                exit=True,
            )
        )
    return tuple(legs)


def needs_local(
    attachments: Sequence[NetworkAttachment],
    sets: Mapping[str, EndpointSet],
    *,
    has_host_ports: bool,
) -> bool:
    """Whether `legs_of` will ask for an address in the node's local network."""
    internal_only = all(sets[a.network_id].internal for a in attachments)
    return not attachments or (has_host_ports and internal_only)


def choose_local_subnet(taken: Sequence[IPv4Network]) -> str:
    """A subnet for the node's local network that overlaps none of `taken`; raises
    ResourceExhausted where the host uses all private ones."""
    candidates = (
        *(IPv4Network(f"172.{second}.0.0/16") for second in range(18, 32)),
        *(IPv4Network(f"192.168.{third}.0/20") for third in range(0, 256, 16)),
    )
    for candidate in candidates:
        if not any(candidate.overlaps(network) for network in taken):
            return str(candidate)
    raise ResourceExhausted(
        "every private subnet from 172.18.0.0 to 192.168.255.255 is in use on this node: free one"
    )


def free_local_address(subnet: str, attached: Iterable[Attached]) -> str:
    """The lowest address of the local network that no container has; raises ResourceExhausted."""
    used = {leg.address for a in attached for leg in a.legs if leg.network_id == LOCAL_NETWORK}
    network = IPv4Network(subnet)
    for place in range(2, network.num_addresses - 1):
        if str(network[place]) not in used:
            return str(network[place])
    raise ResourceExhausted(f"the node's local network {subnet} has no free address")


def local_set(subnet: str) -> EndpointSet:
    """The node's local network in the shape of an endpoint set."""
    return EndpointSet(
        network_id=LOCAL_NETWORK,
        network_name=LOCAL_NETWORK,
        subnet=subnet,
        gateway=str(IPv4Network(subnet)[1]),
    )


def own_index(node_id: str, sets: Iterable[EndpointSet]) -> int:
    """This node's number, 0 while no set names it."""
    return max((n.index for s in sets for n in s.nodes if n.node_id == node_id), default=0)


def head(endpoints: EndpointSet, index: int, underlay: str, underlay_mtu_bytes: int) -> Head:
    """How the network's router is made on the node with number `index`."""
    room = underlay_mtu_bytes - (VXLAN_OVERHEAD_BYTES if endpoints.vni else 0)
    mtu = endpoints.mtu_bytes or room
    return Head(
        vni=endpoints.vni,
        mtu_bytes=min(max(mtu, MTU_MIN_BYTES), MTU_MAX_BYTES),
        subnet=endpoints.subnet,
        gateway=endpoints.gateway or str(IPv4Network(endpoints.subnet)[1]),
        underlay=underlay if endpoints.vni else "",
        link_address=link_address(index) if endpoints.vni else "",
        mac=vtep_mac(index) if endpoints.vni else "",
        egress=not endpoints.internal,
        ingress=endpoints.ingress,
    )


def router(
    endpoints: EndpointSet,
    made_with: Head,
    node_id: str,
    legs: Collection[Leg],
    dead: Collection[str],
) -> Router:
    """The router of one network; `legs` are the local ones in it, `dead` ids of local tasks whose
    end the managers may not know yet.

    Where an address has changed hands the set decides: a local leg that it does not know gives
    way to the remote task that now owns its address.
    """
    known = {task.task_id for task in endpoints.tasks}
    local = {leg.address: leg for leg in legs if leg.task_id in known}
    remote = remote_routes(endpoints, node_id)
    kept = {leg for leg in legs if leg.task_id in known or leg.address not in remote}
    members = {t.address: t.task_id for t in endpoints.tasks if t.task_id not in dead}
    return Router(
        network_id=endpoints.network_id,
        head=made_with,
        peers=peers(endpoints, node_id),
        remote={address: hop for address, hop in remote.items() if address not in local},
        legs=frozenset(kept),
        vips=backends(endpoints, dead),
        members={leg.address: leg.task_id for leg in kept if leg.task_id not in dead} | members,
    )
