"""A swarm is founded with a root of its own, or with that of an external CA over real HTTPS."""

import asyncio

import pytest

from certs import x509
from certs.tokens import parse_token
from pyswarm.api.v1 import local_pb2
from pyswarm.daemon.founding import first_records
from pyswarm.errors import InvalidArgument, PermissionDenied, Unavailable
from pyswarm.model import ClusterSpec, ExternalCA, NodeRole
from pyswarm.testing.cfssl import cfssl
from pyswarm.testing.trust import Trust


def found(*cas):
    spec = ClusterSpec(external_cas=cas)
    return asyncio.run(first_records(local_pb2.InitRequest(), spec, "host1", "192.0.2.1:2377"))


def test_without_an_external_ca_the_managers_have_the_root_s_key():
    cluster, node, credentials = found()
    root = cluster.root_ca
    x509.check_pair(root.certificate_pem, root.key_pem)
    x509.check_issued_by(credentials.certificate_pem, root.certificate_pem)
    assert node.certificate_serial == credentials.identity.serial
    assert node.certificates_end_at == credentials.validity[1]


def test_with_an_external_ca_its_root_is_the_swarm_s_and_no_manager_has_the_key():
    theirs = Trust().root
    with cfssl(theirs.certificate_pem, theirs.key_pem) as ca:
        cluster, node, credentials = found(
            ExternalCA(url=ca.url, certificate_pem=theirs.certificate_pem)
        )
    root, identity = cluster.root_ca, credentials.identity
    assert (root.certificate_pem, root.key_pem) == (theirs.certificate_pem, b"")
    assert (root.digest, credentials.root_pem) == (theirs.digest, theirs.certificate_pem)
    assert parse_token(root.worker_token).digest == theirs.digest
    assert [each.url for each in cluster.spec.external_cas] == [ca.url]
    x509.check_issued_by(credentials.certificate_pem, theirs.certificate_pem)
    assert (identity.node_id, identity.role, identity.cluster_id) == (
        node.id,
        NodeRole.MANAGER,
        cluster.id,
    )
    assert (node.certificate_serial, node.certificates_end_at) == (
        identity.serial,
        credentials.validity[1],
    )


def test_external_cas_that_cannot_found_a_swarm_are_refused():
    theirs, others = Trust().root, Trust("another").root
    url = "https://127.0.0.1:1/sign"
    with pytest.raises(InvalidArgument, match="needs a cacert= parameter"):
        found(ExternalCA(url=url))
    with pytest.raises(InvalidArgument, match="must be of one root"):
        found(*(ExternalCA(url=url, certificate_pem=r.certificate_pem) for r in (theirs, others)))
    with pytest.raises(InvalidArgument, match="must be https://"):
        found(ExternalCA(url="http://ca", certificate_pem=theirs.certificate_pem))
    with pytest.raises(Unavailable, match=r"does not answer: .*ca --rotate --ca-cert"):
        found(ExternalCA(url=url, certificate_pem=theirs.certificate_pem))


def test_a_ca_that_wants_a_certificate_or_signs_for_somebody_else_founds_nothing():
    theirs = Trust().root
    pem, key = theirs.certificate_pem, theirs.key_pem
    with (
        cfssl(pem, key, clients_pem=pem) as ca,
        pytest.raises(Unavailable, match=r"no certificate to show.*ca --rotate --ca-cert"),
    ):
        found(ExternalCA(url=ca.url, certificate_pem=pem))
    with cfssl(pem, key) as ca:
        ca.subject = {"O": "another swarm"}
        with pytest.raises(PermissionDenied, match="role and swarm"):
            found(ExternalCA(url=ca.url, certificate_pem=pem))
