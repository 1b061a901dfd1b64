"""Performs plans on the kernel; every call is blocking and belongs to the worker thread."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

from overlay import messages, names, netlink, nft, ports, sockets, vip
from overlay.desired import Head, Leg, Router
from overlay.dns import REDIRECT
from overlay.fdb import Peer
from overlay.messages import End, Message
from overlay.netlink import Channel
from overlay.plan import RouterPlan
from overlay.ports import PublishedPort
from pyswarm.errors import FailedPrecondition
from pyswarm.model import Protocol

_VXLAN_INDEX: Final = 1000
_EGRESS_INDEX: Final = 1001
"""Above the devices that some kernels put into every new namespace (tunl0, sit0)."""
_MAIN_TABLE: Final = 254
_KINDS: Final = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}


class Place:
    """An open namespace with its netlink channel."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        try:
            with netlink.visit(descriptor):
                self.channel = Channel()
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Let go of the namespace."""
        self.channel.close()
        os.close(self.descriptor)

    def index(self, name: str) -> int:
        """The index of a link; raises Unavailable where there is none."""
        return messages.parse_link(self.channel.ask(messages.link_get(name))[0])[0]

    def links(self) -> dict[str, int]:
        """Name to index of every link."""
        found = map(messages.parse_link, self.channel.ask(messages.links_dump()))
        return {name: index for index, name, _ in found}


class Kernel:
    """The node's namespaces, links, routes and tables. Namespaces are files below `directory`:
    routers/<network id> and netns/<task id>."""

    def __init__(self, directory: Path, vxlan_port: int) -> None:
        self._routers = directory / "routers"
        self._containers = directory / "netns"
        self._vxlan_port = vxlan_port
        self._places: dict[str, Place] = {}
        self._reserved: dict[PublishedPort, socket.socket] = {}
        self._host: Place | None = None

    @property
    def host(self) -> Place:
        """The host's namespace, after `open`."""
        assert self._host is not None, "the kernel is not open"
        return self._host

    # ---- the host ----

    def open(self) -> list[str]:
        """Prepare the host's table; answers what its firewall stands in the way of."""
        self._routers.mkdir(parents=True, exist_ok=True)
        self._containers.mkdir(parents=True, exist_ok=True)
        if self._host is None:
            self._host = Place(netlink.own_namespace())
        nft.replace_table(ports.table(self._vxlan_port))
        netlink.sysctl("ipv4/ip_forward", "1")
        return nft.open_forwarding()

    def close(self) -> None:
        """Close every descriptor; what the kernel holds stays."""
        for place in self._places.values():
            place.close()
        self._places = {}
        for reserved in self._reserved.values():
            reserved.close()
        self._reserved = {}
        if self._host:
            self._host.close()
            self._host = None

    def clear_host(self) -> None:
        """Remove our table and our rules from the host."""
        nft.close_forwarding()
        nft.remove_table()

    def remove_directories(self) -> None:
        """Remove the directories, which are empty by now."""
        for directory in (self._routers, self._containers):
            with suppress(OSError):
                directory.rmdir()

    def underlay_mtu(self, address: str) -> int:
        """The MTU of the link that has `address`; raises FailedPrecondition where none has."""
        found = map(messages.parse_address, self.host.channel.ask(messages.addresses_dump()))
        index = next((index for index, known in found if known == address), 0)
        links = map(messages.parse_link, self.host.channel.ask(messages.links_dump()))
        for known, _, mtu in links:
            if known == index:
                return mtu
        raise FailedPrecondition(
            f"no network card of this node has the address {address}: advertise one that it has"
        )

    def host_networks(self) -> list[IPv4Network]:
        """Every network that the host has a route to, without the default route."""
        routes = map(messages.parse_route, self.host.channel.ask(messages.routes_dump()))
        return [
            IPv4Network(destination)
            for destination, table, _, _ in routes
            if table == _MAIN_TABLE and destination != "0.0.0.0/0"
        ]

    def change_host(self, commands: Iterable[str]) -> None:
        """Change the host's table."""
        nft.run(commands)

    def reserve(self, port: PublishedPort) -> bool:
        """Bind the port, without listening, so that nobody else can; False where one has it.

        Packets to the port are redirected before they would reach a socket. SCTP is not bound:
        a machine without its kernel module could not publish at all.
        """
        if port in self._reserved or port.protocol not in _KINDS:
            return True
        holder = socket.socket(socket.AF_INET, _KINDS[port.protocol] | socket.SOCK_CLOEXEC)
        try:
            holder.bind(("0.0.0.0", port.number))
        except OSError as error:
            holder.close()
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        self._reserved[port] = holder
        return True

    def release(self, keep: Iterable[PublishedPort]) -> None:
        """Give back every port that is not in `keep`."""
        for port in self._reserved.keys() - set(keep):
            self._reserved.pop(port).close()

    # ---- routers ----

    def routers(self) -> set[str]:
        """The networks that have a router here."""
        return _namespaces(self._routers)

    def _router(self, network_id: str) -> Place:
        if network_id not in self._places:
            path = self._routers / network_id
            self._places[network_id] = Place(netlink.open_namespace(path))
        return self._places[network_id]

    def make_router(self, network_id: str, head: Head) -> None:
        """A namespace that forwards, with its devices, default routes and table."""
        path = self._routers / network_id
        netlink.drop_namespace(path)
        netlink.make_namespace(path)
        place = self._router(network_id)
        with netlink.visit(place.descriptor):
            netlink.sysctl("ipv4/ip_forward", "1")
            for scope in ("all", "default"):
                netlink.sysctl(f"ipv4/conf/{scope}/rp_filter", "0")
                netlink.sysctl(f"ipv4/conf/{scope}/send_redirects", "0")
                with suppress(FileNotFoundError):
                    netlink.sysctl(f"ipv6/conf/{scope}/disable_ipv6", "1")
            nft.replace_table(_table(head))
            nft.run(vip.chains(1, vip.CHAINS_FIRST + 1))
        place.channel.send(
            [
                messages.link_up(1),
                messages.address(1, head.gateway),
                messages.unreachable(head.subnet),
            ]
        )
        if head.vni:
            self._add_vxlan(place, head)
        if head.egress:
            self._add_egress(place, network_id, head)

    def _add_vxlan(self, place: Place, head: Head) -> None:
        device = messages.vxlan(
            name=names.VXLAN_DEVICE,
            index=_VXLAN_INDEX,
            namespace=place.descriptor,
            mac=head.mac,
            mtu=head.mtu_bytes,
            vni=head.vni,
            local=head.underlay,
            port=self._vxlan_port,
        )
        self.host.channel.send([device])
        link_network = IPv4Network(names.LINK_NETWORK)
        place.channel.send(
            [
                messages.address(_VXLAN_INDEX, head.link_address),
                messages.route(str(link_network), _VXLAN_INDEX),
            ]
        )

    def _add_egress(self, place: Place, network_id: str, head: Head) -> None:
        device = names.host_device(network_id)
        self.host.channel.send([messages.link_delete(device)])
        place.channel.send(
            [
                messages.veth(
                    End(name=names.EGRESS_DEVICE, mac=names.EGRESS_ROUTER_MAC, index=_EGRESS_INDEX),
                    End(name=device, mac=names.EGRESS_HOST_MAC),
                    namespace=self.host.descriptor,
                    mtu=head.mtu_bytes,
                ),
                messages.address(_EGRESS_INDEX, names.EGRESS_ROUTER),
                messages.neighbour(_EGRESS_INDEX, names.EGRESS_HOST, names.EGRESS_HOST_MAC),
                messages.route(f"{names.EGRESS_HOST}/32", _EGRESS_INDEX),
                messages.route("0.0.0.0/0", _EGRESS_INDEX, via=names.EGRESS_HOST),
            ]
        )
        index = self.host.index(device)
        for name, value in (("rp_filter", "0"), ("route_localnet", "1"), ("send_redirects", "0")):
            netlink.sysctl(f"ipv4/conf/{device}/{name}", value)
        self.host.channel.send(
            [
                messages.link_up(index),
                messages.address(index, names.EGRESS_HOST),
                messages.neighbour(index, names.EGRESS_ROUTER, names.EGRESS_ROUTER_MAC),
                messages.route(head.subnet, index, via=names.EGRESS_ROUTER),
            ]
        )

    def remove_router(self, network_id: str) -> None:
        """Remove a router; its devices first, since a namespace ends some time after its file
        and a new one could not have the same VXLAN number before that."""
        path = self._routers / network_id
        if netlink.is_namespace(path):
            place = self._router(network_id)
            doomed = [n for n in place.links() if n != "lo"]
            place.channel.send([messages.link_delete(name) for name in doomed])
        if network_id in self._places:
            self._places.pop(network_id).close()
        netlink.drop_namespace(path)

    def observe(self, network_id: str, head: Head, legs: Iterable[Leg]) -> Router:
        """What an adopted router holds of `legs` and other nodes; strange veths are removed.

        The route to a leg is made last, so a leg without it was left half made by a crash.
        """
        place = self._router(network_id)
        with netlink.visit(place.descriptor):
            nft.replace_table(_table(head))
        links = place.links()
        routes = [messages.parse_route(body) for body in place.channel.ask(messages.routes_dump())]
        ends = {(destination, index) for destination, _, index, _ in routes}
        present = frozenset(
            leg for leg in legs if (f"{leg.address}/32", links.get(leg.veth, 0)) in ends
        )
        strange = {n for n in links if n.startswith("v")} - {leg.veth for leg in present}
        place.channel.send(
            [messages.link_delete(n) for n in sorted(strange - {names.VXLAN_DEVICE})]
        )
        remote = {
            destination.partition("/")[0]: hop
            for destination, _, index, hop in routes
            if index == _VXLAN_INDEX and hop
        }
        with netlink.visit(place.descriptor):
            vips = nft.backends()
        members = {*remote, *(a for found in vips.values() for a in found)}
        return Router(
            network_id=network_id,
            head=head,
            peers=self._peers(place),
            remote=remote,
            legs=present,
            vips=vips,
            members=dict.fromkeys(sorted(members | {leg.address for leg in present}), ""),
        )

    def _peers(self, place: Place) -> frozenset[Peer]:
        def listed(*, bridge: bool) -> dict[str, str]:
            dump = place.channel.ask(messages.neighbours_dump(bridge=bridge))
            found = map(messages.parse_neighbour, dump)
            return {mac: ip for index, ip, mac in found if index == _VXLAN_INDEX and ip and mac}

        forwarding = listed(bridge=True)
        return frozenset(
            Peer(ip, mac, forwarding.get(mac, "")) for mac, ip in listed(bridge=False).items()
        )

    def change_router(self, wanted: Router, plan: RouterPlan) -> None:
        """Perform `plan`, which leads to `wanted`."""
        place = self._router(wanted.network_id)
        place.channel.send(_peers_new(plan) + _routes_new(plan))
        for leg in plan.legs_new:
            self._add_leg(place, wanted.head, leg)
        with netlink.visit(place.descriptor):
            nft.run(plan.rules)
        place.channel.send(
            [messages.link_delete(leg.veth) for leg in plan.legs_gone]
            + [messages.route_delete(f"{address}/32") for address in plan.routes_gone]
            + [message for peer in plan.peers_gone for message in _peer_gone(peer)]
        )
        if plan.forget:
            self._forget(place, plan.forget)
            if wanted.head.egress:
                self._forget(self.host, plan.forget)

    def _forget(self, place: Place, addresses: Iterable[str]) -> None:
        with netlink.visit(place.descriptor):
            channel = Channel.of_conntrack()
        try:
            channel.send([messages.forget(address) for address in addresses])
        finally:
            channel.close()

    # ---- containers ----

    def containers(self) -> set[str]:
        """The tasks that have a namespace here."""
        return _namespaces(self._containers)

    def container_path(self, task_id: str) -> Path:
        """Where the task's namespace is."""
        assert task_id.strip("."), f"not a task's id: {task_id!r}"
        assert "/" not in task_id, f"not a task's id: {task_id!r}"
        return self._containers / task_id

    def make_container(self, task_id: str, sysctls: Mapping[str, str]) -> None:
        """A namespace with a loopback and the redirection of DNS; an old one is replaced."""
        path = self.container_path(task_id)
        netlink.drop_namespace(path)
        netlink.make_namespace(path)
        place = Place(netlink.open_namespace(path))
        try:
            place.channel.send([messages.link_up(1)])
            with netlink.visit(place.descriptor):
                netlink.sysctl("ipv4/ip_unprivileged_port_start", "0")
                netlink.sysctl("ipv4/ping_group_range", "0 2147483647")
                for name, value in sorted(sysctls.items()):
                    netlink.sysctl(name.removeprefix("net.").replace(".", "/"), value)
                nft.run(REDIRECT)
        finally:
            place.close()

    def remove_container(self, task_id: str) -> None:
        """Let go of the task's namespace."""
        netlink.drop_namespace(self.container_path(task_id))

    def in_container(
        self, task_id: str, make: Callable[[], list[socket.socket]]
    ) -> list[socket.socket]:
        """Sockets made in the task's namespace."""
        descriptor = netlink.open_namespace(self.container_path(task_id))
        try:
            with netlink.visit(descriptor):
                return make()
        finally:
            os.close(descriptor)

    def is_sending(self, task_id: str) -> bool:
        """Whether connections that the task's programs have closed still have something to send."""
        descriptor = netlink.open_namespace(self.container_path(task_id))
        try:
            with netlink.visit(descriptor):
                here = Path("/proc/thread-self/net")
                tables = [here / name for name in ("tcp", "tcp6")]
                return any(sockets.is_sending(t.read_text()) for t in tables if t.exists())
        finally:
            os.close(descriptor)

    def _add_leg(self, router: Place, head: Head, leg: Leg) -> None:
        container = Place(netlink.open_namespace(self.container_path(leg.task_id)))
        try:
            router.channel.send([messages.link_delete(leg.veth)])
            pair = messages.veth(
                End(name=leg.veth, mac=names.ROUTER_MAC),
                End(name=leg.device, mac=leg.mac),
                namespace=container.descriptor,
                mtu=head.mtu_bytes,
            )
            router.channel.send([pair])
            container.channel.send(_inside(head, leg, container.index(leg.device)))
        finally:
            container.close()
        # Strict, so that a container with raw sockets cannot speak under another's address.
        with netlink.visit(router.descriptor):
            netlink.sysctl(f"ipv4/conf/{leg.veth}/rp_filter", "1")
        outer = router.index(leg.veth)
        router.channel.send(
            [
                messages.neighbour(outer, leg.address, leg.mac),
                messages.route(f"{leg.address}/32", outer),
            ]
        )


def _namespaces(directory: Path) -> set[str]:
    if not directory.exists():
        return set()
    return {path.name for path in directory.iterdir()}


def _table(head: Head) -> str:
    return vip.table(
        subnet=head.subnet,
        gateway=head.gateway,
        link_address=head.link_address,
        ingress=head.ingress,
    )


def _inside(head: Head, leg: Leg, index: int) -> list[Message]:
    """A container's own side of a leg: everything goes to the one gateway, without ARP."""
    gateway = names.CONTAINER_GATEWAY
    found = [
        messages.link_up(index),
        messages.address(index, leg.address),
        messages.neighbour(index, gateway, names.ROUTER_MAC),
        messages.route(head.subnet, index, via=gateway, source=leg.address),
    ]
    if head.ingress:  # the source of every connection from outside, see the router's table
        found.append(messages.route(names.LINK_NETWORK, index, via=gateway, source=leg.address))
    if leg.exit:
        found.append(messages.route("0.0.0.0/0", index, via=gateway, source=leg.address))
    return found


def _peers_new(plan: RouterPlan) -> list[Message]:
    found = []
    for peer in plan.peers_new:
        found.append(messages.neighbour(_VXLAN_INDEX, peer.link_address, peer.mac))
        found.append(messages.forwarding(_VXLAN_INDEX, peer.mac, peer.underlay))
    return found


def _routes_new(plan: RouterPlan) -> list[Message]:
    return [
        messages.route(f"{address}/32", _VXLAN_INDEX, via=hop) for address, hop in plan.routes_new
    ]


def _peer_gone(peer: Peer) -> list[Message]:
    found = [messages.neighbour_delete(_VXLAN_INDEX, peer.link_address)]
    if peer.underlay:
        found.append(messages.forwarding_delete(_VXLAN_INDEX, peer.mac, peer.underlay))
    return found
