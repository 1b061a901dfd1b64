"""Published ports in the host's namespace (text for `nft`), by maps like the virtual addresses.

An ingress port leads to any task of its service, on every node; a host-mode port to the one
container here. To the firewall both are the same: a port with a list of targets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from overlay.desired import Attached
from overlay.names import HOST_DEVICE_PREFIX
from overlay.vip import TABLE, elements
from pyswarm.model import EndpointSet, EndpointState, Protocol

OURS: Final = f'"{HOST_DEVICE_PREFIX}*"'


@dataclass(frozen=True, slots=True, order=True)
class PublishedPort:
    """A port of the host."""

    number: int
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol.name.lower()}"

    @property
    def key(self) -> str:
        """The port in nft's words."""
        return f"{self.protocol.name.lower()} . {self.number}"


Target = tuple[str, int]
"""A task's address and its port."""
Published = Mapping[PublishedPort, tuple[Target, ...]]


def ingress_ports(
    sets: Iterable[EndpointSet], dead: Collection[str]
) -> dict[PublishedPort, tuple[Target, ...]]:
    """The ports of the ingress network with the tasks that take new connections, maybe none."""
    found: dict[PublishedPort, tuple[Target, ...]] = {}
    for endpoints in sets:
        if not endpoints.ingress:
            continue
        ready: dict[str, list[str]] = {}
        for task in endpoints.tasks:
            if task.ready and task.state == EndpointState.UP and task.task_id not in dead:
                ready.setdefault(task.service_id, []).append(task.address)
        for service in endpoints.services:
            for port in service.ports:
                if port.published_port:
                    found[PublishedPort(port.published_port, port.protocol)] = tuple(
                        (address, port.target_port) for address in ready.get(service.service_id, ())
                    )
    return found


def host_ports(
    attached: Iterable[Attached], closed: Collection[str]
) -> dict[PublishedPort, tuple[Target, ...]]:
    """The host-mode ports of the containers here; those of tasks that are `closed` lead nowhere."""
    return {
        PublishedPort(port.published_port, port.protocol): ()
        if task.task_id in closed
        else ((task.exit_address, port.target_port),)
        for task in attached
        for port in task.host_ports
        if port.published_port
    }


def table(vxlan_port: int) -> str:
    """The host's table, safe to send again: chains are rewritten, elements stay.

    forward: only answers and published ports reach a container, so networks are closed against
    each other and against the outside. postrouting: packets from 127/8 and from one container to
    a published port of its own host need a source that finds its way back; everything else that
    leaves the host from a container takes the host's address. input: VXLAN carries no proof of
    its sender, so it is taken from the nodes of the swarm only; and since a container would leave
    under its host's address, forward keeps it from speaking VXLAN to them.
    """
    published = "fib daddr type local meta l4proto . th dport vmap @published"
    rules = [
        f"prerouting {published}",
        f"output {published}",
        f"postrouting oifname {OURS} ip saddr 127.0.0.0/8 masquerade",
        f"postrouting iifname {OURS} oifname {OURS} ct status dnat masquerade",
        f"postrouting iifname {OURS} oifname != {OURS} masquerade",
        f"forward oifname {OURS} ct state established,related accept",
        f"forward oifname {OURS} ct status dnat accept",
        f"forward oifname {OURS} reject with icmp type admin-prohibited",
        f"forward iifname {OURS} ip daddr @nodes udp dport {vxlan_port} drop",
        f"input udp dport {vxlan_port} ip saddr != @nodes drop",
    ]
    hooks = {
        "prerouting": "type nat hook prerouting priority -100",
        "output": "type nat hook output priority -100",
        "postrouting": "type nat hook postrouting priority 100",
        "forward": "type filter hook forward priority 0",
        "input": "type filter hook input priority -10",
    }
    targets = "typeof meta l4proto . th dport . numgen random mod 2 : ip daddr . tcp dport"
    return "\n".join(
        [
            f"table ip {TABLE} {{",
            "set nodes { type ipv4_addr; }",
            "map published { type inet_proto . inet_service : verdict; }",
            f"map targets {{ {targets}; }}",
            *(f"chain {name} {{ {hook}; }}" for name, hook in hooks.items()),
            "}",
            *(f"flush chain ip {TABLE} {name}" for name in hooks),
            *(f"add rule ip {TABLE} {rule}" for rule in rules),
            "",
        ]
    )


def chains(start: int, stop: int) -> list[str]:
    """The chains lb_start to lb_(stop-1) of the host's table; safe to send again."""
    lines = []
    for count in range(start, stop):
        lines += [
            f"add chain ip {TABLE} lb_{count}",
            f"flush chain ip {TABLE} lb_{count}",
            f"add rule ip {TABLE} lb_{count} dnat ip to meta l4proto . th dport"
            f" . numgen random mod {count} map @targets",
        ]
    return lines


def flush_elements() -> list[str]:
    """Empty every map and set of the host's table."""
    return [
        f"flush map ip {TABLE} published",
        f"flush map ip {TABLE} targets",
        f"flush set ip {TABLE} nodes",
    ]


def changes(old: Published, new: Published) -> list[str]:
    """Commands that turn the maps of `old` into those of `new`, to be sent as one transaction;
    a port without targets has no element, so the host itself refuses the connection."""
    gone = sorted(p for p in old if old[p] and len(new.get(p, ())) != len(old[p]))
    come = sorted(p for p in new if new[p] and len(old.get(p, ())) != len(new[p]))
    was = {(port, i): t for port, found in old.items() for i, t in enumerate(found)}
    now = {(port, i): t for port, found in new.items() for i, t in enumerate(found)}
    stale = sorted(key for key in was if now.get(key) != was[key])
    fresh = sorted(key for key in now if was.get(key) != now[key])

    return [
        *elements("delete", "published", (f"{p.key} : goto lb_{len(old[p])}" for p in gone)),
        *elements("delete", "targets", (_pair(port, i, was[port, i]) for port, i in stale)),
        *elements("add", "targets", (_pair(port, i, now[port, i]) for port, i in fresh)),
        *elements("add", "published", (f"{p.key} : goto lb_{len(new[p])}" for p in come)),
    ]


def _pair(port: PublishedPort, place: int, target: Target) -> str:
    return f"{port.key} . {place} : {target[0]} . {target[1]}"


def node_changes(old: Collection[str], new: Collection[str]) -> list[str]:
    """Commands that make the set of nodes `new`."""
    return [
        *elements("delete", "nodes", sorted(set(old) - set(new))),
        *elements("add", "nodes", sorted(set(new) - set(old))),
    ]
