"""Virtual addresses by nftables maps only (text for `nft`): services are elements, never rules.

A fixed chain lb_N picks one of N backends at random and looks it up in a map, so adding a service
or a backend changes elements and costs the same with one service as with ten thousand. `numgen
inc` would not do: its counter belongs to the chain, which all services of that size share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from overlay.names import EGRESS_DEVICE
from pyswarm.model import EndpointSet, EndpointState

TABLE: Final = "pyswarm"
CHAINS_FIRST: Final = 32
"""Chains made with the table; larger services get theirs when they appear."""

Backends = Mapping[str, tuple[str, ...]]


def backends(endpoints: EndpointSet, dead: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Virtual address to the addresses of the tasks that take new connections; a service without
    one is left out, and callers are refused at once."""
    ready: dict[str, list[str]] = {}
    for task in endpoints.tasks:
        if task.ready and task.state == EndpointState.UP and task.task_id not in dead:
            ready.setdefault(task.service_id, []).append(task.address)
    return {
        service.virtual_ip: tuple(ready[service.service_id])
        for service in endpoints.services
        if service.virtual_ip and service.service_id in ready
    }


def chains_for(count: int) -> int:
    """How many chains serve a largest service of `count` backends: 32, 64, 128..."""
    chains = CHAINS_FIRST
    while chains < count:
        chains *= 2
    return chains


def table(*, subnet: str, gateway: str, link_address: str, ingress: bool) -> str:
    """The router's table, safe to send again: chains are rewritten, elements stay.

    `refuse` answers TCP to an address of the subnet that has no route with a reset: the kernel's
    own ICMP error does not end an established connection, so its client would hang.
    `hairpin` hides a container that was balanced to itself behind the gateway's address.
    Connections from outside come through the ingress router under this node's link address, which
    is different on every node, so that replies find the way back.
    """
    rules = [f"ip saddr . ip daddr @hairpin snat to {gateway}"]
    if ingress:
        rules.append(f'iifname "{EGRESS_DEVICE}" snat to {link_address}')
    refuse = f"ip daddr {subnet} meta l4proto tcp ct state new,invalid fib daddr oif missing"
    return "\n".join(
        [
            f"table ip {TABLE} {{",
            "map vips { type ipv4_addr : verdict; }",
            "map backends { typeof ip daddr . numgen random mod 2 : ip daddr; }",
            "set hairpin { type ipv4_addr . ipv4_addr; }",
            "chain prerouting { type nat hook prerouting priority -100; }",
            "chain refuse { type filter hook prerouting priority -90; }",
            "chain postrouting { type nat hook postrouting priority 100; }",
            "}",
            *(f"flush chain ip {TABLE} {c}" for c in ("prerouting", "refuse", "postrouting")),
            f"add rule ip {TABLE} prerouting ip daddr vmap @vips",
            f"add rule ip {TABLE} refuse {refuse} reject with tcp reset",
            *(f"add rule ip {TABLE} postrouting {rule}" for rule in rules),
            "",
        ]
    )


def chains(start: int, stop: int) -> list[str]:
    """The chains lb_start to lb_(stop-1); safe to send again."""
    lines = []
    for count in range(start, stop):
        lines += [
            f"add chain ip {TABLE} lb_{count}",
            f"flush chain ip {TABLE} lb_{count}",
            f"add rule ip {TABLE} lb_{count} dnat ip to ip daddr . numgen random mod {count}"
            " map @backends",
        ]
    return lines


def elements(verb: str, name: str, items: Iterable[str]) -> list[str]:
    """One command that adds or deletes elements, or none where there are no `items`."""
    text = ", ".join(items)
    return [f"{verb} element ip {TABLE} {name} {{ {text} }}"] if text else []


def flush_elements() -> list[str]:
    """Empty every map and set of the router's table."""
    return [
        f"flush map ip {TABLE} vips",
        f"flush map ip {TABLE} backends",
        f"flush set ip {TABLE} hairpin",
    ]


def changes(old: Backends, new: Backends) -> list[str]:
    """Commands that turn the maps of `old` into those of `new`, to be sent as one transaction."""
    gone = {vip for vip in old if len(new.get(vip, ())) != len(old[vip])}
    come = {vip for vip in new if len(old.get(vip, ())) != len(new[vip])}
    was = {(v, place): a for v, members in old.items() for place, a in enumerate(members)}
    now = {(v, place): a for v, members in new.items() for place, a in enumerate(members)}
    stale = sorted(key for key in was if now.get(key) != was[key])
    fresh = sorted(key for key in now if was.get(key) != now[key])
    return [
        *elements("delete", "vips", (f"{vip} : goto lb_{len(old[vip])}" for vip in sorted(gone))),
        *elements("delete", "backends", (f"{v} . {i} : {was[v, i]}" for v, i in stale)),
        *elements("add", "backends", (f"{v} . {i} : {now[v, i]}" for v, i in fresh)),
        *elements("add", "vips", (f"{vip} : goto lb_{len(new[vip])}" for vip in sorted(come))),
    ]


def hairpins(old: Collection[str], new: Collection[str]) -> list[str]:
    """Commands that make the set of local addresses `new`."""
    gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    return [
        *elements("delete", "hairpin", (f"{a} . {a}" for a in gone)),
        *elements("add", "hairpin", (f"{a} . {a}" for a in come)),
    ]
