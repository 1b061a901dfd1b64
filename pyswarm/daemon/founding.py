"""What a new swarm begins with: its root, its tokens, its first manager."""

from __future__ import annotations

import os
import secrets
import time

from certs import x509
from certs.authority import new_authority
from certs.seal import KEY_BYTES
from manager.control import view_of
from manager.driver import new_id
from manager.roles.quorum import raft_id_of
from pyswarm.api.v1 import local_pb2
from pyswarm.model import (
    Availability,
    Cluster,
    ClusterSpec,
    ManagerStatus,
    Node,
    NodeDescription,
    NodeRole,
    NodeSpec,
    NodeState,
    NodeStatus,
)
from pyswarm.model.cluster import DEFAULT_POOLS, DEFAULT_SUBNET_BITS
from pyswarm.model.ids import ID_BYTES
from pyswarm.rpc import Credentials


def first_records(
    request: local_pb2.InitRequest, spec: ClusterSpec, hostname: str, address: str
) -> tuple[Cluster, Node, Credentials]:
    """The cluster, its first manager at `address` ("host:port"), and that one's certificate.

    Raises InvalidArgument where the pools of addresses cannot be used.
    """
    now, cluster_id, node_id = time.time(), new_id(), new_id()
    tokens = (os.urandom(ID_BYTES), os.urandom(ID_BYTES))
    serial = int.from_bytes(secrets.token_bytes(x509.SERIAL_BYTES), "big") | 1
    root = new_authority(x509.new_key(), cluster_id, serial, tokens, now)
    key, own_serial = x509.new_key(), serial + 1
    certificate = x509.issue(
        root.certificate_pem,
        root.key_pem,
        x509.new_request(key),
        node_id=node_id,
        role=NodeRole.MANAGER,
        cluster_id=cluster_id,
        serial=own_serial,
        now=now,
        life_seconds=spec.certificate_life_seconds,
    )
    view_of.check_pools(request.address_pools, request.subnet_bits or DEFAULT_SUBNET_BITS)
    cluster = Cluster(
        id=cluster_id,
        spec=spec,
        root_ca=root,
        unlock_key=os.urandom(KEY_BYTES) if spec.autolock else b"",
        address_pools=tuple(request.address_pools) or DEFAULT_POOLS,
        subnet_bits=request.subnet_bits or DEFAULT_SUBNET_BITS,
        vxlan_port=request.vxlan_port or Cluster().vxlan_port,
    )
    node = Node(
        id=node_id,
        spec=NodeSpec(role=NodeRole.MANAGER, availability=availability_of(request.availability)),
        role=NodeRole.MANAGER,
        description=NodeDescription(hostname=hostname),
        status=NodeStatus(state=NodeState.UNKNOWN, address=address.rpartition(":")[0]),
        manager=ManagerStatus(raft_id=raft_id_of(node_id), address=address),
        certificate_serial=f"{own_serial:x}",
        certificates_end_at=now + spec.certificate_life_seconds,
    )
    return cluster, node, Credentials(certificate, key, root.certificate_pem)


def availability_of(word: str) -> Availability:
    """What a flag says, or active where it says nothing."""
    return Availability[word.upper()] if word else Availability.ACTIVE
