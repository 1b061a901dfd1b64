"""Root and tokens belong together."""

import pytest

from certs import x509
from certs.authority import (
    begin_rotation,
    digest_of,
    finish_rotation,
    issuer_of,
    new_authority,
    node_id_of,
    remembered_until,
    role_of_token,
    rotate_token,
)
from certs.tokens import parse_token, root_digest
from pyswarm.errors import InvalidArgument
from pyswarm.model import ClusterSpec, Node
from pyswarm.model.ids import is_id
from pyswarm.model.states import NodeRole


def authority():
    return new_authority(x509.new_key(), "swarm1", 1, (b"w" * 17, b"m" * 17), 1_800_000_000.0)


def test_both_tokens_carry_the_digest_of_the_root_and_differ():
    root = authority()
    assert root.digest == root_digest(x509.to_der(root.certificate_pem))
    assert parse_token(root.worker_token).digest == root.digest
    assert parse_token(root.manager_token).digest == root.digest
    assert root.worker_token != root.manager_token


def test_a_token_gives_its_role():
    root = authority()
    assert role_of_token(root, root.worker_token) is NodeRole.WORKER
    assert role_of_token(root, root.manager_token) is NodeRole.MANAGER
    assert role_of_token(root, root.manager_token[:-1] + "!") is None
    assert role_of_token(root, "") is None


def test_rotation_ends_the_old_token_of_one_role():
    old = authority()
    new = rotate_token(old, NodeRole.WORKER, b"x" * 17)
    assert role_of_token(new, old.worker_token) is None
    assert role_of_token(new, new.worker_token) is NodeRole.WORKER
    assert role_of_token(new, old.manager_token) is NodeRole.MANAGER


def test_keys_are_not_in_a_log():
    root = authority()
    for secret in (root.key_pem.decode(), root.worker_token, root.manager_token):
        assert secret not in repr(root)


def test_the_same_request_makes_the_same_node_and_another_key_another():
    key = x509.new_key()
    one = node_id_of(x509.new_request(key))
    assert is_id(one)
    assert node_id_of(x509.new_request(key)) == one
    assert node_id_of(x509.new_request(x509.new_key())) != one


def new_root(serial):
    key = x509.new_key()
    return x509.new_root(key, "swarm1", serial, 1_800_000_000.0), key


def test_while_the_root_is_rotated_both_are_trusted_and_the_new_one_signs():
    old = authority()
    certificate, key = new_root(2)
    during = begin_rotation(old, certificate, key, b"crossed")
    assert x509.split(during.trusted_pem) == [old.certificate_pem, certificate]
    issuer = issuer_of(during)
    assert (issuer.certificate_pem, issuer.intermediate_pem) == (certificate, b"crossed")
    assert during.worker_token == old.worker_token
    assert key.decode() not in repr(during)
    assert key.decode() not in repr(issuer)


def test_the_end_leaves_the_new_root_alone_with_tokens_of_its_digest():
    old = authority()
    certificate, key = new_root(2)
    root = finish_rotation(begin_rotation(old, certificate, key, b"x"), (b"a" * 17, b"b" * 17))
    assert root.trusted_pem == certificate
    assert root.digest == digest_of(certificate) != old.digest
    assert parse_token(root.worker_token).digest == root.digest
    assert role_of_token(root, old.worker_token) is None
    assert role_of_token(root, old.manager_token) is None
    assert issuer_of(root).intermediate_pem == b""
    with pytest.raises(InvalidArgument, match="not being rotated"):
        finish_rotation(root, (b"a" * 17, b"b" * 17))


def test_a_second_rotation_starts_from_the_old_root_and_the_way_back_ends_it():
    old = authority()
    first, second = new_root(2), new_root(3)
    during = begin_rotation(begin_rotation(old, *first, b"one"), *second, b"two")
    assert x509.split(during.trusted_pem) == [old.certificate_pem, second[0]]
    assert issuer_of(during).intermediate_pem == b"two"
    assert begin_rotation(during, old.certificate_pem, old.key_pem, b"") == old


def test_a_removed_node_is_refused_by_name_longer_than_any_of_its_certificates_lives():
    hour, week = 3600.0, 7 * 24 * 3600.0
    short = ClusterSpec(certificate_life_seconds=hour)
    assert remembered_until(Node(), short, now=100.0) == 100.0 + hour + week
    older = Node(certificates_end_at=90 * 24 * hour)
    assert remembered_until(older, short, now=100.0) == 90 * 24 * hour + week
