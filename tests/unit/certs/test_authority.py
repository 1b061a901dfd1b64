"""Root and tokens belong together."""

from certs import x509
from certs.authority import new_authority, node_id_of, role_of_token, rotate_token
from certs.tokens import parse_token, root_digest
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
