"""Credentials survive a restart; a wrong mode or a damaged file is refused in words."""

import os
import stat
from pathlib import Path

import pytest

from certs import x509
from certs.disk import CertificateDirectory
from certs.unlock import Lock, Locked, WrongUnlockKey
from pyswarm.errors import DataLoss, FailedPrecondition
from pyswarm.model.states import NodeRole
from pyswarm.rpc import Credentials
from pyswarm.testing.trust import Trust

TRUST = Trust()


@pytest.fixture
def directory(tmp_path):
    return CertificateDirectory(tmp_path / "state" / "certificates")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_node_has_nothing(directory):
    assert directory.load() is None


def test_what_is_stored_is_loaded_and_the_last_one_counts(directory):
    directory.store(TRUST.node("n1"))
    last = TRUST.node("n1")
    directory.store(last)
    loaded = directory.load()
    assert loaded.identity == last.identity
    assert loaded.key_pem.strip() == last.key_pem.strip()
    assert loaded.root_pem.strip() == last.root_pem.strip()


def test_only_the_owner_reads_whatever_the_umask(directory):
    before = os.umask(0)
    try:
        directory.store(TRUST.node("n1"))
        directory.cryptor()
    finally:
        os.umask(before)
    assert mode(directory.path) == 0o700
    assert {path.name: mode(path) for path in directory.path.iterdir()} == {"node.pem": 0o600}


def test_a_file_that_others_may_read_is_refused(directory):
    directory.store(TRUST.node("n1"))
    (directory.path / "node.pem").chmod(0o640)
    with pytest.raises(FailedPrecondition, match=r"mode 0640.*0600"):
        directory.load()


def test_a_symbolic_link_is_refused(directory, tmp_path):
    directory.store(TRUST.node("n1"))
    (directory.path / "node.pem").rename(tmp_path / "elsewhere.pem")
    (directory.path / "node.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(FailedPrecondition, match="cannot read"):
        directory.load()


def test_a_crash_while_writing_leaves_the_old_credentials(directory, monkeypatch):
    old = TRUST.node("n1")
    directory.store(old)

    def crash(descriptor):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(OSError, match="no space"):
            directory.store(TRUST.node("n1"))
    assert directory.load().identity == old.identity
    (directory.path / "node.new").write_bytes(b"half")
    directory.store(old)
    assert directory.load().identity == old.identity


def test_damage_is_named_with_the_way_out(directory):
    one, two = TRUST.node("n1"), TRUST.node("n1")
    directory.store(one)
    path = directory.path / "node.pem"
    whole = path.read_bytes()
    for content in (
        b"",
        whole[: len(whole) // 2],
        whole.replace(b"A", b"B", 1),
        two.key_pem + one.certificate_pem + one.root_pem,
        one.key_pem + one.certificate_pem + Trust().root.certificate_pem,
        b"x" * 70_000,
    ):
        path.write_bytes(content)
        with pytest.raises(DataLoss, match=r"node\.pem"):
            directory.load()


def test_the_data_key_is_made_once_and_outlives_renewals(directory):
    directory.store(TRUST.node("n1", NodeRole.MANAGER))
    sealed = directory.cryptor().encrypt(b"secret", b"")
    later = again(directory)
    later.store(TRUST.node("n1", NodeRole.MANAGER))
    assert again(directory).cryptor().decrypt(sealed, b"") == b"secret"


def test_removal_leaves_no_key_behind(directory):
    directory.remove()
    directory.store(TRUST.node("n1"))
    directory.cryptor()
    directory.remove()
    assert list(directory.path.iterdir()) == []
    assert directory.load() is None


def test_the_key_is_not_in_a_log():
    credentials = TRUST.node("n1")
    assert "PRIVATE" not in repr(credentials)


def test_a_chain_and_several_roots_are_loaded_as_they_were_stored(directory):
    key = x509.new_key()
    new = x509.new_root(key, TRUST.cluster_id, 2, TRUST.now)
    old = TRUST.root
    crossed = x509.cross_sign(old.certificate_pem, old.key_pem, new, 3, TRUST.now)
    node = TRUST.node("n1")
    certificate = x509.issue(
        new,
        key,
        x509.new_request(node.key_pem),
        node_id="n1",
        role=NodeRole.WORKER,
        cluster_id=TRUST.cluster_id,
        serial=4,
        now=TRUST.now,
        life_seconds=3600.0,
    )
    stored = Credentials(certificate + crossed, node.key_pem, old.certificate_pem + new)
    directory.store(stored)
    loaded = directory.load()
    assert x509.split(loaded.certificate_pem) == [certificate, crossed]
    assert x509.split(loaded.root_pem) == [old.certificate_pem, new]


# ---- autolock ----

LOCK, NEXT = Lock(bytes([1]) * 32, 5), Lock(bytes([2]) * 32, 9)


def again(directory):
    """As after a restart of the process."""
    return CertificateDirectory(directory.path)


def unlocked(directory, lock):
    later = again(directory)
    assert later.load(lock.key) is not None
    return later


@pytest.fixture
def manager(directory):
    directory.create(TRUST.node("n1", NodeRole.MANAGER), LOCK)
    directory.cryptor()
    return directory


def test_a_locked_manager_is_opened_by_the_unlock_key_alone(manager):
    with pytest.raises(Locked):
        again(manager).load()
    with pytest.raises(WrongUnlockKey):
        again(manager).load(NEXT.key)
    later = unlocked(manager, LOCK)
    assert later.lock == LOCK
    assert b"PRIVATE" not in (manager.path / "node.pem").read_bytes()


def test_a_renewed_certificate_is_sealed_as_the_old_one(manager):
    manager.store(TRUST.node("n1", NodeRole.MANAGER))
    with pytest.raises(Locked):
        again(manager).load()


def test_another_unlock_key_brings_another_data_key(manager):
    cryptor = manager.cryptor()
    old = cryptor.encrypt(b"old", b"")
    manager.relock(NEXT)
    new = cryptor.encrypt(b"new", b"")
    assert [cryptor.key_of(old), cryptor.key_of(new)] == [1, 2]
    later = unlocked(manager, NEXT)
    assert later.rotating
    assert [later.cryptor().decrypt(r, b"") for r in (old, new)] == [b"old", b"new"]
    later.retire(frozenset([2]))
    assert not later.rotating
    assert later.cryptor().decrypt(new, b"") == b"new"
    with pytest.raises(DataLoss, match="data key 1, which this node lacks"):
        unlocked(manager, NEXT).cryptor().decrypt(old, b"")


def test_the_lock_comes_off_without_a_new_data_key(manager):
    sealed = manager.cryptor().encrypt(b"data", b"")
    manager.relock(Lock(b"", 11))
    later = again(manager)
    assert later.load() is not None
    assert later.lock == Lock(b"", 11)
    assert not later.rotating
    assert later.cryptor().decrypt(sealed, b"") == b"data"


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_crash_while_the_lock_changes_leaves_the_old_key_good(manager, monkeypatch, call):
    old = manager.cryptor().encrypt(b"data", b"")

    def crash(*arguments):
        raise OSError("no power")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if call == "fsync" else (Path, "rename")), crash)
        with pytest.raises(OSError, match="no power"):
            manager.relock(NEXT)
    # Neither does the process that lives on seal with a key that is not on disk.
    assert manager.cryptor().key_of(manager.cryptor().encrypt(b"", b"")) == 1
    assert unlocked(manager, LOCK).cryptor().decrypt(old, b"") == b"data"


def test_a_manager_that_becomes_a_worker_opens_by_itself_and_keeps_no_data_key(manager):
    sealed = manager.cryptor().encrypt(b"data", b"")
    manager.store(TRUST.node("n1", NodeRole.WORKER))
    later = again(manager)
    assert later.load() is not None
    later.store(TRUST.node("n1", NodeRole.MANAGER))
    with pytest.raises(DataLoss):
        later.cryptor().decrypt(sealed, b"")


def test_a_join_begins_anew_whatever_an_earlier_one_left(manager):
    fresh = again(manager)
    fresh.create(TRUST.node("n2", NodeRole.MANAGER))
    assert again(manager).load().identity.node_id == "n2"
