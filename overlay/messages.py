"""Messages of rtnetlink(7) and ctnetlink as bytes; only what the overlay sends and reads.

A batch of these costs one system call where pyroute2 needs one for each and ten times the time.
Numbers are those of <linux/rtnetlink.h>, <linux/if_link.h>, <linux/neighbour.h> and
<linux/netfilter/nfnetlink_conntrack.h>.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

HEADER: Final = struct.Struct("=IHHII")
"""Length, type, flags, sequence, port."""

NLM_REQUEST, NLM_ACK, NLM_DUMP = 0x1, 0x4, 0x300
_REPLACE, _EXCLUSIVE, _CREATE = 0x100, 0x200, 0x400
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_INET, _BRIDGE = 2, 7
_UP = 1
_TABLE_MAIN, _PROTOCOL_STATIC, _ONLINK = 254, 4, 4
_UNICAST, _UNREACHABLE = 1, 7
_PERMANENT, _NOARP, _SELF = 0x80, 0x40, 0x02
_NESTED: Final = 0x8000

GONE: Final = frozenset([errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO])
"""Errors of a deletion that say: it is not there."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request; errors in `tolerate` count as success."""

    kind: int
    flags: int
    body: bytes
    what: str
    tolerate: frozenset[int] = frozenset()


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and value of each attribute."""
    place = 0
    while place + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, place)
        if length < 4:
            return
        yield kind & 0x3FFF, data[place + 4 : place + length]
        place += (length + 3) & ~3


def _u32(number: int) -> bytes:
    return struct.pack("=I", number)


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _ip(address: str) -> bytes:
    return IPv4Address(address).packed


def _link(index: int, *, up: bool = False) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, _UP if up else 0, _UP if up else 0)


# ---- links ----


def vxlan(
    *, name: str, index: int, namespace: int, mac: str, mtu: int, vni: int, local: str, port: int
) -> Message:
    """A VXLAN device in the namespace behind the descriptor `namespace`; its UDP socket stays in
    the namespace that the message is sent in (RFC 7348)."""
    options = b"".join(
        (
            attribute(1, _u32(vni)),
            attribute(4, _ip(local)),
            attribute(7, b"\0"),  # learning off: addresses come from the managers only
            attribute(15, struct.pack(">H", port)),
        )
    )
    info = attribute(1, b"vxlan\0") + attribute(2, options)
    body = (
        _link(index, up=True)
        + attribute(3, _text(name))
        + attribute(1, _mac(mac))
        + attribute(4, _u32(mtu))
        + attribute(28, _u32(namespace))
        + attribute(18, info)
    )
    return Message(_NEWLINK, _CREATE | _EXCLUSIVE, body, f"make {name} (VXLAN {vni})")


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a veth pair; `index` 0 leaves the choice to the kernel (which also ignores the
    far end's, where the near end has none)."""

    name: str
    mac: str
    index: int = 0


def veth(near: End, far: End, *, namespace: int, mtu: int) -> Message:
    """A veth pair; the far end goes to the namespace behind the descriptor and must not be made
    up: the kernel refuses that while its peer is not there yet."""
    peer = (
        _link(far.index)
        + attribute(3, _text(far.name))
        + attribute(28, _u32(namespace))
        + attribute(4, _u32(mtu))
        + attribute(1, _mac(far.mac))
    )
    info = attribute(1, b"veth\0") + attribute(2, attribute(1, peer))
    body = (
        _link(near.index, up=True)
        + attribute(3, _text(near.name))
        + attribute(4, _u32(mtu))
        + attribute(1, _mac(near.mac))
        + attribute(18, info)
    )
    return Message(_NEWLINK, _CREATE | _EXCLUSIVE, body, f"make {near.name} to {far.name}")


def link_up(index: int) -> Message:
    """Set a link up."""
    return Message(_NEWLINK, 0, _link(index, up=True), f"set link {index} up")


def link_delete(name: str) -> Message:
    """Remove a link."""
    return Message(_DELLINK, 0, _link(0) + attribute(3, _text(name)), f"remove {name}", GONE)


def link_get(name: str) -> Message:
    """One link."""
    return Message(_GETLINK, NLM_ACK, _link(0) + attribute(3, _text(name)), f"find {name}")


def links_dump() -> Message:
    """All links."""
    return Message(_GETLINK, NLM_DUMP, _link(0), "list links")


def parse_link(body: bytes) -> tuple[int, str, int]:
    """Index, name and MTU."""
    index = struct.unpack_from("=i", body, 4)[0]
    found = dict(attributes(body[16:]))
    return index, found[3].rstrip(b"\0").decode(), struct.unpack("=I", found[4])[0]


# ---- addresses, routes, neighbours ----


def address(index: int, ip: str, prefix_length: int = 32) -> Message:
    """An address of a link."""
    body = struct.pack("=BBBBI", _INET, prefix_length, 0, 0, index)
    body += attribute(2, _ip(ip)) + attribute(1, _ip(ip))
    return Message(_NEWADDR, _CREATE | _REPLACE, body, f"give {ip} to link {index}")


def addresses_dump() -> Message:
    """All IPv4 addresses."""
    return Message(_GETADDR, NLM_DUMP, struct.pack("=BBBBI", _INET, 0, 0, 0, 0), "list addresses")


def parse_address(body: bytes) -> tuple[int, str]:
    """Index of the link, and address."""
    index = struct.unpack_from("=I", body, 4)[0]
    found = dict(attributes(body[8:]))
    return index, str(IPv4Address(found.get(2, found.get(1, b"\0\0\0\0"))))


def _route(network: IPv4Network, kind: int, scope: int, flags: int) -> bytes:
    head = struct.pack(
        "=BBBBBBBBI",
        *(_INET, network.prefixlen, 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, scope, kind),
        flags,
    )
    return head + attribute(1, network.network_address.packed)


def route(destination: str, index: int, *, via: str = "", source: str = "") -> Message:
    """A route through a link; with `via`, the next hop need not be on a network of the link."""
    scope = 0 if via else 253
    body = _route(IPv4Network(destination), _UNICAST, scope, _ONLINK if via else 0)
    body += attribute(4, _u32(index))
    if via:
        body += attribute(5, _ip(via))
    if source:
        body += attribute(7, _ip(source))
    return Message(_NEWROUTE, _CREATE | _REPLACE, body, f"route {destination}")


def unreachable(destination: str) -> Message:
    """Refuse packets to `destination` where no better route matches."""
    body = _route(IPv4Network(destination), _UNREACHABLE, 0, 0)
    return Message(_NEWROUTE, _CREATE | _REPLACE, body, f"route {destination} to nowhere")


def route_delete(destination: str) -> Message:
    """Remove a route."""
    body = _route(IPv4Network(destination), 0, 255, 0)
    return Message(_DELROUTE, 0, body, f"remove the route {destination}", GONE)


def routes_dump() -> Message:
    """All IPv4 routes."""
    body = struct.pack("=BBBBBBBBI", _INET, 0, 0, 0, 0, 0, 0, 0, 0)
    return Message(_GETROUTE, NLM_DUMP, body, "list routes")


def parse_route(body: bytes) -> tuple[str, int, int, str]:
    """Destination ("0.0.0.0/0" for the default), table, index of the link (0: none), next hop."""
    length, table = body[1], body[4]
    found = dict(attributes(body[12:]))
    destination = IPv4Address(found.get(1, b"\0\0\0\0"))
    index = struct.unpack("=I", found.get(4, b"\0\0\0\0"))[0]
    via = str(IPv4Address(found[5])) if 5 in found else ""
    return f"{destination}/{length}", table, index, via


def _neighbour(family: int, index: int, state: int, flags: int, ip: str, mac: str) -> bytes:
    head = struct.pack("=BxxxiHBB", family, index, state, flags, 0)
    return head + attribute(1, _ip(ip)) + attribute(2, _mac(mac))


def neighbour(index: int, ip: str, mac: str) -> Message:
    """The hardware address of a next hop or container, for good."""
    body = _neighbour(_INET, index, _PERMANENT, 0, ip, mac)
    return Message(_NEWNEIGH, _CREATE | _REPLACE, body, f"neighbour {ip}")


def neighbour_delete(index: int, ip: str) -> Message:
    """Remove a neighbour."""
    body = struct.pack("=BxxxiHBB", _INET, index, 0, 0, 0) + attribute(1, _ip(ip))
    return Message(_DELNEIGH, 0, body, f"remove the neighbour {ip}", GONE)


def forwarding(index: int, mac: str, underlay: str) -> Message:
    """VXLAN frames to `mac` go to the node at `underlay`."""
    head = struct.pack("=BxxxiHBB", _BRIDGE, index, _PERMANENT | _NOARP, _SELF, 0)
    body = head + attribute(2, _mac(mac)) + attribute(1, _ip(underlay))
    return Message(_NEWNEIGH, _CREATE | _REPLACE, body, f"forward {mac} to {underlay}")


def forwarding_delete(index: int, mac: str, underlay: str) -> Message:
    """Remove a forwarding entry."""
    head = struct.pack("=BxxxiHBB", _BRIDGE, index, 0, _SELF, 0)
    body = head + attribute(2, _mac(mac)) + attribute(1, _ip(underlay))
    return Message(_DELNEIGH, 0, body, f"remove the forwarding of {mac}", GONE)


def neighbours_dump(*, bridge: bool) -> Message:
    """All IPv4 neighbours, or all forwarding entries."""
    family = _BRIDGE if bridge else _INET
    body = struct.pack("=BxxxiHBB", family, 0, 0, 0, 0)
    return Message(_GETNEIGH, NLM_DUMP, body, "list neighbours")


def parse_neighbour(body: bytes) -> tuple[int, str, str]:
    """Index of the link, IP address and hardware address, empty where the entry has none."""
    index = struct.unpack_from("=i", body, 4)[0]
    found = dict(attributes(body[12:]))
    ip = found.get(1, b"")
    mac = ":".join(f"{byte:02x}" for byte in found.get(2, b""))
    return index, str(IPv4Address(ip)) if len(ip) == 4 else "", mac


# ---- connection tracking ----


def forget(backend: str) -> Message:
    """Delete every tracked connection whose replies come from `backend`: one request, with the
    filter that the kernel knows since 5.8 (CTA_FILTER)."""

    def nest(kind: int, *inner: bytes) -> bytes:
        return attribute(kind | _NESTED, b"".join(inner))

    body = struct.pack("=BBH", _INET, 0, 0)
    body += nest(2, nest(1, attribute(1, _ip(backend))))  # the reply's source is the backend
    body += nest(25, attribute(1, _u32(0)), attribute(2, _u32(1)))  # compare nothing else
    tolerate = frozenset([errno.ENOENT])
    return Message((1 << 8) | 2, 0, body, f"forget connections to {backend}", tolerate)
