"""The certificate of a manager that has no other manager to ask: a swarm's first, or a restored."""

from __future__ import annotations

import secrets

from certs import x509
from certs.authority import issuer_of
from manager.ca.client import ExternalSigner, certificate_of
from manager.ca.policy import Grant
from manager.ca.rotation import signing_for
from pyswarm.errors import FailedPrecondition
from pyswarm.model import ClusterSpec, NodeRole, RootCA
from pyswarm.rpc import Credentials


async def alone_credentials(
    root: RootCA, spec: ClusterSpec, cluster_id: str, node_id: str, now: float
) -> Credentials:
    """A new key and a manager's certificate of the swarm's root, which external CAs make where they
    have its key.

    They are shown no certificate, since there is none yet. Raises Unavailable and PermissionDenied
    where none of them signs, FailedPrecondition where nobody is known who could.
    """
    issuer, key = issuer_of(root), x509.new_key()
    request = x509.new_request(key)
    if issuer.key_pem:
        certificate = x509.issue(
            issuer.certificate_pem,
            issuer.key_pem,
            request,
            node_id=node_id,
            role=NodeRole.MANAGER,
            cluster_id=cluster_id,
            serial=new_serial(),
            now=now,
            life_seconds=spec.certificate_life_seconds,
        )
    else:
        cas = signing_for(spec.external_cas, issuer.digest)
        if not cas:
            raise FailedPrecondition(
                "neither the swarm nor an external CA that it knows has the key of its root: "
                "nobody can give this machine a certificate"
            )
        signer, grant = ExternalSigner(None), Grant(node_id, NodeRole.MANAGER)
        certificate = await certificate_of(
            signer, cas, issuer.certificate_pem, cluster_id, grant, request
        )
    return Credentials(certificate + issuer.intermediate_pem, key, root.trusted_pem)


def new_serial() -> int:
    """The random number of a certificate."""
    return int.from_bytes(secrets.token_bytes(x509.SERIAL_BYTES), "big") | 1
