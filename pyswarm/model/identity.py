"""Who a certificate speaks for, and the names under which its bearer is checked.

CN is the node's id, OU its role, O the cluster's id (as in Docker Swarm). The DNS names repeat id
and role, because a TLS client can check names and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pyswarm.model.states import NodeRole

UNITS: Final[Mapping[NodeRole, str]] = {
    NodeRole.MANAGER: "swarm-manager",
    NodeRole.WORKER: "swarm-worker",
}
"""The OU of each role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a verified certificate says of its bearer; `serial` is lower-case hexadecimal,
    `valid_from` in seconds since the epoch."""

    node_id: str
    role: NodeRole
    cluster_id: str
    serial: str
    valid_from: float = 0.0


def node_name(node_id: str) -> str:
    """The DNS name by which a client insists on one node."""
    return f"{node_id}.node.pyswarm"


def role_name(role: NodeRole) -> str:
    """The DNS name by which a client insists on any node of a role."""
    return f"{role.name.lower()}.role.pyswarm"


def names(node_id: str, role: NodeRole) -> tuple[str, ...]:
    """All DNS names of a certificate; a manager is a worker too, since its agent runs tasks."""
    roles = [NodeRole.WORKER] if role is NodeRole.WORKER else [NodeRole.MANAGER, NodeRole.WORKER]
    return (node_name(node_id), *(role_name(each) for each in roles))
