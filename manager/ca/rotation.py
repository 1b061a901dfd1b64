"""The rotation of the root, from the records: when it is over, and what an operator may ask for.

    begin:   a new root, and its cross-signed certificate, beside the old one in the record
    during:  everybody trusts old and new; certificates are of the new one, and carry the
             cross-signed one for nodes that have not heard of it
    over:    each node has said that its certificate is the new root's; the old one is dropped,
             and the join tokens, which name the root, are new

Nothing is remembered outside the record, so a new leader goes on, and a second rotation is a first
one from the same old root.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from certs import x509
from certs.authority import digest_of
from manager.ca.cfssl import EXTERNAL_CAS_MOST, check_external_ca
from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model import Cluster, ClusterSpec, ExternalCA, Node, RootCA


def unrotated(nodes: Iterable[Node], digest: str) -> list[Node]:
    """The nodes whose certificate is not known to be of the root with this digest."""
    return [node for node in nodes if node.description.certificate_root != digest]


def is_over(root: RootCA, nodes: Iterable[Node]) -> bool:
    """Whether each node, down or not, has a certificate of the new root."""
    return root.rotation is not None and not unrotated(nodes, root.rotation.digest)


def signing_for(cas: Iterable[ExternalCA], digest: str) -> list[ExternalCA]:
    """The external CAs that sign with the key of the root with this digest."""
    return [each for each in cas if digest_of(each.certificate_pem) == digest]


def check_rotation(
    cluster: Cluster, certificate_pem: bytes, key_pem: bytes, cas: Sequence[ExternalCA]
) -> None:
    """Refuse what cannot be done: a key without its certificate, a certificate that nobody could
    sign with, or that none of the external CAs is of, and a way between two external CAs."""
    if not certificate_pem:
        if key_pem:
            raise InvalidArgument("a CA key needs its CA certificate: give both")
        if cas:
            raise InvalidArgument("a rotation to an external CA needs the CA's certificate")
        return
    digest = digest_of(certificate_pem)
    if len(signing_for(cas, digest)) != len(cas):
        raise InvalidArgument("an external CA must be of the root that the swarm rotates to")
    if not key_pem and not cas:
        raise InvalidArgument("nobody could sign: give the CA's key, or an external CA that has it")
    root = cluster.root_ca
    if digest != root.digest and not key_pem and not root.key_pem:
        raise FailedPrecondition(
            "the swarm cannot go from one external CA to another: rotate to a root of its own first"
        )


def settle(cluster: Cluster, spec: ClusterSpec) -> ClusterSpec:
    """New settings, whose external CAs must be of a root of the swarm; without a certificate they
    are of the one of now."""
    root = cluster.root_ca
    given = (
        each if each.certificate_pem else replace(each, certificate_pem=root.certificate_pem)
        for each in spec.external_cas
    )
    cas = checked(given)
    known = {root.digest, root.rotation.digest if root.rotation else root.digest}
    if any(digest_of(each.certificate_pem) not in known for each in cas):
        raise FailedPrecondition(
            "the external CA's certificate is not the swarm's root: rotate to it with "
            "'pyswarm swarm ca --rotate --ca-cert FILE --external-ca ...'"
        )
    if not root.key_pem and not signing_for(cas, root.digest):
        raise FailedPrecondition(
            "only an external CA has the key of the swarm's root: rotate to another root first"
        )
    return replace(spec, external_cas=cas)


def checked(cas: Iterable[ExternalCA]) -> tuple[ExternalCA, ...]:
    """External CAs with a URL that can be asked and one readable certificate each."""
    found = []
    for external in cas:
        check_external_ca(external)
        certificates = x509.split(external.certificate_pem)
        if len(certificates) != 1:
            raise InvalidArgument("an external CA has one certificate, that of its root")
        found.append(replace(external, certificate_pem=certificates[0]))
    if len(found) > EXTERNAL_CAS_MOST:
        raise InvalidArgument(f"at most {EXTERNAL_CAS_MOST} external CAs can be named")
    return tuple(found)
