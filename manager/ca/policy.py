"""Who gets which certificate: three ways in, each decided from what the managers have on record.

Each function answers a `Grant` or raises the sentence for whoever asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from certs.authority import role_of_token
from certs.tokens import parse_token
from pyswarm.errors import AlreadyExists, InvalidArgument, PermissionDenied
from pyswarm.model.cluster import RootCA
from pyswarm.model.identity import Identity
from pyswarm.model.node import Node
from pyswarm.model.states import Availability, NodeRole

HOSTNAME_LENGTH_MOST: Final = 253


@dataclass(frozen=True, slots=True)
class Grant:
    """The certificate to issue; `hostname` is empty where the node is known already."""

    node_id: str
    role: NodeRole
    hostname: str = ""
    availability: Availability = Availability.ACTIVE


def decide_join(
    root: RootCA, token: str, node_id: str, hostname: str, known: Node | None, removed: bool
) -> Grant:
    """A machine shows a join token. `known` is the node that has its id already, if any.

    A known node is one whose answer was lost on the way: it may ask again, for the same role.
    """
    if parse_token(token).digest != root.digest:
        raise PermissionDenied("the join token belongs to another swarm")
    role = role_of_token(root, token)
    if role is None:
        raise PermissionDenied(
            "the join token is wrong or was rotated: `pyswarm swarm join-token` on a manager "
            "shows the current one"
        )
    if removed:
        raise PermissionDenied(f"node {node_id} was removed from the swarm: join with a new key")
    if known is not None and known.role is not role:
        raise AlreadyExists(
            f"node {node_id} has joined already as a {known.role.name.lower()}: "
            "use the promote and demote commands to change its role"
        )
    if len(hostname) > HOSTNAME_LENGTH_MOST or not hostname.isprintable():
        raise InvalidArgument(
            f"a host name is printable and has at most {HOSTNAME_LENGTH_MOST} characters"
        )
    return Grant(node_id, role, hostname)


def decide_renewal(identity: Identity, known: Node | None, removed: bool) -> Grant:
    """A member asks over mutual TLS: the same id, and the role that its record says now."""
    if removed or known is None:
        raise PermissionDenied(
            f"node {identity.node_id} is not a member of this swarm any more: join it again"
        )
    return Grant(known.id, known.role)


def decide_recovery(
    identity: Identity, known: Node | None, removed: bool, cluster_id: str
) -> Grant:
    """A member whose certificate has expired; the root has signed it and its key has signed the
    request. Only the latest certificate counts: an older one may be a leaked copy."""
    if identity.cluster_id != cluster_id:
        raise PermissionDenied("the expired certificate belongs to another swarm")
    grant = decide_renewal(identity, known, removed)
    assert known is not None, "decide_renewal refuses a node without a record"
    if known.certificate_serial != identity.serial:
        raise PermissionDenied(
            f"node {identity.node_id} was given a later certificate than this expired one: "
            "join the swarm again"
        )
    return grant
