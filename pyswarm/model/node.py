"""Nodes: the machines of the swarm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyswarm.model.meta import Meta
from pyswarm.model.resources import Platform, Resources
from pyswarm.model.states import Availability, NodeRole, NodeState, Reachability


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What the user wants of a node."""

    labels: Mapping[str, str] = field(default_factory=dict)
    role: NodeRole = NodeRole.WORKER
    availability: Availability = Availability.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDescription:
    """What a node says of itself; `mtu_bytes` is that of the interface that carries VXLAN.

    `certificate_root` is the digest of the root that has issued the node's certificate, and
    `trusted_roots` are the digests of those that it trusts, the newest last.
    """

    hostname: str = ""
    platform: Platform = Platform()
    resources: Resources = Resources()
    engine_version: str = ""
    engine_labels: Mapping[str, str] = field(default_factory=dict)
    runtime: str = ""
    mtu_bytes: int = 0
    certificate_root: str = ""
    trusted_roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What the managers know; `address` is the node's own, without a port.

    A node that is down was last heard at `silent_since`, in seconds since the epoch; one that has
    `left` had removed its containers before it went, and does not come back.
    """

    state: NodeState = NodeState.UNKNOWN
    message: str = ""
    address: str = ""
    silent_since: float = 0.0
    left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerStatus:
    """A manager's membership of the raft group; `address` is "host:port"."""

    raft_id: int = 0
    address: str = ""
    leader: bool = False
    reachability: Reachability = Reachability.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine. `index` is a small number of its own in the swarm, from which the overlay
    derives its addresses; it is taken at first sight and given back on removal. `role` is what the
    node is, `spec.role` what it shall become. The last of its certificates ends at
    `certificates_end_at`; those that it was given as a manager up to `demoted_at` count no more."""

    id: str = ""
    meta: Meta = Meta()
    spec: NodeSpec = NodeSpec()
    role: NodeRole = NodeRole.WORKER
    description: NodeDescription = NodeDescription()
    status: NodeStatus = NodeStatus()
    manager: ManagerStatus | None = None
    index: int = 0
    certificate_serial: str = ""
    certificates_end_at: float = 0.0
    demoted_at: float = 0.0

    @property
    def hostname(self) -> str:
        """The name it gave itself, or its id."""
        return self.description.hostname or self.id
