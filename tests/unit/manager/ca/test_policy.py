"""Who gets a certificate."""

import pytest

from certs import x509
from certs.authority import new_authority
from manager.ca.policy import Grant, decide_join, decide_recovery, decide_renewal
from pyswarm.errors import AlreadyExists, InvalidArgument, PermissionDenied
from pyswarm.model.identity import Identity
from pyswarm.model.node import Node
from pyswarm.model.states import NodeRole

ROOT = new_authority(x509.new_key(), "swarm1", 1, (b"w" * 17, b"m" * 17), 1_800_000_000.0)
OTHER = new_authority(x509.new_key(), "swarm2", 1, (b"w" * 17, b"m" * 17), 1_800_000_000.0)
WORKER = Node(id="n1", role=NodeRole.WORKER, certificate_serial="a1")


def join(token=ROOT.worker_token, hostname="host", known=None, removed=False):
    return decide_join(ROOT, token, "n1", hostname, known, removed)


def identity(serial="a1", cluster_id="swarm1", role=NodeRole.WORKER):
    return Identity(node_id="n1", role=role, cluster_id=cluster_id, serial=serial)


def test_the_token_decides_the_role():
    assert join(ROOT.worker_token) == Grant("n1", NodeRole.WORKER, "host")
    assert join(ROOT.manager_token) == Grant("n1", NodeRole.MANAGER, "host")


def test_a_wrong_secret_is_refused_with_the_way_to_the_right_one():
    wrong = ROOT.worker_token[:-25] + "0" * 25
    with pytest.raises(PermissionDenied, match=r"wrong or was rotated.*join-token"):
        join(wrong)


def test_a_token_of_another_swarm_and_a_broken_one_are_told_apart():
    with pytest.raises(PermissionDenied, match="another swarm"):
        join(OTHER.worker_token)
    with pytest.raises(InvalidArgument):
        join("nonsense")


def test_a_removed_node_does_not_come_back_with_its_key():
    with pytest.raises(PermissionDenied, match="was removed"):
        join(removed=True)


def test_a_node_whose_answer_was_lost_may_ask_again_for_the_same_role_only():
    assert join(known=WORKER).role is NodeRole.WORKER
    with pytest.raises(AlreadyExists, match="joined already as a worker"):
        join(ROOT.manager_token, known=WORKER)


@pytest.mark.parametrize("hostname", ["x" * 254, "a\nb", "\x1b[31m"])
def test_a_host_name_cannot_carry_control_characters_or_a_novel(hostname):
    with pytest.raises(InvalidArgument, match="host name"):
        join(hostname=hostname)


def test_a_renewal_gives_the_role_on_record_and_not_the_one_in_the_certificate():
    old = identity(role=NodeRole.MANAGER)
    assert decide_renewal(old, WORKER, removed=False) == Grant("n1", NodeRole.WORKER)


@pytest.mark.parametrize(("known", "removed"), [(None, False), (WORKER, True), (None, True)])
def test_who_is_no_member_gets_no_renewal(known, removed):
    with pytest.raises(PermissionDenied, match="not a member"):
        decide_renewal(identity(), known, removed)
    with pytest.raises(PermissionDenied, match="not a member"):
        decide_recovery(identity(), known, removed, "swarm1")


def test_an_expired_certificate_counts_if_it_was_the_latest():
    assert decide_recovery(identity(), WORKER, False, "swarm1") == Grant("n1", NodeRole.WORKER)
    with pytest.raises(PermissionDenied, match="a later certificate"):
        decide_recovery(identity(serial="a0"), WORKER, False, "swarm1")
    with pytest.raises(PermissionDenied, match="another swarm"):
        decide_recovery(identity(cluster_id="swarm2"), WORKER, False, "swarm1")
