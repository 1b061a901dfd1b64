"""What a node's file shows, and to whom."""

import pytest

from certs.keyfile import KeyFile, decode, encode
from certs.keyring import KeyRing
from certs.unlock import OPEN, Lock, Locked, WrongUnlockKey
from pyswarm.model.states import NodeRole
from pyswarm.testing.trust import Trust

MANAGER = Trust().node("n1", NodeRole.MANAGER)
KEY, OTHER, SALT = bytes([7]) * 32, bytes([8]) * 32, bytes(16)
RING = KeyRing().rotated(bytes([1]) * 32).rotated(bytes([2]) * 32)


def file(lock=OPEN, ring=RING):
    return KeyFile(
        key_pem=MANAGER.key_pem,
        certificate_pem=MANAGER.certificate_pem,
        root_pem=MANAGER.root_pem,
        ring=ring,
        lock=lock,
    )


@pytest.mark.parametrize("ring", [RING, KeyRing()])
@pytest.mark.parametrize("lock", [Lock(), Lock(b"", 9), Lock(KEY, 0), Lock(KEY, 12)])
def test_a_file_is_read_as_it_was_written(lock, ring):
    assert decode(encode(file(lock, ring), SALT), lock.key) == file(lock, ring)


def test_an_open_file_begins_as_every_tool_expects():
    content = encode(file(), SALT)
    assert content.startswith(MANAGER.key_pem + MANAGER.certificate_pem + MANAGER.root_pem)


def test_a_sealed_file_shows_the_certificates_and_no_key():
    content = encode(file(Lock(KEY, 1)), SALT)
    assert MANAGER.certificate_pem in content
    assert MANAGER.root_pem in content
    for secret in (
        b"PRIVATE",
        b"DATA KEYS",
        MANAGER.key_pem.splitlines()[1],
        b"01" * 32,
        b"02" * 32,
    ):
        assert secret not in content


def test_a_sealed_file_opens_with_its_key_only():
    content = encode(file(Lock(KEY, 1)), SALT)
    with pytest.raises(Locked, match=r"needs to be unlocked.*pyswarm swarm unlock"):
        decode(content)
    with pytest.raises(
        WrongUnlockKey, match=r"invalid key provided; .* opens with the one before$"
    ):
        decode(content, OTHER)


def test_an_open_file_needs_no_key_and_does_not_mind_one():
    assert decode(encode(file(), SALT), KEY) == file()


def test_a_sealed_file_that_was_changed_does_not_open():
    content = encode(file(Lock(KEY, 1)), SALT)
    lines = content.splitlines(keepends=True)
    for number in range(1, 8):
        line = lines[number]
        changed = (b"B" if line[:1] == b"A" else b"A") + line[1:]
        with pytest.raises((WrongUnlockKey, ValueError)):
            decode(b"".join((*lines[:number], changed, *lines[number + 1 :])), KEY)


def test_other_content_is_refused():
    whole = encode(file(Lock(KEY, 1)), SALT)
    for content in (b"", whole[:200], whole + whole, MANAGER.certificate_pem * 2):
        with pytest.raises(ValueError, match=r"."):
            decode(content, KEY)


def test_the_keys_are_not_in_a_log():
    assert "key_pem" not in repr(file(Lock(KEY, 1)))
    assert "PRIVATE" not in repr(file())
