"""This machine: its processors, memory, addresses; what a node says of itself."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import platform
import socket
from collections.abc import Iterable
from functools import lru_cache

from pyroute2 import IPRoute

from certs import x509
from certs.authority import digest_of
from pyswarm import __version__
from pyswarm.errors import FailedPrecondition, InvalidArgument, SwarmError
from pyswarm.model import GenericResource, NodeDescription, Platform, Resources
from pyswarm.rpc import Credentials

log = logging.getLogger(__name__)

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def architecture() -> str:
    """The machine's architecture in Go's words."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def describe(
    hostname: str,
    runtime: str,
    labels: Iterable[str],
    mtu_bytes: int,
    credentials: Credentials | None,
    generic: tuple[GenericResource, ...] = (),
) -> NodeDescription:
    """The description that the node sends to the managers."""
    issuer, roots = "", tuple[str, ...]()
    if credentials is not None:
        issuer, roots = _digests(credentials.certificate_pem, credentials.root_pem)
    pairs = (label.partition("=") for label in labels)
    return NodeDescription(
        hostname=hostname,
        platform=Platform(os="linux", architecture=architecture()),
        resources=Resources(
            nano_cpus=(os.cpu_count() or 1) * 1_000_000_000,
            memory_bytes=memory_bytes(),
            generic=generic,
        ),
        engine_version=__version__,
        engine_labels={key: value for key, _, value in pairs},
        runtime=runtime,
        mtu_bytes=mtu_bytes,
        certificate_root=issuer,
        trusted_roots=roots,
    )


@lru_cache(maxsize=2)
def _digests(certificate_pem: bytes, root_pem: bytes) -> tuple[str, tuple[str, ...]]:
    """Of the root that has issued the certificate, and of all roots: each task asks for them."""
    issuer = x509.issuing_root(certificate_pem, root_pem)
    roots = tuple(digest_of(each) for each in x509.split(root_pem))
    return digest_of(issuer) if issuer else "", roots


def _addresses(links: IPRoute) -> dict[int, str]:
    """The first global IPv4 address of each link that is up and not the loopback."""
    up = {
        link["index"]
        for link in links.get_links()
        if link["flags"] & 1 and link.get_attr("IFLA_IFNAME") != "lo"
    }
    found: dict[int, str] = {}
    for address in links.get_addr(family=socket.AF_INET):
        text = address.get_attr("IFA_ADDRESS")
        if address["index"] in up and not ipaddress.ip_address(text).is_link_local:
            found.setdefault(address["index"], text)
    return found


def own_addresses() -> frozenset[str]:
    """The IPv4 addresses of links that are up."""
    with IPRoute() as links:
        up = {link["index"] for link in links.get_links() if link["flags"] & 1}
        return frozenset(
            address.get_attr("IFA_ADDRESS")
            for address in links.get_addr(family=socket.AF_INET)
            if address["index"] in up
        )


def has_address(host: str) -> bool:
    """Whether a socket of this machine can have this IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def interface_of(wanted: str) -> str:
    """`wanted` where it names an interface, and not an address or nothing."""
    try:
        ipaddress.IPv4Address(wanted.partition(":")[0])
    except ValueError:
        return wanted
    return ""


def own_address(wanted: str) -> str:
    """The address to be reached at: `wanted` (an address, or the name of an interface), else that
    of the default route, else the only one.

    Raises FailedPrecondition where there is no single choice.
    """
    with IPRoute() as links:
        if wanted:
            return _wanted(links, wanted)
        addresses = _addresses(links)
        for route in links.get_default_routes(family=socket.AF_INET):
            address = addresses.get(route.get_attr("RTA_OIF"))
            if address:
                return address
    if len(set(addresses.values())) == 1:
        return next(iter(addresses.values()))
    if not addresses:
        raise FailedPrecondition(
            "could not find the system's IP address - specify one with --advertise-addr"
        )
    raise FailedPrecondition(
        "could not choose an IP address to advertise since this system has multiple addresses "
        f"({', '.join(sorted(set(addresses.values())))}) - specify one with --advertise-addr"
    )


async def readvertised(address: str, wanted: str) -> str:
    """Where a node that was at "host:port" is reached today; `wanted` as for `own_address`, with a
    port or without. Without a wish it stays where it was for as long as the machine has that
    address; it stays too, with a warning, where there is no answer."""
    host, port = split_address(address, 0)
    try:
        if not wanted and host in await asyncio.to_thread(own_addresses):
            return address
        wanted, port = split_address(wanted, port)
        # pyroute2's plain calls run a loop of their own, which this thread has already.
        return f"{await asyncio.to_thread(own_address, wanted)}:{port}"
    except SwarmError as error:
        log.warning("this node stays at %s: %s", address, error.message)
        return address


def _wanted(links: IPRoute, wanted: str) -> str:
    try:
        return str(ipaddress.IPv4Address(wanted))
    except ValueError:
        pass
    found = links.link_lookup(ifname=wanted)
    address = _addresses(links).get(found[0]) if found else None
    if address is None:
        raise InvalidArgument(
            f"advertise address {wanted} is neither an IPv4 address nor an interface with one"
        )
    return address


def split_address(text: str, default_port: int) -> tuple[str, int]:
    """ "host:port" or "host" as both; raises InvalidArgument."""
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, default_port
    if not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise InvalidArgument(f"address '{text}' is not of the form HOST[:PORT]")
    return host, int(port)


def interface_mtu_bytes(address: str) -> int:
    """The MTU of the interface that has `address`; 1500 where none has it."""
    with IPRoute() as links:
        for entry in links.get_addr(family=socket.AF_INET, address=address):
            [link] = links.get_links(entry["index"])
            return int(link.get_attr("IFLA_MTU"))
    return 1500


def operating_system() -> str:
    """The distribution's own name for itself."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
