"""One manager: raft, the store on it, the listeners, and what only the leader runs.

listeners ──▶ control, dispatcher, CA, roles ──▶ store ──▶ raft ◀──▶ the other managers
                               leader only: allocator, orchestrator, scheduler ┘
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import grpc

import manager.allocator.driver
import manager.ca.driver
import manager.orchestrator.driver
import manager.scheduler.driver
import manager.upkeep.driver
from certs.disk import CertificateDirectory
from certs.seal import KEY_BYTES
from certs.tokens import new_token
from manager.ca.client import ExternalSigner
from manager.ca.driver import RootKeeper, StoredCAState
from manager.ca.server import Authority, BootstrapServer, NodeCAServer
from manager.control.api import (
    CONTROL,
    OBSERVE,
    REGISTRIES,
    ROTATION,
    SCHEDULING,
    SYSTEM,
    UPDATES,
    VOLUMES,
)
from manager.control.rotations.server import RotationCalls
from manager.control.scheduling.server import SchedulingServer
from manager.control.server import ControlContext, ControlServer
from manager.control.transport import LeaderFirst
from manager.control.updates.server import UpdateServer
from manager.control.volumes.server import VolumeCalls
from manager.dispatcher.replies.server import DispatcherContext
from manager.dispatcher.server import Dispatcher
from manager.events.driver import EventLog
from manager.observe.server import ObserveContext, ObserveServer
from manager.raft.driver import RaftNode
from manager.raft.membership import Member, Membership
from manager.raft.settings import RaftSettings
from manager.raft.transport import PeerTransport, RemovedSender
from manager.recovery.server import HealthServer, RecoveryContext
from manager.registries.server import RegistryServer
from manager.roles.access import demoted, refused_by
from manager.roles.driver import RoleManager, RolesContext
from manager.roles.quorum import reachable
from manager.roles.server import MembershipServer
from manager.server import ACCESS
from manager.state.driver import Store
from manager.state.store import Transaction
from manager.system.server import SystemServer
from pyswarm.aio import Lagged, Supervisor
from pyswarm.api.v1 import (
    ca_pb2,
    ca_pb2_grpc,
    control_pb2,
    control_pb2_grpc,
    dispatcher_pb2_grpc,
    recovery_pb2_grpc,
)
from pyswarm.errors import SwarmError
from pyswarm.model import (
    Cluster,
    ManagerStatus,
    Network,
    NetworkSpec,
    Node,
    Reachability,
    encode_id,
)
from pyswarm.model.identity import Identity, node_name
from pyswarm.model.ids import ID_BYTES
from pyswarm.registry.client import Registry
from pyswarm.rpc import (
    Authorizer,
    ChannelPool,
    Provider,
    bootstrap_server,
    caller,
    caller_or_none,
    mutual_server,
    secure_channel,
)

log = logging.getLogger(__name__)

PLANNERS = {
    "allocator": manager.allocator.driver.run,
    "orchestrator": manager.orchestrator.driver.run,
    "scheduler": manager.scheduler.driver.run,
    "rotation": manager.ca.driver.run,
    "upkeep": manager.upkeep.driver.run,
}
RESTART_SECONDS = 1.0
LEADER_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerConfig:
    """`address` is "host:port", as other nodes reach this manager. `raft_id` is its own for as long
    as its directory exists, and nobody's afterwards."""

    node_id: str
    cluster_id: str
    raft_id: int
    address: str
    directory: Path
    certificates: CertificateDirectory
    raft: RaftSettings = RaftSettings()
    insecure_registries: tuple[str, ...] = ()


def new_id() -> str:
    """A fresh object id."""
    return encode_id(secrets.token_bytes(ID_BYTES))


class Manager:
    """Everything that a node does as a manager; `start` and `stop` bound it."""

    def __init__(
        self,
        config: ManagerConfig,
        credentials: Provider,
        pool: ChannelPool,
        first: tuple[Cluster, Node] | None = None,
    ) -> None:
        """`first` makes a new swarm: its cluster record and this node's."""
        self.config = config
        self._first = first
        self._pool = pool
        self._credentials = credentials
        self._signer = ExternalSigner(credentials)
        self._supervisor = Supervisor("manager")
        self._planners: Supervisor | None = None
        self._role_changed = asyncio.Event()
        self._changing = asyncio.Lock()
        self._registry = Registry(config.insecure_registries)
        self._leading = asyncio.Event()
        self.store = Store()
        self._authorizer = Authorizer(ACCESS, config.cluster_id, self._is_removed, self._is_demoted)
        host, _, port = config.address.rpartition(":")
        self._main = mutual_server(config.address, credentials, self._authorizer).server
        self.bootstrap_address = f"{host}:{int(port) + 1}"
        self._bootstrap = bootstrap_server(self.bootstrap_address, credentials).server
        self._transport = PeerTransport(
            address=config.address,
            # The transport owns its channels and closes them, so they are not of the pool.
            connect=self._connect,
            authorize=self._raft_peer,
        )
        alone = Membership.of([Member(config.raft_id, config.node_id, config.address)])
        self.raft = RaftNode(
            config.raft_id,
            config.directory / "raft",
            config.certificates.cryptor(),
            self._transport,
            self.store,
            config.raft,
            bootstrap=alone if first is not None else None,
        )
        self.store.proposer = self.raft
        self._add_services()

    def _add_services(self) -> None:
        self.roles = RoleManager(
            RolesContext(
                store=self.store,
                raft=self.raft,
                pool=self._pool,
                leader_address=self.leader_address,
                said_goodbye=lambda node_id: self.dispatcher.forget(node_id),
                clock=time.time,
            )
        )
        self.dispatcher = Dispatcher(
            DispatcherContext(
                store=self.store,
                caller=lambda _context: caller().node_id,
                leader_address=self.leader_address,
                manager_addresses=self.manager_addresses,
                new_id=new_id,
                clock=time.time,
                monotonic=time.monotonic,
            )
        )
        context = ControlContext(
            store=self.store,
            logs=lambda: self.dispatcher.logs,
            new_id=new_id,
            new_token=lambda digest: new_token(digest, os.urandom(ID_BYTES)),
            new_key=lambda: os.urandom(KEY_BYTES),
            clock=time.time,
            with_raft_status=self.with_raft_status,
            manager_address=lambda: self.config.address,
            check_role=self.roles.check_role,
            check_unused=self.roles.check_unused,
            roots=RootKeeper(self.store, self._signer),
        )
        control = ControlServer(context)
        self.control = LeaderFirst(
            [
                (CONTROL, control),
                (OBSERVE, self._observer()),
                (UPDATES, UpdateServer(context)),
                (SCHEDULING, SchedulingServer(self.store, time.time)),
                (REGISTRIES, RegistryServer(self.store, self._registry, new_id, time.time)),
                (SYSTEM, SystemServer(self.store, lambda: self.dispatcher.calls)),
                (VOLUMES, VolumeCalls(context)),
                (ROTATION, RotationCalls(context)),
            ],
            self.is_leading,
            self._leader_channel,
            self.raft.read_index,
            lambda: self.raft.trouble,
        )
        roles = MembershipServer(self.roles, self.raft, caller)
        state = StoredCAState(self.store, self.is_leading, self.leader_address)
        authority = self._authority = Authority(state, self._signer)
        server = self._main
        server.add_generic_rpc_handlers((self.control,))
        control_pb2_grpc.add_MembershipServicer_to_server(roles, server)
        dispatcher_pb2_grpc.add_DispatcherServicer_to_server(self.dispatcher, server)
        ca_pb2_grpc.add_NodeCAServicer_to_server(NodeCAServer(authority), server)
        self.recovery = RecoveryContext(
            node_id=self.config.node_id,
            store=self.store,
            raft=self.raft,
            pool=self._pool,
            directory=self.config.directory / "raft",
        )
        recovery_pb2_grpc.add_HealthServicer_to_server(HealthServer(self.recovery), server)
        self._transport.add_to(server)
        ca_pb2_grpc.add_BootstrapServicer_to_server(BootstrapServer(authority), self._bootstrap)

    def _observer(self) -> ObserveServer:
        self.events = EventLog(self.store, time.time, self._known_leader)
        return ObserveServer(
            ObserveContext(
                store=self.store,
                events=self.events,
                conversations=lambda: self.dispatcher.conversations,
                new_id=new_id,
                clock=time.time,
                asked_through=self._asked_through,
            )
        )

    def _known_leader(self) -> tuple[str, int]:
        member = self.raft.membership.get(self.raft.leader_id or 0)
        return (member.node_id if member else "", self.raft.term)

    def _asked_through(self) -> str:
        forwarder = caller_or_none()
        return forwarder.node_id if forwarder is not None else self.config.node_id

    # ---- life ----

    async def start(self) -> None:
        """Serve; a new swarm has its first records when this returns."""
        self.raft.on_role_change(lambda leading, term: self._role_changed.set())
        await self.raft.start()
        unapplied = self.raft.unapplied()
        self.events.replayed_to = unapplied[-1].index if unapplied else self.raft.last_applied
        self._supervisor.start(self.events.run(), "events")
        await self._main.start()
        await self._bootstrap.start()
        self._supervisor.start(self._follow_leadership(), "leadership")
        self._supervisor.start(self._cut_refused(), "refusals")
        if self._first is not None:
            cluster, node = self._first
            async with asyncio.timeout(LEADER_SECONDS):
                await self._leading.wait()
            await self.store.update(lambda tx: _found(tx, cluster, node))

    async def stop(self, transfer: bool = True) -> None:
        """Stop serving; a leader hands its office over first, while everything still answers."""
        if transfer:
            await self.roles.hand_over()
        await self._end_leadership()
        await self.raft.stop(transfer=False)
        await self._supervisor.close()
        await self._main.stop(0.5)
        await self._bootstrap.stop(0)
        self._registry.close()

    async def _follow_leadership(self) -> None:
        while True:
            await self._role_changed.wait()
            self._role_changed.clear()
            if not self.raft.is_leader:
                await self._end_leadership()
            elif self._planners is None:
                async with self._changing:
                    await self._begin_leadership()

    async def _begin_leadership(self) -> None:
        log.info("this manager leads")
        self.store.reset_head()
        planners = self._planners = Supervisor("leader")
        await self.dispatcher.open()
        for name, run in {**PLANNERS, "role manager": self.roles.run}.items():
            planners.start(self._keep_running(name, run), name)
        self._leading.set()

    async def _keep_running(self, name: str, run: Callable[[Store], object]) -> None:
        # A planner is level-triggered, so starting it again is all that a failure needs.
        while True:
            try:
                await run(self.store)  # type: ignore[misc]
            except SwarmError as error:
                log.warning("the %s stopped and starts again: %s", name, error)
            except Exception:
                log.exception("the %s failed and starts again", name)
            await asyncio.sleep(RESTART_SECONDS)

    async def _end_leadership(self) -> None:
        # Whoever stops this manager waits here until the news of the lost leadership is dealt with.
        async with self._changing:
            planners, self._planners = self._planners, None
            if planners is None:
                return
            self._leading.clear()
            log.info("this manager no longer leads")
            await self.dispatcher.close()
            await planners.close()
            self.store.reset_head()

    # ---- what others ask ----

    def joining(self) -> control_pb2.JoinRaftRequest:
        """With what this manager asks to be taken in, or says that it has moved."""
        return control_pb2.JoinRaftRequest(address=self.config.address, raft_id=self.config.raft_id)

    def is_known(self) -> bool:
        """Whether this manager is a member of raft at the address that it has."""
        member = self.raft.membership.get(self.config.raft_id)
        return member is not None and member.address == self.config.address

    def is_leading(self) -> bool:
        """Whether calls that need the leader are answered here."""
        return self._planners is not None and self.raft.is_leader

    def issue_alone(self, request_pem: bytes) -> ca_pb2.IssuedCertificate:
        """See `Authority.issue_alone`: this manager signs its own request."""
        since, _ = self._credentials().validity
        return self._authority.issue_alone(self.config.node_id, request_pem, since)

    def leader_address(self) -> str:
        """The leader's main address, or empty."""
        member = self.raft.membership.get(self.raft.leader_id or 0)
        return member.address if member else ""

    def manager_addresses(self) -> list[str]:
        """The addresses of all managers."""
        return [member.address for member in self.raft.membership.members]

    def _connect(self, address: str, node_id: str) -> grpc.aio.Channel:
        credentials = self._credentials()
        credentials.check_time(time.time())
        return secure_channel(address, credentials, node_name(node_id))

    def _leader_channel(self) -> grpc.aio.Channel | None:
        address = self.leader_address()
        if not address or address == self.config.address:
            return None
        return self._pool.get(address)

    def _is_removed(self, node_id: str) -> bool:
        cluster = self.store.view.cluster
        return cluster is not None and node_id in cluster.removed_nodes

    def _is_demoted(self, identity: Identity) -> bool:
        return demoted(self.store.view.get(Node, identity.node_id), identity)

    def _raft_peer(self, context: object) -> str:
        identity = caller()
        if self._is_demoted(identity):
            raise RemovedSender(f"node {identity.node_id} is not a manager any more")
        return identity.node_id

    async def _cut_refused(self) -> None:
        """End the open calls of nodes that were removed or demoted just now."""
        with self.store.watch(kinds=(Cluster, Node)) as commits:
            while True:
                with suppress(Lagged):  # a snapshot came: calls are checked, streams grow old
                    for node_id in refused_by((await commits.get()).changes):
                        self._authorizer.cut(node_id)

    def with_raft_status(self, node: Node) -> Node:
        """The node with what raft sees of it now."""
        members = self.raft.membership.members
        member = next((m for m in members if m.node_id == node.id), None)
        if member is None:
            return replace(node, manager=None)
        raft_id = member.raft_id
        seen = raft_id in reachable(self.raft.status())
        reachability = Reachability.REACHABLE if seen else Reachability.UNREACHABLE
        leader = raft_id == self.raft.leader_id
        status = ManagerStatus(
            raft_id=raft_id,
            address=member.address,
            leader=leader,
            reachability=reachability,
        )
        return replace(node, manager=status)


def _found(tx: Transaction, cluster: Cluster, node: Node) -> None:
    """The first records of a swarm."""
    tx.put(cluster)
    tx.put(node)
    tx.put(Network(id=new_id(), spec=NetworkSpec(name="ingress", ingress=True)))
