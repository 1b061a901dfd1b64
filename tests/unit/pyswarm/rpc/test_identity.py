"""The caller is who the certificate says, over TLS 1.3."""

import pytest

from pyswarm.errors import Unauthenticated
from pyswarm.model.states import NodeRole
from pyswarm.rpc import caller, caller_or_none, peer_identity, read_identity


def test_a_certificate_is_read(trust):
    identity = read_identity(trust.node("n1", NodeRole.MANAGER, serial=0xAB12).certificate_pem)
    assert (identity.node_id, identity.role) == ("n1", NodeRole.MANAGER)
    assert (identity.cluster_id, identity.serial) == ("swarm1", "ab12")


def test_a_root_or_garbage_is_no_node(trust):
    for pem in (trust.root.certificate_pem, b"", b"-----BEGIN CERTIFICATE-----\n"):
        with pytest.raises(Unauthenticated, match="not one of a swarm node"):
            read_identity(pem)


@pytest.mark.parametrize("version", [[b"TLSv1.2"], [], None])
def test_only_tls_1_3_identifies(trust, version):
    context = {"x509_pem_cert": [trust.node("n1").certificate_pem]}
    if version is not None:
        context["ssl_tls_version"] = version
    with pytest.raises(Unauthenticated, match=r"TLSv1\.3 only"):
        peer_identity(context)


def test_a_connection_without_a_certificate_identifies_nobody():
    with pytest.raises(Unauthenticated, match="none was shown"):
        peer_identity({"ssl_tls_version": [b"TLSv1.3"]})


def test_outside_of_a_call_there_is_no_caller():
    assert caller_or_none() is None
    with pytest.raises(Unauthenticated):
        caller()
