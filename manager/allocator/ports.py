"""Published ingress ports: the asked-for ones are checked, the others chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pyswarm.model import PortConfig, Protocol, PublishMode

DYNAMIC: Final = range(30000, 32768)

Owners = Mapping[tuple[Protocol, int], str]


def is_ingress(port: PortConfig) -> bool:
    """Whether every host listens for the port."""
    return port.publish_mode == PublishMode.INGRESS


def assign(
    wanted: tuple[PortConfig, ...],
    given: tuple[PortConfig, ...],
    owners: Owners,
    service_id: str,
) -> tuple[PortConfig, ...] | str:
    """The ports of a service, each with its number, or what stands in the way, in words.

    A port that had been chosen for the service before keeps its number. Ports in host mode are
    the scheduler's to compare.
    """
    reserved = {(p.protocol, p.published_port) for p in wanted if is_ingress(p)}
    for protocol, number in sorted(reserved):
        owner = owners.get((protocol, number))
        if number and owner is not None and owner != service_id:
            return f"port {number}/{protocol.name.lower()} is in use by service {owner}"
    earlier = {replace(p, published_port=0): p.published_port for p in given if is_ingress(p)}
    assigned = []
    for port in wanted:
        if is_ingress(port) and not port.published_port:
            number = earlier.get(port, 0)
            if not number or (port.protocol, number) in reserved:
                number = _free(port.protocol, owners, reserved)
            if not number:
                return f"no port from {DYNAMIC[0]} to {DYNAMIC[-1]} is free"
            reserved.add((port.protocol, number))
            port = replace(port, published_port=number)
        assigned.append(port)
    return tuple(assigned)


def _free(protocol: Protocol, owners: Owners, reserved: set[tuple[Protocol, int]]) -> int:
    for number in DYNAMIC:
        if (protocol, number) not in owners and (protocol, number) not in reserved:
            return number
    return 0
