"""IPv4 subnets and addresses: which is the next free one."""

from __future__ import annotations

from collections.abc import Container, Iterable
from ipaddress import IPv4Address, IPv4Network


def next_subnet(
    pools: Iterable[str], subnet_bits: int, used: Iterable[IPv4Network]
) -> IPv4Network | None:
    """The first subnet of `subnet_bits` in the pools that overlaps none of `used`.

    Jumps over each used one, so the cost is that of the used ones and not of the pool.
    """
    spans = sorted((int(n.network_address), int(n.broadcast_address)) for n in used)
    size = 1 << (32 - subnet_bits)
    for text in pools:
        pool = IPv4Network(text)
        start, end = int(pool.network_address), int(pool.broadcast_address)
        for first, last in spans:
            if last < start:
                continue
            if first >= start + size:
                break
            start = (last // size + 1) * size
        if pool.prefixlen <= subnet_bits and start + size - 1 <= end:
            return IPv4Network((start, subnet_bits))
    return None


def overlapping(subnet: IPv4Network, used: Iterable[IPv4Network]) -> IPv4Network | None:
    """The first of `used` that shares an address with `subnet`."""
    return next((other for other in used if other.overlaps(subnet)), None)


def first_host(subnet: IPv4Network) -> IPv4Address:
    """The gateway where nobody asked for another one: .1"""
    return subnet.network_address + 1


def next_address(
    subnet: IPv4Network, gateway: int, taken: Container[int], cursor: int
) -> int | None:
    """The first free host address after `cursor`, once around; `None` where all are taken.

    Going on from the last one keeps an address that was just given back out of use for as long as
    the subnet allows, while some node may still know its last owner.
    """
    low = int(subnet.network_address) + 1
    high = int(subnet.broadcast_address) - 1
    count = high - low + 1
    start = cursor + 1 if low <= cursor < high else low
    for step in range(count):
        address = low + (start - low + step) % count
        if address != gateway and address not in taken:
            return address
    return None


def with_prefix(address: int, subnet: IPv4Network) -> str:
    """ "10.0.1.2/24" """
    return f"{IPv4Address(address)}/{subnet.prefixlen}"
