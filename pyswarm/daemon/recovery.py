"""The socket's calls for backup and recovery; the node's part of them."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from certs.disk import cryptor_of, new_ring
from certs.seal import RingCryptor
from certs.unlock import Lock
from manager.driver import Manager, new_id
from manager.raft.membership import Member
from manager.raft.settings import RaftSettings
from manager.recovery import alone, disk, server
from manager.recovery.backup import Manifest, decode_manifest
from manager.roles.quorum import raft_id_of
from manager.state.snapshot import decode_snapshot, encode_snapshot
from manager.state.tables import View
from pyswarm.api.v1 import control_pb2, recovery_pb2, recovery_pb2_grpc
from pyswarm.daemon import machine
from pyswarm.daemon.credentials import alone_credentials
from pyswarm.daemon.lock import lock_of
from pyswarm.daemon.membership import SwarmMembership
from pyswarm.daemon.node import ALREADY, SwarmNode
from pyswarm.daemon.server import why_no_manager
from pyswarm.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    SwarmError,
    Unavailable,
)
from pyswarm.model import (
    Availability,
    Cluster,
    Node,
    NodeDescription,
    NodeRole,
    NodeSpec,
    NodeState,
)
from pyswarm.rpc import Credentials

QUORUM_SECONDS = 3.0
LEADER_SECONDS = 30.0
UNCONFIRMED_MAX = 50


class RecoverableNode(SwarmNode):
    """A node whose files may be written in other ways than by init and join."""

    async def adopt(
        self,
        advertise_address: str,
        prepare: Callable[[str, RingCryptor], tuple[SwarmMembership, Credentials, Lock]],
    ) -> None:
        """Become the manager of a swarm whose state `prepare` writes, in a thread; it is given the
        own address and what seals the files. A failure leaves the node outside."""
        async with self._lock:
            self._require_outside()
            address = await self._advertised(advertise_address)
            ring = new_ring()
            try:
                membership, credentials, lock = await asyncio.to_thread(
                    prepare, address, cryptor_of(ring)
                )
            except BaseException:
                await self._abandon()
                raise
            await self._enter(membership, credentials, lock, ring=ring)

    async def rewrite(
        self,
        advertise_address: str,
        change: Callable[[SwarmMembership, RingCryptor], SwarmMembership],
    ) -> None:
        """Stop serving, let `change` write to the node's files, in a thread, and serve again;
        after a failure too, since then the files are as they were."""
        async with self._lock:
            before = self.membership
            credentials = self._certificates.load(self._certificates.lock.key)
            assert before is not None, "only a node in a swarm has files to change"
            assert credentials is not None, "a node in a swarm has credentials"
            wanted = before
            if advertise_address:
                wanted = replace(before, address=await self._advertised(advertise_address))
            await self.stop()
            self.agent = self.manager = self._pool = None
            try:
                cryptor = self._certificates.cryptor()
                self.membership = await asyncio.to_thread(change, wanted, cryptor)
                self._file.save(self.membership)
            finally:
                await self._serve_again(credentials)

    async def _serve_again(self, credentials: Credentials) -> None:
        try:
            await self._serve(credentials)
        except SwarmError as error:
            # As at a start: the process ends with the sentence, and a restart may mend it.
            self.problem = error.message
            self.fatal.set()
            raise

    async def reconnect(self, addresses: list[str]) -> None:
        """A worker learns where the managers are now; whoever answers there must be one."""
        async with self._lock:
            self._remember_managers(addresses)


class RecoveryServer(recovery_pb2_grpc.RecoveryServicer):
    """Backup, restore, going on alone, and how the managers stand."""

    def __init__(self, node: RecoverableNode) -> None:
        self._node = node

    def _manager(self) -> Manager:
        if self._node.manager is None or self._node.removed:
            raise FailedPrecondition(why_no_manager(self._node))
        return self._node.manager

    def _raft_directory(self) -> Path:
        return self._node.settings.state_directory / "manager" / "raft"

    async def Status(self, request: control_pb2.Empty, context: Any) -> recovery_pb2.SwarmStatus:
        """All managers, asked from here."""
        return await server.swarm_status(self._manager().recovery)

    async def Backup(
        self, request: control_pb2.Empty, context: Any
    ) -> AsyncIterator[recovery_pb2.BackupChunk]:
        """The manifest, then the state in pieces."""
        async for chunk in server.backup(self._manager().recovery):
            yield chunk

    async def Reconnect(
        self, request: recovery_pb2.ReconnectRequest, context: Any
    ) -> control_pb2.Empty:
        """Where the managers are now."""
        node = self._node
        if node.membership is None:
            raise FailedPrecondition("This node is not part of a swarm")
        if node.membership.manager:
            raise FailedPrecondition("a manager knows the others from the log: reconnect workers")
        if not request.addresses:
            raise InvalidArgument("name a manager of the swarm, as HOST:PORT")
        port = node.settings.listen_port
        split = [machine.split_address(text, port) for text in request.addresses]
        await node.reconnect([f"{host}:{number}" for host, number in split])
        return control_pb2.Empty()

    # ---- restore ----

    async def Restore(
        self, request_iterator: AsyncIterator[recovery_pb2.RestoreChunk], context: Any
    ) -> recovery_pb2.RestoreResponse:
        """Make this machine the one manager of the swarm in the backup."""
        if self._node.membership is not None:
            raise FailedPrecondition(ALREADY)
        first = await anext(request_iterator, recovery_pb2.RestoreChunk())
        manifest = decode_manifest(first.manifest)
        view = await asyncio.to_thread(decode_snapshot, await _state(request_iterator, manifest))
        cluster = _restorable(view, manifest)
        node_id, now = new_id(), time.time()
        credentials = await _credentials(cluster, node_id, now)
        recovery = alone.Recovery(now=now, epoch=secrets.randbits(63))
        availability = Availability[first.availability.upper() or "ACTIVE"]

        def prepare(
            address: str, cryptor: RingCryptor
        ) -> tuple[SwarmMembership, Credentials, Lock]:
            member = Member(raft_id_of(node_id), node_id, address)
            fresh = Node(
                id=node_id,
                spec=NodeSpec(availability=availability),
                description=NodeDescription(hostname=self._node.settings.hostname),
                certificate_serial=credentials.identity.serial,
                certificates_end_at=credentials.validity[1],
            )
            place = alone.next_place(manifest.index, manifest.term, manifest.membership, member)
            own = alone.survivor(fresh, member, address)
            after = alone.with_one_manager(view, own, place.index, recovery, keep_managers=False)
            directory = self._raft_directory()
            # A crash in an earlier restore leaves files that belong to no swarm.
            shutil.rmtree(directory, ignore_errors=True)
            disk.create(directory, cryptor, member.raft_id, place, encode_snapshot(after))
            membership = SwarmMembership(
                node_id=node_id,
                cluster_id=cluster.id,
                address=address,
                manager=True,
                vxlan_port=cluster.vxlan_port,
                managers=(address,),
            )
            return membership, credentials, lock_of(cluster)

        await self._node.adopt(first.advertise_address, prepare)
        address = await self._leads()
        return recovery_pb2.RestoreResponse(
            node_id=node_id,
            cluster_id=cluster.id,
            address=address,
            waiting=alone.waiting_nodes(self._manager().store.view),
            dropped=sorted(n.hostname for n in view.list(Node) if n.role is NodeRole.MANAGER),
        )

    async def _leads(self) -> str:
        """Wait until this manager leads; its address."""
        manager = self._manager()
        return (await manager.raft.wait_until_leader(LEADER_SECONDS)).address

    # ---- going on alone ----

    async def ForceNewCluster(
        self, request: recovery_pb2.ForceNewClusterRequest, context: Any
    ) -> recovery_pb2.ForceNewClusterResponse:
        """Go on with this manager alone, or say what would be lost by it."""
        manager = self._manager()
        if manager.raft.removed.is_set():
            raise FailedPrecondition(
                "this manager was removed from the swarm: its state is of the past. Use "
                "'pyswarm swarm leave --force', and join again"
            )
        await self._require_no_quorum(manager)
        plan = self._plan(manager)
        if request.dry_run:
            return plan
        recovery = alone.Recovery(now=time.time(), epoch=secrets.randbits(63))
        raft_id = manager.raft.raft_id

        def change(membership: SwarmMembership, cryptor: RingCryptor) -> SwarmMembership:
            member = Member(raft_id, membership.node_id, membership.address)
            disk.rewrite(
                self._raft_directory(),
                cryptor,
                raft_id,
                lambda saved, data: alone.going_on(saved, data, member, recovery),
            )
            return replace(membership, managers=(membership.address,))

        await self._node.rewrite(request.advertise_address, change)
        plan.address = await self._leads()
        return plan

    async def _require_no_quorum(self, manager: Manager) -> None:
        try:
            await manager.raft.read_index(QUORUM_SECONDS)
        except (Unavailable, DeadlineExceeded):
            return
        leader = manager.raft.get_leader()
        raise FailedPrecondition(
            "this swarm has its quorum, and nothing needs to be forced: "
            f"{leader.address if leader else 'a manager'} leads. To have fewer managers, demote "
            "them one by one with 'pyswarm node demote'"
        )

    def _plan(self, manager: Manager) -> recovery_pb2.ForceNewClusterResponse:
        view, raft = manager.store.view, manager.raft
        status = raft.status()
        said = alone.unconfirmed(view, raft.unapplied(), status.commit)
        others = [m for m in raft.membership.members if m.raft_id != raft.raft_id]
        ready = (n for n in view.list(Node) if n.status.state is NodeState.READY)
        return recovery_pb2.ForceNewClusterResponse(
            node_id=manager.config.node_id,
            address=manager.config.address,
            last_index=status.last_index,
            commit_index=status.commit,
            changed_at=alone.changed_at(view),
            unconfirmed_count=len(said),
            unconfirmed=said[:UNCONFIRMED_MAX],
            dropped=[server.member_status(manager.recovery, member) for member in others],
            waiting=sorted(n.hostname for n in ready if n.role is not NodeRole.MANAGER),
        )


async def _state(chunks: AsyncIterator[recovery_pb2.RestoreChunk], manifest: Manifest) -> bytes:
    """The state that a restore sends: whole, and of the size that its manifest says."""
    if manifest.state_bytes > RaftSettings().snapshot_bytes:
        raise ResourceExhausted(f"a state of {manifest.state_bytes} bytes is above the limit")
    parts, size, ended = [], 0, False
    async for chunk in chunks:
        parts.append(chunk.data)
        size, ended = size + len(chunk.data), chunk.last
        if ended or size > manifest.state_bytes:
            break
    if not ended or size != manifest.state_bytes:
        raise DataLoss(f"the state has {size} bytes and not the {manifest.state_bytes} announced")
    return b"".join(parts)


def _restorable(view: View, manifest: Manifest) -> Cluster:
    cluster = view.cluster
    if cluster is None or cluster.id != manifest.cluster_id:
        raise DataLoss("the backup holds another swarm than it says: it cannot be used")
    return cluster


async def _credentials(cluster: Cluster, node_id: str, now: float) -> Credentials:
    try:
        return await alone_credentials(cluster.root_ca, cluster.spec, cluster.id, node_id, now)
    except Unavailable as error:
        raise Unavailable(
            f"{error.message} (only the external CA has the key of the swarm's root, and a manager "
            "that is restored has no certificate to show it: where the CA wants one, let it sign "
            "without for this moment)"
        ) from error
