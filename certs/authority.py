"""The certificate authority as one record: root, key, and the two tokens that belong to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from certs import x509
from certs.tokens import new_token, root_digest, same_token
from pyswarm.errors import InvalidArgument
from pyswarm.model.cluster import ClusterSpec, RootCA, RootRotation
from pyswarm.model.ids import encode_id
from pyswarm.model.node import Node
from pyswarm.model.states import NodeRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Who signs now. `key_pem` is empty where an external CA has it; `intermediate_pem` goes along
    with each certificate, for those who do not know this root yet."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    digest: str
    intermediate_pem: bytes


def new_authority(
    key_pem: bytes, cluster_id: str, serial: int, secrets: tuple[bytes, bytes], now: float
) -> RootCA:
    """A new root (self-signed by `key_pem`) and tokens from the random bytes for worker, manager.

    `ids.ID_BYTES` random bytes for each token, `x509.SERIAL_BYTES` for the serial number.
    """
    return authority(x509.new_root(key_pem, cluster_id, serial, now), key_pem, secrets)


def authority(certificate_pem: bytes, key_pem: bytes, secrets: tuple[bytes, bytes]) -> RootCA:
    """A root with tokens of its digest from the random bytes for worker, manager; the key is empty
    where an external CA has it."""
    digest = digest_of(certificate_pem)
    worker, manager = (new_token(digest, secret) for secret in secrets)
    return RootCA(
        certificate_pem=certificate_pem,
        key_pem=key_pem,
        digest=digest,
        worker_token=worker,
        manager_token=manager,
    )


def digest_of(root_pem: bytes) -> str:
    """The digest of one root certificate in PEM."""
    return root_digest(x509.to_der(root_pem))


def issuer_of(root: RootCA) -> Issuer:
    """The root that signs: while it is rotated, the new one."""
    new = root.rotation
    if new is None:
        return Issuer(
            certificate_pem=root.certificate_pem,
            key_pem=root.key_pem,
            digest=root.digest,
            intermediate_pem=b"",
        )
    return Issuer(
        certificate_pem=new.certificate_pem,
        key_pem=new.key_pem,
        digest=new.digest,
        intermediate_pem=new.cross_signed_pem,
    )


def begin_rotation(
    root: RootCA, certificate_pem: bytes, key_pem: bytes, cross_signed_pem: bytes
) -> RootCA:
    """`root` on its way to a new one. A rotation that is under way is superseded: the old root
    stays the one that everybody trusts. Back to the root of now, where that is the new one."""
    digest = digest_of(certificate_pem)
    if digest == root.digest:
        return replace(root, key_pem=key_pem or root.key_pem, rotation=None)
    rotation = RootRotation(
        certificate_pem=certificate_pem,
        key_pem=key_pem,
        digest=digest,
        cross_signed_pem=cross_signed_pem,
    )
    return replace(root, rotation=rotation)


def finish_rotation(root: RootCA, secrets: tuple[bytes, bytes]) -> RootCA:
    """The new root alone, with tokens of its digest from random bytes for worker, manager."""
    new = root.rotation
    if new is None:
        raise InvalidArgument("the root is not being rotated")
    return authority(new.certificate_pem, new.key_pem, secrets)


def rotate_token(root: RootCA, role: NodeRole, random_bytes: bytes) -> RootCA:
    """`root` with a new token for `role`; nodes that have joined are not concerned."""
    token = new_token(root.digest, random_bytes)
    if role is NodeRole.MANAGER:
        return replace(root, manager_token=token)
    return replace(root, worker_token=token)


def role_of_token(root: RootCA, token: str) -> NodeRole | None:
    """The role that a token gives, or None. Always compares both, in constant time."""
    worker = same_token(token, root.worker_token)
    manager = same_token(token, root.manager_token)
    if manager:
        return NodeRole.MANAGER
    return NodeRole.WORKER if worker else None


def node_id_of(request_pem: bytes) -> str:
    """The id for whoever sends this request: a digest of its key.

    A joiner whose answer was lost sends the same request again and becomes the same node, so no
    ghost stays in the list of nodes. The key is random, so the id is as random as any.
    """
    return encode_id(sha256(x509.request_key(request_pem)).digest())


REMOVED_SLACK_SECONDS: Final = 7 * 24 * 3600.0
"""How much longer than its certificates a removed node is refused by name, for clocks that are
behind; as in Docker Swarm."""


def remembered_until(node: Node, spec: ClusterSpec, now: float) -> float:
    """Until when a node that is removed now must be refused by name: certificates that were made
    under other settings may end later than one that would be made today."""
    last = max(node.certificates_end_at, now + spec.certificate_life_seconds)
    return last + REMOVED_SLACK_SECONDS
