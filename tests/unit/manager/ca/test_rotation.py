"""What may be asked of the root, and when its rotation is over."""

from dataclasses import replace

import pytest

from certs import x509
from manager.ca.rotation import check_rotation, is_over, settle, signing_for
from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model import Cluster, ExternalCA, Node, NodeDescription, NodeState, NodeStatus
from pyswarm.testing.trust import Trust

URL = "https://ca.example/sign"
TRUST = Trust()
CLUSTER = Cluster(id="swarm1", root_ca=TRUST.root)
ROOT = TRUST.root.certificate_pem
KEY = x509.new_key()
OTHER = x509.new_root(KEY, "swarm1", 2, TRUST.now)
AT_OTHER = ExternalCA(url=URL, certificate_pem=OTHER)
HERE = ExternalCA(url=URL, certificate_pem=ROOT)


def node(name, root, state=NodeState.READY):
    description = NodeDescription(certificate_root=root)
    return Node(id=name, description=description, status=NodeStatus(state=state))


def rotating():
    trust = Trust()
    trust.begin_rotation()
    return trust.root


def test_a_rotation_is_over_when_each_node_has_said_so_also_those_that_are_down():
    root = rotating()
    new, old = root.rotation.digest, root.digest
    assert is_over(root, [node("a", new), node("b", new, NodeState.DOWN)])
    assert not is_over(root, [node("a", new), node("b", old, NodeState.DOWN)])
    assert not is_over(root, [node("a", new), node("joins", "")])
    assert not is_over(replace(root, rotation=None), [node("a", new)])


def test_a_key_or_an_external_ca_needs_the_certificate():
    check_rotation(CLUSTER, b"", b"", [])
    check_rotation(CLUSTER, OTHER, KEY, [])
    check_rotation(CLUSTER, OTHER, b"", [AT_OTHER])
    with pytest.raises(InvalidArgument, match="needs its CA certificate"):
        check_rotation(CLUSTER, b"", KEY, [])
    with pytest.raises(InvalidArgument, match="needs the CA's certificate"):
        check_rotation(CLUSTER, b"", b"", [AT_OTHER])
    with pytest.raises(InvalidArgument, match="nobody could sign"):
        check_rotation(CLUSTER, OTHER, b"", [])
    with pytest.raises(InvalidArgument, match="of the root that the swarm rotates to"):
        check_rotation(CLUSTER, OTHER, KEY, [HERE])


def test_the_way_from_one_external_ca_to_another_leads_over_an_own_root():
    external = replace(CLUSTER, root_ca=replace(TRUST.root, key_pem=b""))
    check_rotation(external, b"", b"", [])
    check_rotation(external, ROOT, TRUST.root.key_pem, [])
    with pytest.raises(FailedPrecondition, match="root of its own first"):
        check_rotation(external, OTHER, b"", [AT_OTHER])


def test_settings_take_external_cas_of_the_root_of_now_only():
    spec = replace(CLUSTER.spec, external_cas=(ExternalCA(url=URL),))
    assert settle(CLUSTER, spec).external_cas == (HERE,)
    assert signing_for(settle(CLUSTER, spec).external_cas, TRUST.root.digest) == [HERE]
    with pytest.raises(FailedPrecondition, match="swarm ca --rotate --ca-cert"):
        settle(CLUSTER, replace(CLUSTER.spec, external_cas=(AT_OTHER,)))
    two = ExternalCA(url=URL, certificate_pem=ROOT + ROOT)
    with pytest.raises(InvalidArgument, match="has one certificate"):
        settle(CLUSTER, replace(CLUSTER.spec, external_cas=(two,)))
    with pytest.raises(InvalidArgument, match="at most 16"):
        settle(CLUSTER, replace(CLUSTER.spec, external_cas=(HERE,) * 17))
    external = replace(CLUSTER, root_ca=replace(TRUST.root, key_pem=b""))
    with pytest.raises(FailedPrecondition, match="only an external CA has the key"):
        settle(external, CLUSTER.spec)
