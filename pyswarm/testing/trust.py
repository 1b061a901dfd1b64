"""A swarm's root and the credentials of its nodes, made in memory for tests."""

from __future__ import annotations

import os
import time

from certs import x509
from certs.authority import begin_rotation, finish_rotation, issuer_of, new_authority
from pyswarm.model.ids import ID_BYTES
from pyswarm.model.states import NodeRole
from pyswarm.rpc import Credentials


class Trust:
    """One certificate authority; `node()` makes the credentials of a member."""

    def __init__(self, cluster_id: str = "swarm1", now: float | None = None) -> None:
        self.cluster_id = cluster_id
        self.now = time.time() if now is None else now
        secrets = (os.urandom(ID_BYTES), os.urandom(ID_BYTES))
        self.root = new_authority(x509.new_key(), cluster_id, 1, secrets, self.now)

    def node(
        self,
        node_id: str,
        role: NodeRole = NodeRole.WORKER,
        *,
        serial: int = 0,
        life_seconds: float = 3600.0,
        age_seconds: float = 0.0,
        cluster_id: str = "",
    ) -> Credentials:
        """A node's key and certificate, made `age_seconds` ago; negative for the future."""
        key = x509.new_key()
        issuer = issuer_of(self.root)
        certificate = x509.issue(
            issuer.certificate_pem,
            issuer.key_pem,
            x509.new_request(key),
            node_id=node_id,
            role=role,
            cluster_id=cluster_id or self.cluster_id,
            serial=serial or _serial(),
            now=self.now - age_seconds,
            life_seconds=life_seconds,
        )
        chain = certificate + issuer.intermediate_pem
        return Credentials(chain, key, self.root.trusted_pem)

    def begin_rotation(self) -> None:
        """A new root, cross-signed by the one of now; nodes made from here on are of it."""
        key, old = x509.new_key(), self.root
        new = x509.new_root(key, self.cluster_id, _serial(), self.now)
        crossed = x509.cross_sign(old.certificate_pem, old.key_pem, new, _serial(), self.now)
        self.root = begin_rotation(old, new, key, crossed)

    def finish_rotation(self) -> None:
        """The new root alone."""
        self.root = finish_rotation(self.root, (os.urandom(ID_BYTES), os.urandom(ID_BYTES)))


def _serial() -> int:
    return int.from_bytes(os.urandom(x509.SERIAL_BYTES), "big") | 1
