"""Other nodes as a router sees them: one neighbour and one forwarding entry for each node.

Entries belong to nodes, and tasks are plain routes over them. So a task that moves changes one
route, a node that changes its address one forwarding entry, and nothing is learned from packets.
"""

from __future__ import annotations

from dataclasses import dataclass

from overlay.names import NODE_INDEX_MAX, link_address, vtep_mac
from pyswarm.model import EndpointSet, NodeEndpoint


@dataclass(frozen=True, slots=True, order=True)
class Peer:
    """A node: its address in routers, its VXLAN hardware address, its address on the wire."""

    link_address: str
    mac: str
    underlay: str


def _others(endpoints: EndpointSet, node_id: str) -> list[NodeEndpoint]:
    return [
        node
        for node in endpoints.nodes
        if node.node_id != node_id and node.address and 0 < node.index <= NODE_INDEX_MAX
    ]


def peers(endpoints: EndpointSet, node_id: str) -> frozenset[Peer]:
    """The nodes of the network other than `node_id`; none where there is no VXLAN."""
    if not endpoints.vni:
        return frozenset()
    return frozenset(
        Peer(link_address(node.index), vtep_mac(node.index), node.address)
        for node in _others(endpoints, node_id)
    )


def remote_routes(endpoints: EndpointSet, node_id: str) -> dict[str, str]:
    """Task address to the link address of its node, for tasks on other nodes.

    A task whose node is not in the set has no route: it is unreachable, at once and visibly.
    """
    if not endpoints.vni:
        return {}
    hops = {node.node_id: link_address(node.index) for node in _others(endpoints, node_id)}
    return {t.address: hops[t.node_id] for t in endpoints.tasks if t.node_id in hops}
