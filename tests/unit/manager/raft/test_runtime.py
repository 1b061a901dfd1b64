"""What happens to a manager when its disk, its peers or its own membership fail it."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from certs.seal import RingCryptor
from manager.raft import disk as disk_module
from manager.raft.disk import RaftDisk
from manager.raft.membership import Membership, RemoveMember
from pyswarm.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotLeader,
    ResourceExhausted,
    SwarmError,
    Unavailable,
)
from pyswarm.testing.raft_cluster import SETTINGS, Cluster, Manager, TestCryptor, eventually

QUICK = replace(SETTINGS, disk_retry_seconds=0.05)


def run(work):
    asyncio.run(work)


class FullDisks:
    """No byte more under the directories in `full`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full: set[Path] = set()
        self._write = os.pwrite
        monkeypatch.setattr(disk_module.os, "pwrite", self.pwrite)

    def pwrite(self, file: int, data: memoryview, offset: int) -> int:
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        if path.parent in self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(file, data, offset)


async def write(cluster: Cluster, value: str) -> None:
    while True:
        leader = await cluster.leader()
        try:
            await leader.node.propose(value.encode(), 30)
            return
        except NotLeader:
            continue


def test_alone_on_a_full_disk_it_says_so_loses_nothing_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        disks = FullDisks(monkeypatch)
        async with Cluster(tmp_path, QUICK) as cluster:
            await cluster.start(1)
            leader = await cluster.leader()
            await leader.node.propose(b"a", 30)
            disks.full.add(leader.directory)
            with pytest.raises(Unavailable, match=r"is full: make room there.*is not known"):
                await leader.node.propose(b"b", 30)
            assert not leader.node.is_leader
            with pytest.raises(ResourceExhausted, match="is full: make room there"):
                await leader.node.propose(b"c", 30)
            disks.full.clear()
            await eventually(lambda: leader.node.is_leader)
            await leader.node.propose(b"d", 30)
            assert leader.machine.values in (["a", "b", "d"], ["a", "d"])
            await cluster.stop(1)
            again = await cluster.restart(1)
            await cluster.leader()
            assert again.machine.values == leader.machine.values

    run(story())


def test_a_leader_with_a_full_disk_lets_another_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        disks = FullDisks(monkeypatch)
        async with Cluster(tmp_path, QUICK) as cluster:
            await cluster.start(3)
            old = await cluster.leader()
            disks.full.add(old.directory)
            with pytest.raises(SwarmError):
                await old.node.propose(b"a", 30)
            await eventually(lambda: not old.node.is_leader)
            await write(cluster, "b")
            disks.full.clear()
            await eventually(lambda: "b" in old.machine.values)

    run(story())


def test_damage_is_refused_at_the_start_and_the_directory_is_free_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(1)
            leader = await cluster.leader()
            await asyncio.gather(*(leader.node.propose(b"%d" % n, 30) for n in range(9)))
            await cluster.stop(1)
            file = next(leader.directory.glob("*.wal"))
            data = bytearray(file.read_bytes())
            data[100] ^= 1
            file.write_bytes(data)
            with pytest.raises(DataLoss, match="delete this directory and let the node join"):
                await cluster.restart(1)
            await cluster.managers.pop(1)._server.stop(None)
            data[100] ^= 1
            file.write_bytes(data)
            disk = RaftDisk(leader.directory, TestCryptor(), SETTINGS)
            disk.open(1)  # the lock is free, and nothing was changed by the attempt
            disk.close()

    run(story())


def test_two_daemons_on_one_directory(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(1)
            await cluster.leader()
            second = Manager(1, tmp_path / "1", SETTINGS, 0)
            with pytest.raises(FailedPrecondition, match="another pyswarm daemon"):
                await second.start()
            await second._server.stop(None)

    run(story())


def test_a_manager_that_was_removed_while_it_was_away_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(3)
            leader = await cluster.leader()
            away = next(raft_id for raft_id in (1, 2, 3) if raft_id != leader.raft_id)
            await cluster.stop(away)
            await leader.node.change_membership(RemoveMember(away), 30)
            back = await cluster.restart(away)
            await asyncio.wait_for(back.node.removed.wait(), 30)
            assert leader.node.is_leader, "its return disturbed nobody"

    run(story())


def test_proposals_that_come_together_share_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []
    real = RaftDisk.write
    monkeypatch.setattr(
        RaftDisk, "write", lambda self, write: (writes.append(write), real(self, write))[1]
    )

    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(1)
            leader = await cluster.leader()
            before = len(writes)
            await asyncio.gather(*(leader.node.propose(b"%d" % n, 30) for n in range(500)))
            assert len(writes) - before <= 3
            assert leader.machine.values == [str(n) for n in range(500)]

    run(story())


def test_too_many_or_too_large_proposals_are_refused(tmp_path: Path) -> None:
    async def story() -> None:
        settings = replace(SETTINGS, proposals=10, entry_bytes=100)
        async with Cluster(tmp_path, settings) as cluster:
            await cluster.start(1)
            leader = await cluster.leader()
            with pytest.raises(InvalidArgument, match="above the limit of 100"):
                await leader.node.propose(bytes(101), 30)
            calls = (leader.node.propose(b"x", 30) for _ in range(20))
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(isinstance(result, ResourceExhausted) for result in results) == 10
            await leader.node.propose(b"x", 30)

    run(story())


def test_leadership_is_told_when_the_state_is_current(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(3)
            seen: list[tuple[int, bool, list[str]]] = []
            for manager in cluster.managers.values():
                manager.node.on_role_change(
                    lambda leads, term, m=manager: seen.append(
                        (m.raft_id, leads, list(m.machine.values))
                    )
                )
            first = await cluster.leader()
            values = [str(n) for n in range(200)]
            await asyncio.gather(*(first.node.propose(v.encode(), 30) for v in values))
            await cluster.stop(first.raft_id)
            second = await cluster.leader()
            assert (second.raft_id, True, values) in seen
            assert (first.raft_id, False, values) in seen

    run(story())


def test_a_failing_state_machine_stops_the_member_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(1)
            leader = await cluster.leader()
            leader.machine.items.append((1 << 40, "from the future"))
            with pytest.raises(Unavailable, match="has failed"):
                await leader.node.propose(b"x", 30)
            await asyncio.wait_for(leader.node.failed.wait(), 30)
            with pytest.raises(Unavailable):
                await leader.node.propose(b"x", 30)

    run(story())


def test_the_data_key_changes_under_a_log_that_is_written(tmp_path: Path) -> None:
    keys = {1: bytes([1]) * 32, 2: bytes([2]) * 32}

    async def story() -> None:
        async with Cluster(tmp_path, QUICK) as cluster:
            alone = cluster.managers[1] = cluster.make(1)
            cryptor = alone.cryptor = RingCryptor({1: keys[1]}, os.urandom(12))
            await alone.start(Membership.of([alone.member]))
            await cluster.leader()

            written: list[str] = []
            changed = asyncio.Event()

            async def write_on() -> None:
                while not changed.is_set():
                    value = str(len(written))
                    await alone.node.propose(value.encode(), 30)
                    written.append(value)

            writes = asyncio.ensure_future(write_on())
            await eventually(lambda: len(written) > 20)
            assert await alone.node.reseal() == {1}
            cryptor.use(keys, os.urandom(12))
            assert await alone.node.reseal() == {2}
            changed.set()
            await writes
            await cluster.stop(1)
            again = cluster.managers[1] = cluster.make(1)
            again.cryptor = RingCryptor({2: keys[2]}, os.urandom(12))
            await again.start()
            await cluster.leader()
            assert again.machine.values == written

    run(story())


def test_a_manager_that_stops_tells_who_waits_for_its_keys(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path, QUICK) as cluster:
            member = cluster.managers[1] = cluster.make(1)
            await member.start()  # it has nothing applied, so there is no snapshot to take
            waiting = asyncio.ensure_future(member.node.reseal())
            await asyncio.sleep(0)
            await cluster.stop(1)
            with pytest.raises(Unavailable, match="is stopping"):
                await waiting

    run(story())
