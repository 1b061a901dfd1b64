"""Names and addresses that follow from ids, so that nothing needs to be looked up or agreed on.

A node's link address is its address inside every router, used by its peers as next hop. It comes
from the node's index: 169.254.64.0/18 holds 16 383 nodes (RFC 3927 link-local, never routed on).
"""

from __future__ import annotations

from hashlib import sha256
from ipaddress import IPv4Address
from typing import Final

from pyswarm.errors import FailedPrecondition

CONTAINER_GATEWAY: Final = "169.254.1.1"
"""The next hop that every container sees; it answers no ARP, its neighbour entry is fixed."""
EGRESS_HOST: Final = "169.254.2.1"
"""The host's end of each link to a router; links are told apart by their device."""
EGRESS_ROUTER: Final = "169.254.2.2"
LINK_NETWORK: Final = "169.254.64.0/18"
NODE_INDEX_MAX: Final = 16383

ROUTER_MAC: Final = "ee:ee:ee:ee:ee:ee"
"""The router's end of every container link: a container's neighbour entry is always the same."""
EGRESS_HOST_MAC: Final = "02:77:00:00:00:01"
EGRESS_ROUTER_MAC: Final = "02:77:00:00:00:02"

VXLAN_DEVICE: Final = "vx0"
EGRESS_DEVICE: Final = "gw0"
HOST_DEVICE_PREFIX: Final = "psw"
"""Every device of ours in the host's namespace begins so; the firewall rules match it."""


def link_address(index: int) -> str:
    """The node's address in routers; raises FailedPrecondition beyond 16383 nodes."""
    if not 0 < index <= NODE_INDEX_MAX:
        raise FailedPrecondition(
            f"the node number {index} is outside 1 to {NODE_INDEX_MAX}: networks cannot span it"
        )
    return str(IPv4Address("169.254.64.0") + index)


def vtep_mac(index: int) -> str:
    """The address of the node's VXLAN devices."""
    return f"02:76:00:00:{index >> 8:02x}:{index & 255:02x}"


def container_mac(address: str) -> str:
    """The address of a container's interface, from its IP address, as Docker does it."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in IPv4Address(address).packed)


def veth_name(task_id: str, network_id: str) -> str:
    """The router's end of a container's link; at most 15 characters (IFNAMSIZ)."""
    return "v" + sha256(f"{task_id} {network_id}".encode()).hexdigest()[:13]


def host_device(network_id: str) -> str:
    """The host's end of the link to a network's router."""
    return HOST_DEVICE_PREFIX + sha256(network_id.encode()).hexdigest()[:11]
