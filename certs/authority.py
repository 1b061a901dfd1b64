"""The certificate authority as one record: root, key, and the two tokens that belong to it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from certs import x509
from certs.tokens import new_token, root_digest, same_token
from pyswarm.model.cluster import RootCA
from pyswarm.model.ids import encode_id
from pyswarm.model.states import NodeRole


def new_authority(
    key_pem: bytes, cluster_id: str, serial: int, secrets: tuple[bytes, bytes], now: float
) -> RootCA:
    """A new root (self-signed by `key_pem`) and tokens from the random bytes for worker, manager.

    `ids.ID_BYTES` random bytes for each token, `x509.SERIAL_BYTES` for the serial number.
    """
    certificate = x509.new_root(key_pem, cluster_id, serial, now)
    digest = root_digest(x509.to_der(certificate))
    worker, manager = (new_token(digest, secret) for secret in secrets)
    return RootCA(
        certificate_pem=certificate,
        key_pem=key_pem,
        digest=digest,
        worker_token=worker,
        manager_token=manager,
    )


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
