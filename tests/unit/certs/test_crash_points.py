"""A node's key and certificate, and its data key, at every crash point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from certs import x509
from certs.disk import CertificateDirectory
from certs.unlock import Lock, WrongUnlockKey
from pyswarm.crashpoints import POINTS
from pyswarm.model import NodeRole
from pyswarm.rpc import Credentials
from pyswarm.testing.power_cut import PowerCut, Wreck


@pytest.fixture(scope="module")
def certificates() -> list[Credentials]:
    """Two of one node: the one that it has, and the one that it gets."""
    root_key = x509.new_key()
    root = x509.new_root(root_key, "c" * 25, 1, 1e9)
    found = []
    for serial in (2, 3):
        key = x509.new_key()
        certificate = x509.issue(
            root,
            root_key,
            x509.new_request(key),
            node_id="n" * 25,
            role=NodeRole.MANAGER,
            cluster_id="c" * 25,
            serial=serial,
            now=1e9,
            life_seconds=1e6,
        )
        found.append(Credentials(certificate, key, root))
    return found


Work = Callable[[CertificateDirectory], object]


def wrecks_of(path: Path, work: Work) -> list[tuple[str, Wreck]]:
    found = []
    cut = PowerCut(path)
    with cut.watching(lambda point: found.extend((point, wreck) for wreck in cut.wrecks())):
        work(CertificateDirectory(path))
    found.extend(("the end", wreck) for wreck in cut.wrecks())
    return found


def opened(path: Path, wreck: Wreck) -> CertificateDirectory:
    wreck.lay_out(path)
    return CertificateDirectory(path)


def test_a_renewal_leaves_the_old_or_the_new_pair(tmp_path: Path, certificates) -> None:
    old, new = certificates
    CertificateDirectory(tmp_path / "a").store(old)
    wrecks = wrecks_of(tmp_path / "a", lambda directory: directory.store(new))
    for point, wreck in wrecks:
        kept = opened(tmp_path / "b", wreck)
        assert kept.load() in ((new,) if point in ("identity.stored", "the end") else (old, new))
        kept.store(new)
        assert kept.load() == new, f"a draft of {point} is in the way"
    assert {point for point, _ in wrecks} >= {
        name for name in POINTS if name.startswith("identity.") and "removed" not in name
    }


def test_the_first_certificate_is_there_or_not(tmp_path: Path, certificates) -> None:
    for point, wreck in wrecks_of(tmp_path / "a", lambda d: d.store(certificates[0])):
        kept = opened(tmp_path / "b", wreck).load()
        assert kept == certificates[0] or (kept is None and point != "identity.stored"), point


def test_a_data_key_that_sealed_anything_is_never_lost(tmp_path: Path, certificates) -> None:
    CertificateDirectory(tmp_path / "a").store(certificates[0])
    sealed = b""

    def work(directory: CertificateDirectory) -> None:
        nonlocal sealed
        sealed = directory.cryptor().encrypt(b"a record")

    for point, wreck in wrecks_of(tmp_path / "a", work):
        kept = opened(tmp_path / "b", wreck).cryptor()
        if point in ("identity.stored", "the end"):
            assert kept.decrypt(sealed) == b"a record"


def test_one_unlock_key_opens_everything_wherever_a_rotation_is_cut_short(
    tmp_path: Path, certificates
) -> None:
    old, new = Lock(b"o" * 32, 1), Lock(b"n" * 32, 2)
    first = CertificateDirectory(tmp_path / "a")
    first.create(certificates[0], old)
    records = [first.cryptor().encrypt(b"before")]

    def work(directory: CertificateDirectory) -> None:
        directory.load(old.key)
        cryptor = directory.cryptor()
        directory.relock(new)
        records.append(cryptor.encrypt(b"after"))

    for point, wreck in wrecks_of(tmp_path / "a", work):
        kept = opened(tmp_path / "b", wreck)
        try:
            assert kept.load(new.key) == certificates[0]
        except WrongUnlockKey:
            assert point not in ("identity.stored", "the end"), point
            assert kept.load(old.key) == certificates[0]
        assert kept.cryptor().decrypt(records[0]) == b"before"
        if kept.rotating:
            assert kept.cryptor().decrypt(records[1]) == b"after"


def test_a_removal_may_be_repeated(tmp_path: Path, certificates) -> None:
    directory = CertificateDirectory(tmp_path / "a")
    directory.store(certificates[0])
    directory.cryptor()
    for point, wreck in wrecks_of(tmp_path / "a", lambda directory: directory.remove()):
        kept = opened(tmp_path / "b", wreck)
        assert kept.load() in (None, certificates[0]), point
        kept.remove()
        assert kept.load() is None
