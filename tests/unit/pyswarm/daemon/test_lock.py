"""A manager's keys follow the cluster's record, and finish what a crash has cut short."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from certs.disk import CertificateDirectory
from certs.unlock import OPEN, Lock, Locked
from pyswarm.daemon import lock
from pyswarm.errors import Unavailable
from pyswarm.model import Cluster, ClusterSpec, NodeRole
from pyswarm.testing.raft_cluster import eventually
from pyswarm.testing.store import instant_store
from pyswarm.testing.trust import Trust

TRUST = Trust()
A, B = bytes([1]) * 32, bytes([2]) * 32


class Raft:
    """The part of the consensus that seals files again; `failures` come first."""

    def __init__(self, certificates):
        self.cryptor = certificates.cryptor()
        self.failures = []

    async def reseal(self):
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        return frozenset([self.cryptor.key_of(self.cryptor.encrypt(b""))])


class Host:
    """One manager: its keys on disk, its store, and what it asked for."""

    def __init__(self, path, role=NodeRole.MANAGER, sealed_with=OPEN):
        self.certificates = CertificateDirectory(path)
        self.role = role
        self.renewals = 0
        self.certificates.create(TRUST.node("n1", role), sealed_with)
        self.restart()

    def restart(self):
        self.certificates = CertificateDirectory(self.certificates.path)
        self.store = instant_store(lambda: 1000.0)
        self.raft = None

    def open(self, key=b""):
        assert self.certificates.load(key) is not None
        self.raft = Raft(self.certificates)

    def follow(self):
        identity = SimpleNamespace(role=self.role)
        keeper = SimpleNamespace(
            current=lambda: SimpleNamespace(identity=identity), demand=self.renew
        )
        manager = SimpleNamespace(store=self.store, raft=self.raft)
        return asyncio.ensure_future(lock.follow(manager, self.certificates, keeper))

    def renew(self):
        self.renewals += 1

    async def record(self, key):
        cluster = self.store.view.cluster or Cluster(id="c")
        spec = ClusterSpec(autolock=bool(key))
        await self.store.update(lambda tx: tx.put(replace(cluster, spec=spec, unlock_key=key)))


def run(host, story):
    async def work():
        following = host.follow()
        try:
            await story()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    asyncio.run(work())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(lock, "RETRY_SECONDS", 0.001)


def numbers(host):
    return sorted(host.certificates._require().ring.keys)


def test_each_new_key_seals_the_keys_and_brings_a_data_key_and_a_certificate(tmp_path):
    host = Host(tmp_path)
    host.open()

    async def story():
        await host.record(A)
        await eventually(lambda: numbers(host) == [2])
        assert (host.certificates.lock.key, host.renewals) == (A, 1)
        await host.record(B)
        await eventually(lambda: numbers(host) == [3])
        assert (host.certificates.lock.key, host.renewals) == (B, 2)
        await host.record(b"")
        await eventually(lambda: not host.certificates.lock.key)
        assert (numbers(host), host.renewals) == ([3], 2)

    run(host, story)
    assert CertificateDirectory(tmp_path).load() is not None


def test_other_changes_of_the_cluster_change_no_key(tmp_path):
    host = Host(tmp_path, sealed_with=Lock(A, 0))
    host.open(A)

    async def story():
        for _ in range(5):
            await host.record(A)
            await asyncio.sleep(0.003)

    run(host, story)
    assert (numbers(host), host.renewals) == ([1], 0)


def test_a_record_from_before_the_last_change_is_history(tmp_path):
    host = Host(tmp_path, sealed_with=Lock(B, 2))
    host.open(B)

    async def story():
        await host.record(A)  # version 1: what the log of this manager replays after a restart
        await asyncio.sleep(0.02)
        assert (host.certificates.lock.key, numbers(host)) == (B, [1])
        await host.record(B)
        await host.record(A)  # version 3: a rotation that it has missed
        await eventually(lambda: host.certificates.lock.key == A)

    run(host, story)


def test_a_crash_before_the_log_is_sealed_again_is_made_good_by_the_next_start(tmp_path):
    host = Host(tmp_path)
    host.open()
    old = host.raft.cryptor.encrypt(b"old")
    host.certificates.relock(Lock(A, 1))
    host.restart()
    with pytest.raises(Locked):
        host.open()
    host.open(A)
    assert host.raft.cryptor.decrypt(old) == b"old"

    async def story():
        await eventually(lambda: numbers(host) == [2])

    run(host, story)


def test_a_log_that_cannot_be_sealed_now_keeps_the_old_data_key_and_is_sealed_later(tmp_path):
    host = Host(tmp_path)
    host.open()
    host.raft.failures = [Unavailable("the disk is full"), OSError("no")]

    async def story():
        await host.record(A)
        await eventually(lambda: numbers(host) == [2])
        assert not host.raft.failures

    run(host, story)
    assert host.renewals == 1


def test_a_demoted_manager_seals_nothing_that_a_worker_needs(tmp_path):
    host = Host(tmp_path, role=NodeRole.WORKER)
    host.open()

    async def story():
        await host.record(A)
        await asyncio.sleep(0.02)

    run(host, story)
    assert CertificateDirectory(tmp_path).load() is not None
