"""What a new swarm begins with: its root, its tokens, its first manager."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from certs import x509
from certs.authority import authority, new_authority
from certs.seal import KEY_BYTES
from manager.ca.rotation import checked
from manager.control import view_of
from manager.driver import new_id
from manager.roles.quorum import raft_id_of
from pyswarm.api.v1 import local_pb2
from pyswarm.daemon.credentials import alone_credentials, new_serial
from pyswarm.errors import InvalidArgument, Unavailable
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
    RootCA,
)
from pyswarm.model.cluster import DEFAULT_POOLS, DEFAULT_SUBNET_BITS
from pyswarm.model.ids import ID_BYTES
from pyswarm.rpc import Credentials


async def first_records(
    request: local_pb2.InitRequest, spec: ClusterSpec, hostname: str, address: str
) -> tuple[Cluster, Node, Credentials]:
    """The cluster, its first manager at `address` ("host:port"), and that one's certificate.

    With external CAs the swarm's root is theirs. Raises InvalidArgument where the pools of
    addresses or these CAs cannot be used, Unavailable and PermissionDenied where none of them
    signs.
    """
    view_of.check_pools(request.address_pools, request.subnet_bits or DEFAULT_SUBNET_BITS)
    now, cluster_id, node_id = time.time(), new_id(), new_id()
    spec, root = _root(spec, cluster_id, now)
    try:
        credentials = await alone_credentials(root, spec, cluster_id, node_id, now)
    except Unavailable as error:
        raise Unavailable(
            f"{error.message} (the first manager has no certificate to show: where the CA wants "
            "one, use 'pyswarm swarm init' alone, and then 'pyswarm swarm ca --rotate --ca-cert "
            "FILE --external-ca ...')"
        ) from error
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
        certificate_serial=credentials.identity.serial,
        certificates_end_at=credentials.validity[1],
    )
    return cluster, node, credentials


def _root(spec: ClusterSpec, cluster_id: str, now: float) -> tuple[ClusterSpec, RootCA]:
    tokens = (os.urandom(ID_BYTES), os.urandom(ID_BYTES))
    if not spec.external_cas:
        return spec, new_authority(x509.new_key(), cluster_id, new_serial(), tokens, now)
    if not all(each.certificate_pem for each in spec.external_cas):
        raise InvalidArgument(
            "at init the external-ca option needs a cacert= parameter: the certificate of the root "
            "whose key the external CA has, which becomes the swarm's root"
        )
    cas = checked(spec.external_cas)
    [root_pem, *others] = {each.certificate_pem for each in cas}
    if others:
        raise InvalidArgument("all external CAs of a new swarm must be of one root")
    root = authority(x509.check_root(root_pem, now), b"", tokens)
    return replace(spec, external_cas=cas), root


def availability_of(word: str) -> Availability:
    """What a flag says, or active where it says nothing."""
    return Availability[word.upper()] if word else Availability.ACTIVE
