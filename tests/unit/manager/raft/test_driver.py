"""Three managers with real disks and real gRPC on loopback."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from manager.raft import transport
from manager.raft.membership import AddMember, Member, RemoveMember, UpdateMember
from pyswarm.errors import DeadlineExceeded, NotFound, NotLeader, Unavailable
from pyswarm.testing.raft_cluster import SETTINGS, Cluster, eventually

pytestmark = pytest.mark.slow


def run(work):
    asyncio.run(work)


async def write(cluster: Cluster, value: str) -> int:
    """Write through whoever leads, as a client does."""
    while True:
        leader = await cluster.leader()
        try:
            return await leader.node.propose(value.encode(), 30)
        except NotLeader:
            continue


def everyone_has(cluster: Cluster, values: list[str]):
    return lambda: all(m.machine.values == values for m in cluster.managers.values())


def test_one_manager_alone_is_a_cluster_and_keeps_what_it_wrote(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(1)
            leader = await cluster.leader()
            index = await leader.node.propose(b"a", 30)
            assert leader.machine.items == [(index, "a")]
            await cluster.stop(1)
            again = await cluster.restart(1)
            await cluster.leader()
            assert again.machine.values == ["a"]

    run(story())


def test_when_the_leader_stops_writes_go_on_and_it_catches_up_later(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(3)
            await write(cluster, "a")
            old = (await cluster.leader()).raft_id
            await cluster.stop(old)
            await write(cluster, "b")
            await cluster.restart(old)
            await write(cluster, "c")
            await eventually(everyone_has(cluster, ["a", "b", "c"]))

    run(story())


def test_restarted_from_disk_all_of_them_still_have_everything(tmp_path: Path) -> None:
    async def story() -> None:
        values = [str(number) for number in range(300)]
        async with Cluster(tmp_path) as cluster:
            await cluster.start(3)
            leader = await cluster.leader()
            await asyncio.gather(*(leader.node.propose(v.encode(), 30) for v in values))
            for raft_id in (1, 2, 3):
                await cluster.stop(raft_id)
            for raft_id in (1, 2, 3):
                await cluster.restart(raft_id)
            await write(cluster, "more")
            await eventually(everyone_has(cluster, [*values, "more"]))

    run(story())


def test_managers_join_one_after_the_other_and_one_leaves(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(1)
            await write(cluster, "a")
            await cluster.join(2)
            third = await cluster.join(3)
            await write(cluster, "b")
            await eventually(everyone_has(cluster, ["a", "b"]))
            assert third.machine.restored >= 1, "the log before the join came as a snapshot"
            leader = await cluster.leader()
            gone = next(raft_id for raft_id in (1, 2, 3) if raft_id != leader.raft_id)
            await leader.node.change_membership(RemoveMember(gone), 30)
            removed = cluster.managers[gone]
            await asyncio.wait_for(removed.node.removed.wait(), 30)
            await cluster.stop(gone)
            await write(cluster, "c")
            await eventually(everyone_has(cluster, ["a", "b", "c"]))
            assert len(leader.node.membership.voters) == 2

    run(story())


def test_a_leader_that_shall_be_removed_hands_over_first(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(2)
            old = await cluster.leader()
            with pytest.raises(NotLeader):
                await old.node.change_membership(RemoveMember(old.raft_id), 30)
            new = cluster.managers[3 - old.raft_id]
            await eventually(lambda: new.node.is_leader)
            await new.node.change_membership(RemoveMember(old.raft_id), 30)
            await cluster.stop(old.raft_id)
            # Only one is left, and it must not need the other's vote, not even after a restart.
            await cluster.stop(new.raft_id)
            await cluster.restart(new.raft_id)
            await write(cluster, "a")

    run(story())


FORGETFUL = replace(SETTINGS, snapshot_interval_entries=50, entries_for_slow_followers=5)


async def snapshot_for_one(cluster: Cluster) -> tuple[int, list[str]]:
    """One of three was away while the entries went that it lacks; it, and what was written."""
    await cluster.start(3)
    leader = await cluster.leader()
    slow = next(raft_id for raft_id in (1, 2, 3) if raft_id != leader.raft_id)
    await cluster.stop(slow)
    values = [str(number) * 20_000 for number in range(100)]
    for value in values:
        await write(cluster, value)
    await eventually(lambda: leader.node.status().snapshot_index > 50)
    back = await cluster.restart(slow)
    await eventually(everyone_has(cluster, values))
    assert back.machine.restored > 50
    return slow, values


def test_a_manager_that_is_far_behind_gets_a_snapshot_in_chunks(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path, FORGETFUL) as cluster:
            slow, values = await snapshot_for_one(cluster)
            await cluster.stop(slow)
            again = await cluster.restart(slow)
            await eventually(everyone_has(cluster, values))
            assert again.machine.restored > 50

    run(story())


def test_a_snapshot_that_breaks_off_goes_on_where_it_was(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transport, "CHUNK_BYTES", 50_000)
    calls: list[list[int]] = []
    whole = transport.PeerTransport.take_snapshot

    async def take_snapshot(self, chunks, context) -> None:
        seen: list[int] = []
        calls.append(seen)

        async def breaking():
            async for chunk in chunks:
                yield chunk
                if chunk.data:
                    seen.append(chunk.offset)
                if len(seen) == 3 and len(calls) == 1:
                    raise Unavailable("a cable was pulled")

        await whole(self, breaking(), context)

    monkeypatch.setattr(transport.PeerTransport, "take_snapshot", take_snapshot)

    async def story() -> None:
        async with Cluster(tmp_path, FORGETFUL) as cluster:
            await snapshot_for_one(cluster)

    run(story())
    assert calls[0] == [0, 50_000, 100_000]
    assert calls[1][0] == 150_000
    assert len(calls) == 2


def test_the_leadership_is_handed_over_on_request_and_on_stop(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(3)
            old = await cluster.leader()
            told: list[tuple[bool, int]] = []
            old.node.on_role_change(lambda leads, term: told.append((leads, term)))
            term = old.node.term
            to = next(raft_id for raft_id in (1, 2, 3) if raft_id != old.raft_id)
            await old.node.transfer_leadership(to, 30)
            await eventually(lambda: cluster.managers[to].node.is_leader)
            assert told[0][0] is False
            assert cluster.managers[to].node.term == term + 1
            with pytest.raises(NotLeader) as refused:
                await old.node.propose(b"x", 30)
            await eventually(lambda: old.node.get_leader() is not None)
            assert refused.value.leader_address in ("", cluster.managers[to].address)
            await cluster.stop(to, transfer=True)
            # At once, without an election's timeout, hence exactly one term later.
            assert (await cluster.leader()).node.term == term + 2

    run(story())


def test_a_follower_reads_what_was_written_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(3)
            for number in range(20):
                await write(cluster, str(number))
                for manager in cluster.managers.values():
                    await manager.node.read_index(30)
                    assert manager.machine.values[-1] == str(number)

    run(story())


def test_without_a_majority_a_write_ends_at_its_deadline_and_reads_fail(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(3)
            leader = await cluster.leader()
            for raft_id in (1, 2, 3):
                if raft_id != leader.raft_id:
                    await cluster.stop(raft_id)
            with pytest.raises(DeadlineExceeded, match="not known"):
                await leader.node.propose(b"lost?", 0.2)
            await eventually(lambda: not leader.node.is_leader)
            with pytest.raises(NotLeader):
                await leader.node.propose(b"x", 0.2)

    run(story())


def test_changes_of_the_members_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(1)
            leader = await cluster.leader()
            with pytest.raises(NotFound):
                await leader.node.change_membership(RemoveMember(9), 30)
            learner = Member(5, "node5", "127.0.0.1:1", learner=True)
            await leader.node.change_membership(AddMember(learner), 30)
            assert leader.node.membership.voters == (1,)
            # A learner that nobody can reach does not count, so writes go on.
            await leader.node.propose(b"a", 30)
            await leader.node.change_membership(RemoveMember(5), 30)

    run(story())


def test_two_of_three_that_moved_at_once_are_answered_where_they_are_now(tmp_path: Path) -> None:
    async def story() -> None:
        async with Cluster(tmp_path) as cluster:
            await cluster.start(3)
            await write(cluster, "a")
            for raft_id in (2, 3):
                await cluster.stop(raft_id)
            for raft_id in (2, 3):
                await cluster.restart(raft_id, moved=True)
            # 1 knows both by their old ports, 2 and 3 know each other so too: without news of the
            # new ones nobody would get the votes of two.
            await write(cluster, "b")
            leader = await cluster.leader()
            for raft_id in (2, 3):
                address = cluster.managers[raft_id].address
                await leader.node.change_membership(UpdateMember(raft_id, address), 30)
            await eventually(everyone_has(cluster, ["a", "b"]))

    run(story())
