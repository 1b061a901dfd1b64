"""A manager with no other manager to ask gets its certificate from whoever has the root's key."""

import asyncio
import time
from dataclasses import replace

import pytest

from certs import x509
from pyswarm.daemon.credentials import alone_credentials
from pyswarm.errors import FailedPrecondition, Unavailable
from pyswarm.model import ClusterSpec, ExternalCA, NodeRole
from pyswarm.testing.cfssl import cfssl
from pyswarm.testing.trust import Trust

NODE, SWARM = "n" * 25, "c" * 25


def asked(root, *cas):
    spec = ClusterSpec(external_cas=cas)
    return asyncio.run(alone_credentials(root, spec, SWARM, NODE, time.time()))


def check(credentials, root):
    x509.check_issued_by(credentials.certificate_pem, root.certificate_pem)
    identity = credentials.identity
    assert (identity.node_id, identity.cluster_id) == (NODE, SWARM)
    assert identity.role == NodeRole.MANAGER
    assert credentials.root_pem == root.certificate_pem


def test_the_swarm_s_own_root_signs_where_its_key_is_there():
    root = Trust().root
    check(asked(root), root)


def test_the_external_ca_of_the_root_signs_where_only_it_has_the_key():
    whole, others = Trust().root, Trust("another").root
    root = replace(whole, key_pem=b"")
    elsewhere = ExternalCA(url="https://127.0.0.1:1/", certificate_pem=others.certificate_pem)
    with cfssl(whole.certificate_pem, whole.key_pem) as ca:
        there = ExternalCA(url=ca.url, certificate_pem=whole.certificate_pem)
        check(asked(root, elsewhere, there), whole)
    with pytest.raises(FailedPrecondition, match="nobody can give this machine a certificate"):
        asked(root, elsewhere)
    with pytest.raises(Unavailable, match="does not answer"):
        asked(root, there)
