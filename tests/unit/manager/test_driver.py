"""Whole managers in one process: real consensus, real listeners, real certificates, on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from certs import client as ca_client
from certs.authority import REMOVED_SLACK_SECONDS
from certs.disk import CertificateDirectory
from manager.driver import Manager, ManagerConfig
from manager.raft.settings import RaftSettings
from manager.server import ACCESS
from pyswarm.api.v1 import control_pb2, control_pb2_grpc, raft_pb2, raft_pb2_grpc
from pyswarm.daemon.leader import at_leader
from pyswarm.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    PermissionDenied,
    Unavailable,
)
from pyswarm.model import (
    Availability,
    Cluster,
    Node,
    NodeRole,
    NodeSpec,
    NodeState,
    NodeStatus,
)
from pyswarm.rpc import ChannelPool, Credentials, secure_channel, swarm_errors
from pyswarm.testing.authority import free_port_pair
from pyswarm.testing.raft_cluster import eventually
from pyswarm.testing.trust import Trust
from pyswarm.wire import to_message

SECONDS = 30
TRUST = Trust()
# A loaded machine must not lose its leader: these tests change it on purpose.
SETTINGS = RaftSettings(tick_seconds=0.05, election_ticks=40, heartbeat_ticks=2)


def record(name: str, role: NodeRole = NodeRole.MANAGER) -> Node:
    status = NodeStatus(state=NodeState.UNKNOWN)
    return Node(id=name, spec=NodeSpec(role=role), role=role, status=status)


class Swarm:
    """Managers m1, m2, ... of one swarm."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.managers: dict[str, Manager] = {}
        self.credentials: dict[str, Credentials] = {}
        self.pools: dict[str, ChannelPool] = {}

    async def start(self, name: str, raft_id: int, *, first: bool = False) -> Manager:
        """A manager that runs, and is in no consensus yet unless it is the first."""
        if name not in self.credentials:
            self.credentials[name] = TRUST.node(name, NodeRole.MANAGER, age_seconds=60)
        pool = self.pools[name] = ChannelPool(lambda: self.credentials[name])
        certificates = CertificateDirectory(self._root / name / "certificates")
        certificates.store(self.credentials[name])
        config = ManagerConfig(
            node_id=name,
            cluster_id=TRUST.cluster_id,
            raft_id=raft_id,
            address=f"127.0.0.1:{free_port_pair()}",
            directory=self._root / name / str(raft_id),
            certificates=certificates,
            raft=SETTINGS,
        )
        cluster = Cluster(id=TRUST.cluster_id, root_ca=TRUST.root)
        made = Manager(
            config,
            lambda: self.credentials[name],
            pool,
            (cluster, record(name)) if first else None,
        )
        self.managers[name] = made
        await made.start()
        return made

    async def join(self, name: str, raft_id: int) -> Manager:
        """One more manager, with its vote."""
        known = self.leader.store.view.get(Node, name)
        if known is None:
            await self.put(record(name))
        made = await self.start(name, raft_id)
        await self.ask(made)
        await made.raft.wait_until_voter(SECONDS)
        return made

    async def ask(self, made: Manager) -> None:
        """What the manager's daemon says to the leader."""
        pool = self.pools[made.config.node_id]
        await at_leader(pool, [self.leader.config.address], "JoinRaft", made.joining(), SECONDS)

    async def stop(self, name: str) -> None:
        await self.managers.pop(name).stop(transfer=False)
        await self.pools.pop(name).close()

    @property
    def leader(self) -> Manager:
        return next(m for m in self.managers.values() if m.is_leading())

    def node(self, name: str) -> Node:
        found = self.leader.store.view.get(Node, name)
        assert found is not None, f"{name} has no record"
        return found

    async def put(self, node: Node) -> None:
        await self.leader.store.update(lambda tx: tx.put(node))

    async def update(self, name: str, **changes: object) -> None:
        """As `node update` does: by way of the control API, with the leader's certificate."""
        spec = replace(self.node(name).spec, **changes)  # type: ignore[arg-type]
        request = control_pb2.UpdateNodeRequest(id=name, spec=to_message(spec))
        await self.control("UpdateNode", request)

    async def control(self, method: str, request: object) -> object:
        leader = self.leader
        pool = self.pools[leader.config.node_id]
        stub = control_pb2_grpc.ControlStub(pool.get(leader.config.address))
        with swarm_errors():
            return await getattr(stub, method)(request, timeout=SECONDS)


def swarm(root: Path, story: Callable[[Swarm], Awaitable[None]]) -> None:
    """Run a story that begins with one manager, m1."""

    async def main() -> None:
        made = Swarm(root)
        try:
            await made.start("m1", 1, first=True)
            await story(made)
        finally:
            for name in list(made.managers):
                await made.stop(name)

    asyncio.run(main())


@asynccontextmanager
async def channel(of: Manager, credentials: Credentials) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of somebody to a manager's main listener."""
    async with secure_channel(of.config.address, credentials) as made:
        yield made


async def call(of: Manager, credentials: Credentials, path: str) -> bytes:
    async with channel(of, credentials) as made:
        with swarm_errors():
            answer: bytes = await made.unary_unary(path)(b"", timeout=SECONDS)
            return answer


def test_managers_join_as_learners_and_get_their_votes(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.put(record("m2"))
        second = await made.start("m2", 77)
        await made.ask(second)
        assert made.leader.raft.membership.get(77) is not None
        await second.raft.wait_until_voter(SECONDS)
        noted = made.node("m2").manager
        assert noted is not None
        assert (noted.raft_id, noted.address) == (77, second.config.address)
        await made.ask(second)  # an answer that was lost is asked for again
        assert len(made.leader.raft.membership.members) == 2

    swarm(tmp_path, story)


def test_every_manager_answers_reads_and_knows_what_was_acknowledged(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.join("m2", 2)
        await made.join("m3", 3)
        stubs = [
            control_pb2_grpc.ControlStub(made.pools[name].get(each.config.address))
            for name, each in made.managers.items()
        ]
        for number in range(10):
            request = control_pb2.CreatePayloadRequest()
            request.spec.name, request.spec.data = f"c{number}", b"x"
            with swarm_errors():
                await stubs[number % 3].CreateConfig(request, timeout=SECONDS)
                for stub in stubs:
                    listed = await stub.ListConfigs(control_pb2.ListRequest(), timeout=SECONDS)
                    assert len(listed.configs) == number + 1

    swarm(tmp_path, story)


def test_without_the_others_a_leader_answers_no_read(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.join("m2", 2)
        first = made.leader
        await made.stop("m1" if first is not made.managers["m1"] else "m2")
        assert first.is_leading(), "it has not noticed"
        pool = made.pools[first.config.node_id]
        stub = control_pb2_grpc.ControlStub(pool.get(first.config.address))
        for read in (stub.ListNodes, stub.ListConfigs):
            with pytest.raises(DeadlineExceeded), swarm_errors():
                await read(control_pb2.ListRequest(), timeout=0.3)

    swarm(tmp_path, story)


def test_who_is_to_be_a_worker_does_not_join(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.put(record("m2", NodeRole.WORKER))
        second = await made.start("m2", 77)
        with pytest.raises(FailedPrecondition, match="is to be a worker"):
            await made.ask(second)

    swarm(tmp_path, story)


def test_a_manager_that_lost_its_disk_takes_the_place_of_its_old_self(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.join("m2", 2)
        await made.join("m3", 3)
        await made.stop("m3")
        await made.join("m3", 33)
        membership = made.leader.raft.membership
        assert (set(membership.voters), membership.removed) == ({1, 2, 33}, {3})

    swarm(tmp_path, story)


def test_a_manager_that_moved_is_found_at_its_new_address(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.join("m2", 2)
        await made.join("m3", 3)
        name = next(n for n in ("m2", "m3") if made.managers[n] is not made.leader)
        raft_id = made.managers[name].config.raft_id
        await made.stop(name)
        moved = await made.start(name, raft_id)
        assert not moved.is_known()
        await made.ask(moved)
        await eventually(moved.is_known)
        noted = made.leader.with_raft_status(made.node(name)).manager
        assert noted is not None
        assert (noted.address, noted.reachability.name) == (moved.config.address, "REACHABLE")

    swarm(tmp_path, story)


def test_a_drained_leader_hands_over(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.join("m2", 2)
        await made.update("m1", availability=Availability.DRAIN)
        await eventually(made.managers["m2"].is_leading)
        await made.update("m1", availability=Availability.ACTIVE)

    swarm(tmp_path, story)


def test_a_demoted_leader_hands_over_and_is_taken_out(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.join("m2", 2)
        await made.update("m1", role=NodeRole.WORKER)
        await asyncio.wait_for(made.managers["m1"].raft.removed.wait(), SECONDS)
        await eventually(lambda: made.managers["m2"].is_leading() and not made.node("m1").manager)
        await eventually(lambda: made.node("m1").role is NodeRole.WORKER)
        assert made.leader.raft.membership.voters == (2,)
        with pytest.raises(FailedPrecondition, match="the last manager of the swarm"):
            await made.update("m2", role=NodeRole.WORKER)

    swarm(tmp_path, story)


def test_the_certificate_of_a_demoted_manager_is_good_for_a_workers_only(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        second = await made.join("m2", 2)
        old = made.credentials["m2"]
        async with channel(made.leader, old) as connection:
            stub = control_pb2_grpc.ControlStub(connection)
            watch = stub.Watch(control_pb2.WatchRequest(follow=True), timeout=SECONDS)
            watching = aiter(watch)
            await anext(watching)
            await made.update("m2", role=NodeRole.WORKER)
            await asyncio.wait_for(second.raft.removed.wait(), SECONDS)
            await eventually(lambda: made.node("m2").role is NodeRole.WORKER)
            with pytest.raises((Unavailable, PermissionDenied)), swarm_errors():
                async for _ in watching:
                    pass
        for path in ("Control/ListNodes", "Membership/JoinRaft", "Control/GetJoinTokens"):
            with pytest.raises(PermissionDenied, match="m2 was demoted"):
                await call(made.leader, old, f"/pyswarm.api.v1.{path}")
        with pytest.raises(PermissionDenied, match="m2 is not a manager any more"):
            await stranger_in_raft(made.leader, old, 4711)
        fresh = await ca_client.renew(
            made.pools["m2"], [made.leader.config.address], TRUST.root.certificate_pem
        )
        assert fresh.identity.role is NodeRole.WORKER

    swarm(tmp_path, story)


async def stranger_in_raft(of: Manager, credentials: Credentials, raft_id: int) -> None:
    """Open a stream of raft messages under a raft id that was never removed."""
    async with channel(of, credentials) as connection:
        stub = raft_pb2_grpc.RaftTransportStub(connection)
        hello = raft_pb2.RaftEnvelope(sender=raft_id, address="127.0.0.1:1")
        with swarm_errors():
            await stub.Stream(iter([hello]), timeout=SECONDS)


def test_promoted_again_a_manager_joins_under_a_new_raft_id(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.join("m2", 2)
        await made.update("m2", role=NodeRole.WORKER)
        await eventually(lambda: made.node("m2").role is NodeRole.WORKER)
        await made.stop("m2")
        await made.update("m2", role=NodeRole.MANAGER)
        await eventually(lambda: made.node("m2").role is NodeRole.MANAGER)
        age = TRUST.now - time.time()  # the certificate is made now
        made.credentials["m2"] = TRUST.node("m2", NodeRole.MANAGER, age_seconds=age)
        await made.join("m2", 22)
        assert set(made.leader.raft.membership.voters) == {1, 22}

    swarm(tmp_path, story)


def test_a_manager_is_demoted_before_it_is_removed(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        await made.join("m2", 2)
        with pytest.raises(FailedPrecondition, match="It must be demoted to worker"):
            await made.control("RemoveNode", control_pb2.Reference(ref="m2", force=True))

    swarm(tmp_path, story)


def test_a_removed_node_is_refused_by_every_method_for_as_long_as_it_has_a_certificate(
    tmp_path: Path,
) -> None:
    async def story(made: Swarm) -> None:
        # Its certificate outlives those that are given now.
        ends = time.time() + 365 * 24 * 3600
        await made.put(replace(record("m2"), certificates_end_at=ends))
        old = TRUST.node("m2", NodeRole.MANAGER)
        async with channel(made.leader, old) as connection:
            stub = control_pb2_grpc.ControlStub(connection)
            watch = stub.Watch(control_pb2.WatchRequest(follow=True), timeout=SECONDS)
            watching = aiter(watch)
            await anext(watching)
            await made.control("RemoveNode", control_pb2.Reference(ref="m2", force=True))
            with pytest.raises(PermissionDenied, match="was removed"), swarm_errors():
                async for _ in watching:
                    pass
        for path in ACCESS:
            with pytest.raises(PermissionDenied, match="node m2 was removed from the swarm"):
                await call(made.leader, old, path)
        with pytest.raises(PermissionDenied, match="node m2 was removed from the swarm"):
            await stranger_in_raft(made.leader, old, 4711)
        cluster = made.leader.store.view.cluster
        assert cluster is not None
        assert cluster.removed_nodes == {"m2": ends + REMOVED_SLACK_SECONDS}

    swarm(tmp_path, story)


def test_a_removed_node_cannot_come_back_with_an_expired_certificate(tmp_path: Path) -> None:
    async def story(made: Swarm) -> None:
        expired = TRUST.node("m2", NodeRole.MANAGER, life_seconds=60, age_seconds=120)
        serial = expired.identity.serial
        await made.put(replace(record("m2"), certificate_serial=serial))
        await made.control("RemoveNode", control_pb2.Reference(ref="m2", force=True))
        with pytest.raises(PermissionDenied, match="not a member of this swarm any more"):
            await ca_client.recover([made.leader.config.address], expired)

    swarm(tmp_path, story)
